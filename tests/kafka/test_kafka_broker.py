"""The broker of the tests, and the witnesses that read from it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.kafka import jars
from tests.kafka.broker import Kafka, KafkaBroker
from tests.kafka.jars import KafkaUnavailableError, kafka_jars
from tests.kafka.reading import Read, check_running_counts, fill_topic, read_committed

pytestmark = pytest.mark.kafka


def test_what_is_written_is_read_back_by_partition_and_offset(kafka: Kafka) -> None:
    kafka.create_topic("broker-plain", 2)
    fill_topic(kafka.bootstrap, "broker-plain", [(b"k", b"0"), (b"k", b"1")], partition=1, timestamp=7)
    assert read_committed(kafka.bootstrap, "broker-plain") == [
        Read(1, 0, b"k", b"0", [], 7),
        Read(1, 1, b"k", b"1", [], 7),
    ]


def test_keys_go_where_java_clients_send_them(kafka: Kafka) -> None:
    kafka.create_topic("broker-murmur", 10)
    fill_topic(kafka.bootstrap, "broker-murmur", [(b"21", b""), (b"foobar", b"")])
    where = {record.key: record.partition for record in read_committed(kafka.bootstrap, "broker-murmur")}
    # Kafka's own UtilsTest: murmur2("21") = -973932308, murmur2("foobar") = -790332482
    assert where == {b"21": (-973932308 & 0x7FFFFFFF) % 10, b"foobar": (-790332482 & 0x7FFFFFFF) % 10}


def test_aborted_records_are_not_read(kafka: Kafka) -> None:
    kafka.create_topic("broker-transactions")
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": "broker-transactions"})
    producer.init_transactions(30)
    for value, end in ((b"lost", producer.abort_transaction), (b"kept", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce("broker-transactions", value)
        producer.flush(30)
        end(30)
    assert [record.value for record in read_committed(kafka.bootstrap, "broker-transactions")] == [b"kept"]


def test_a_deleted_topic_is_gone(kafka: Kafka) -> None:
    kafka.create_topic("broker-deleted")
    kafka.delete_topic("broker-deleted")
    assert "broker-deleted" not in kafka.admin().list_topics(timeout=10).topics


def test_a_killed_broker_comes_back_with_its_data(kafka_broker_factory: Callable[..., KafkaBroker]) -> None:
    broker = kafka_broker_factory(num_partitions=3)
    broker.create_topic("kept")
    fill_topic(broker.bootstrap, "kept", [b"a"])
    first = broker.pid
    broker.kill()
    assert broker.pid is None
    broker.restart()
    assert broker.pid not in (None, first)
    assert [record.value for record in read_committed(broker.bootstrap, "kept")] == [b"a"]


def test_a_broker_that_cannot_start_says_why(kafka_broker_factory: Callable[..., KafkaBroker]) -> None:
    with pytest.raises(KafkaUnavailableError, match=r"(?s)the end of its log:.*no\.such\.Reporter"):
        kafka_broker_factory(metric_reporters="no.such.Reporter")


def test_without_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KafkaUnavailableError, match=r"(?s)java was not found.*apt-get install default-jre maven"):
        kafka_jars()


def test_without_maven_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "java").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(KafkaUnavailableError, match=rf"(?s)mvn .*{jars.VERSION}.*apt-get install default-jre maven"):
        kafka_jars()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([("a", 1, 5)], "1 outputs, expected 2"),
        ([("a", 1, 5), ("a", 1, 5), ("a", 2, 7)], "3 outputs, expected 2; the first difference is at 1"),
        ([("a", 2, 7), ("a", 1, 5)], "first difference is at 0"),
        ([("a", 1, 5), ("a", 2, 8)], "first difference is at 1"),
        ([("a", 1, 5), ("a", 2, 7), ("b", 1, 1)], "missing or invented"),
    ],
)
def test_lost_doubled_reordered_and_wrong_outputs_are_found(outputs: list[tuple[str, int, int]], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_running_counts([("a", 5), ("a", 2)], _outputs(outputs))
    check_running_counts([("a", 5), ("a", 2)], _outputs([("a", 1, 5), ("a", 2, 7)]))


def _outputs(rows: list[tuple[str, int, int]]) -> list[Read]:
    values = [json.dumps({"user": user, "count": count, "sum": total}).encode() for user, count, total in rows]
    return [Read(0, offset, None, value, [], int(time.time())) for offset, value in enumerate(values)]
