"""Settings: every wrong one names itself and the remedy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from streamlet.config import JobConfig, parse_bytes, parse_duration
from streamlet.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("1s", 1), ("2.5m", 150), ("3 min", 180), (" 1h ", 3600), ("2d", 172800), ("0s", 0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 week", "1s2", "1e3s", "１s x"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"pause .* is not a duration(.|\n)*500ms, 1s"):
        parse_duration(text, what="pause")


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MB", 64 << 20), ("1GiB", 1 << 30), ("500k", 500 << 10), ("12", 12), ("1.5 mb", 3 << 19), ("7B", 7)],
)
def test_a_size_is_a_number_and_a_unit_of_1024s(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1TB", "1 2"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"memory .* is not a size(.|\n)*64MB"):
        parse_bytes(text, what="memory")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint_interval", timedelta(0)),
        ("checkpoint_interval", 1),
        ("checkpoint_timeout", timedelta(seconds=-1)),
        ("stalled_intervals", 0),
        ("parallelism", 0),
        ("parallelism", True),
        ("parallelism", 1.0),
        ("parallelism", "2"),
        ("parallelism", 129),
        ("key_groups", 0),
        ("key_groups", (1 << 15) + 1),
        ("batch_records", 0),
        ("channel_records", -5),
        ("state_memory", 1000),
        ("state_memory", "64MB"),
        ("state_memory", None),
        ("state_backend", "sqlite"),
        ("retain", -1),
        ("retain", True),
        ("restart", "fixed"),
        ("restart", 3),
        ("verify", "never"),
    ],
)
def test_a_wrong_setting_names_itself_and_the_remedy(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        JobConfig.of({name: value})
    assert caught.value.remedy


def test_the_defaults_are_valid_and_settings_are_kept() -> None:
    assert JobConfig.of({}) == JobConfig()
    assert JobConfig.of({"parallelism": 128, "retain": 0}).parallelism == 128


@pytest.mark.parametrize(("name", "hint"), [("paralelism", "did you mean parallelism?"), ("zzz", "known settings: ")])
def test_an_unknown_setting_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"no setting '{name}'") as caught:
        JobConfig.of({name: 1})
    assert (caught.value.remedy or "").startswith(hint)
