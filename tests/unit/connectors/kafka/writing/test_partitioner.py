"""The partition of a key is the one that Java clients choose."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as another_murmur2
from hypothesis import given
from hypothesis import strategies as st

from streamlet_connectors.kafka.writing.partitioner import murmur2, partition_of


# From the tests of Kafka's Java client (org.apache.kafka.common.utils.UtilsTest.testMurmur2).
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_what_the_java_client_gives(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected & 0xFFFFFFFF


@given(st.binary(max_size=40))
def test_murmur2_agrees_with_another_implementation(data: bytes) -> None:
    assert murmur2(data) == another_murmur2(data)


@given(st.binary(max_size=12), st.integers(1, 500))
def test_a_partition_is_one_of_the_topics_partitions(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
