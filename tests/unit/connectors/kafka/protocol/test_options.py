"""Connection options are checked where they are written, and never show a secret."""

from __future__ import annotations

from typing import Any

import pytest

from streamlet.errors import ConfigError
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.writing.sink import KafkaSink


def options(bootstrap: str | list[str] = "localhost:9092", **given: Any) -> KafkaOptions:
    return KafkaOptions.of(bootstrap, given, where="KafkaSink('out')")


@pytest.mark.parametrize(
    ("bootstrap", "servers"),
    [
        ("localhost:9092", (("localhost", 9092),)),
        ("kafka", (("kafka", 9092),)),
        ("a:1, b:2", (("a", 1), ("b", 2))),
        (["a:1", "b"], (("a", 1), ("b", 9092))),
        ("[::1]:9093", (("::1", 9093),)),
        ("[::1]", (("::1", 9092),)),
    ],
)
def test_addresses_are_read(bootstrap: str | list[str], servers: tuple[tuple[str, int], ...]) -> None:
    assert options(bootstrap).servers == servers


@pytest.mark.parametrize("bootstrap", ["", "host:", ":9092", "host:port", "host:70000", "http://host:9092", [], "a:1,"])
def test_what_is_no_address_is_refused_with_an_example(bootstrap: str | list[str]) -> None:
    with pytest.raises(ConfigError, match=r"KafkaSink\('out'\)[\s\S]*localhost:9092"):
        options(bootstrap)


def test_an_unknown_option_is_refused_and_the_nearest_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"no option 'sasl_username'[\s\S]*'sasl_plain_username'"):
        options(sasl_username="me")


def test_an_unknown_option_of_the_sink_is_refused_when_the_job_file_is_read() -> None:
    with pytest.raises(ConfigError, match="did you mean 'security_protocol'"):
        KafkaSink("localhost:9092", "out", security_protocl="SSL")


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"security_protocol": "TLS"}, "SASL_SSL"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "MD5"}, "SCRAM-SHA-256"),
        ({"sasl_plain_username": "me", "sasl_plain_password": "x"}, "security_protocol='SASL_SSL'"),
        ({"ssl_cafile": "/ca.pem"}, "security_protocol='SSL'"),
        ({"security_protocol": "SASL_SSL", "sasl_plain_username": "me"}, "sasl_plain_password"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}, "sasl_oauth_token_provider"),
        ({"request_timeout_seconds": 0}, "default"),
    ],
)
def test_options_that_do_not_fit_together_are_refused_with_a_remedy(given: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        options(**given)


def test_secrets_are_not_shown() -> None:
    shown = repr(
        options(
            security_protocol="SASL_SSL",
            sasl_plain_username="me",
            sasl_plain_password="hunter2",
            ssl_password="hunter3",
        )
    )
    assert "hunter" not in shown
    assert "sasl_plain_username='me'" in shown


def test_missing_certificate_files_are_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem"):
        options(security_protocol="SSL", ssl_cafile="/nowhere/ca.pem").socket_options()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"topic": "a b"}, "name of a topic"),
        ({"compression": "brotli"}, "brotli"),
        ({"delivery": "at_most_once"}, "at_most_once"),
        ({"key": "user"}, "function of the value"),
        ({"timestamp": "later"}, "later"),
        ({"transaction_timeout_seconds": 0}, "time-out"),
        ({"linger_seconds": -1}, "linger_seconds"),
        ({"max_record_bytes": 0}, "max_record_bytes"),
    ],
)
def test_a_sink_that_cannot_work_is_refused_when_the_job_file_is_read(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        KafkaSink("localhost:9092", **{"topic": "out", **given})
