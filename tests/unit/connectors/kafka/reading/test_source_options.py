"""The options of a KafkaSource: refused when the job file is read, long before anything connects."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from streamlet import Text
from streamlet.errors import ConfigError
from streamlet_connectors.kafka.protocol.offsets import (
    PositionParts,
    position_at,
    position_parts,
    split_name,
    split_parts,
)
from streamlet_connectors.kafka.reading.source import KafkaSource


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "newest"}, r"start='newest' is not understood"),
        ({"start": True}, r"start=True is not understood"),
        ({"start": {0: -1}}, r"is not understood"),
        ({"start": datetime(2026, 1, 1)}, r"no time zone"),
        ({"stop": "end"}, r"stop='end'\n.*'latest', None"),
        ({"record": "all"}, r"record='all'\n.*'value', 'full'"),
        ({"null_values": "drop"}, r"null_values='drop'"),
        ({"on_bad_record": "drop"}, r"on_bad_record='drop'"),
        ({"isolation": "serializable"}, r"isolation='serializable'"),
        ({"out_of_range": "skip"}, r"out_of_range='skip'"),
        ({"key": Text()}, r"(?s)a key format is given.*record=.full."),
        ({"discovery_interval_seconds": 0}, r"must be more than 0"),
        ({"partition_bytes": 100}, r"partition_bytes=100"),
        ({"buffer_bytes": 1 << 20}, r"each at least as large as the one before"),
        ({"sasl_user": "me"}, r"there is no option 'sasl_user'"),
    ],
)
def test_a_wrong_option_is_refused_with_the_choices(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as found:
        KafkaSource("localhost:9092", "payments", **options)
    assert "KafkaSource(payments)" in str(found.value)


def test_offsets_of_partitions_need_one_topic() -> None:
    with pytest.raises(ConfigError, match="several topics"):
        KafkaSource("localhost:9092", ["a", "b"], start={0: 1})
    with pytest.raises(ConfigError, match="no topic is named"):
        KafkaSource("localhost:9092", [])


def test_a_topic_named_twice_is_read_once() -> None:
    assert KafkaSource("localhost:9092", ["a", "b", "a"]).topics == ("a", "b")


def test_only_an_unbounded_source_looks_for_new_partitions() -> None:
    assert KafkaSource("localhost:9092", "a").discovery_interval_seconds == 30
    bounded = KafkaSource("localhost:9092", "a", stop="latest")
    assert bounded.bounded
    assert bounded.discovery_interval_seconds is None


def test_splits_and_positions_are_read_back_as_they_were_written() -> None:
    assert split_parts(split_name("pay-ments-7", 3)) == ("pay-ments-7", 3)
    assert position_parts(position_at(5, "ab", None)) == PositionParts(5, "ab", None)
    assert position_parts(position_at(5, "ab", 9, 3)) == PositionParts(5, "ab", 9, 3)
