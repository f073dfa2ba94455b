"""What is read of a fetch answer: rows, gaps, markers, aborted batches, damage. And how rows become values."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet import Json, Text
from streamlet.errors import DecodeError
from streamlet_connectors.kafka.protocol.errors import CorruptRecordsError, RecordsDamagedError
from streamlet_connectors.kafka.protocol.wire import DefaultRecordBatch, DefaultRecordBatchBuilder
from streamlet_connectors.kafka.reading.decoding import Decoder
from streamlet_connectors.kafka.reading.partition_fetch import PartitionFetch
from streamlet_connectors.kafka.reading.records import Chunk, Row

ABORT = struct.pack(">hh", 0, 0)
COMMIT = struct.pack(">hh", 0, 1)
CONTROL_AND_TRANSACTIONAL = 0x30
HEADER_BEFORE_ATTRIBUTES = 21


def _batch(
    offsets: Sequence[int],
    values: Sequence[bytes | None] | None = None,
    *,
    producer: int = -1,
    marker: bytes | None = None,
) -> bytes:
    """A record batch as a broker stores it: base offset patched in, like the broker does."""
    base = offsets[0]
    builder = DefaultRecordBatchBuilder(2, 0, int(producer >= 0), producer, 0, 0, 1 << 20)
    for index, offset in enumerate(offsets):
        value = str(offset).encode() if values is None else values[index]
        assert builder.append(offset - base, 1000 + offset, marker, value, []) is not None
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    if marker is not None:
        struct.pack_into(">h", data, HEADER_BEFORE_ATTRIBUTES, CONTROL_AND_TRANSACTIONAL)
        struct.pack_into(">I", data, 17, _crc32c(bytes(data[HEADER_BEFORE_ATTRIBUTES:])))
    return bytes(data)


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _offsets(chunk: Chunk, limit: int = 100) -> list[int]:
    found: list[int] = []
    while not chunk.is_exhausted:
        found += [row.offset for row in chunk.take(limit)]
    return found


def test_the_compiled_parser_is_used() -> None:
    assert "_crecords" in DefaultRecordBatch.__module__


def test_rows_are_cut_over_the_borders_of_record_batches() -> None:
    chunk = Chunk(_batch(range(5)) + _batch(range(5, 12)), 0)
    cuts = []
    while not chunk.is_exhausted:
        cuts.append(([row.offset for row in chunk.take(4)], chunk.position))
    assert cuts[:3] == [([0, 1, 2, 3], 4), ([4, 5, 6, 7], 8), ([8, 9, 10, 11], 12)]
    assert [cut for cut, _ in cuts[3:]] in ([], [[]])


def test_gaps_of_compaction_are_no_matter() -> None:
    chunk = Chunk(_batch([10, 13, 14]) + _batch([20, 25]), 11)
    assert [row.offset for row in chunk.take(2)] == [13, 14]
    assert chunk.position == 15
    assert [row.offset for row in chunk.take(9)] == [20, 25]
    assert chunk.position == chunk.end == 26


@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=4), st.data(), st.integers(1, 7)
)
def test_i1_from_any_position_to_any_stop_exactly_the_rows_between_are_given(
    steps: list[list[int]], data: st.DataObject, limit: int
) -> None:
    offset, batches, every = 5, b"", []
    for batch in steps:
        offsets = [offset := offset + step for step in batch]
        batches += _batch(offsets)
        every += offsets
    start = data.draw(st.integers(0, offset + 1))
    stop = data.draw(st.none() | st.integers(start, offset + 3))
    chunk = Chunk(batches, start, (), stop)
    seen: list[int] = []
    while not chunk.is_exhausted:
        rows = [row.offset for row in chunk.take(limit)]
        seen += rows
        wanted = [at for at in every if start <= at < chunk.position]
        assert seen == wanted, "the position is behind exactly what was given"
    assert seen == [at for at in every if at >= start and (stop is None or at < stop)]
    assert chunk.position == chunk.end


def test_aborted_batches_and_markers_only_move_the_position() -> None:
    data = (
        _batch([0, 1], producer=7)  # aborted by the marker at 4
        + _batch([2], producer=8)  # another producer: committed
        + _batch([3])
        + _batch([4], producer=7, marker=ABORT)
        + _batch([5], producer=7)  # the next transaction of 7: committed
        + _batch([6], producer=8, marker=COMMIT)
        + _batch([7], producer=7, marker=COMMIT)
        + _batch([8], producer=9, marker=ABORT)  # a marker without an entry is legal
    )
    chunk = Chunk(data, 0, [(7, 0)])
    assert [row.offset for row in chunk.take(100)] == [2, 3, 5]
    assert chunk.position == 9
    only_markers = Chunk(_batch([7], producer=7, marker=COMMIT), 7)
    assert only_markers.take(100) == []
    assert only_markers.position == 8
    assert only_markers.is_exhausted


def test_a_part_of_a_batch_at_the_end_is_left_for_the_next_fetch() -> None:
    whole, part = _batch(range(3)), _batch(range(3, 9))[:-5]
    chunk = Chunk(whole + part, 0)
    assert chunk.end == 3
    assert _offsets(chunk) == [0, 1, 2]


def test_damage_is_told_when_the_rows_before_it_were_given() -> None:
    damaged = bytearray(_batch(range(3, 6)))
    damaged[-2] ^= 1
    chunk = Chunk(_batch(range(3)) + damaged, 0)
    assert [row.offset for row in chunk.take(100)] == [0, 1, 2]
    assert chunk.position == 3
    for _ in range(2):
        with pytest.raises(CorruptRecordsError, match="in the batch at offset 3: the checksum is wrong"):
            chunk.take(100)


def test_damaged_records_are_fetched_again_once_and_then_final() -> None:
    damaged = bytearray(_batch(range(3)))
    damaged[-2] ^= 1
    part = PartitionFetch("t-0", "t", 0, 0, "id", None)
    for tries in (1, 2):
        part.add(Chunk(bytes(damaged), 0))
        assert part.offset == 3
        if tries == 1:
            assert part.take(10) is None
            assert (part.offset, part.buffered) == (0, 0), "it goes back to what was given"
    with pytest.raises(RecordsDamagedError, match=r"topic t, partition 0.*also when fetched again"):
        part.take(10)


def test_a_jump_moves_the_position_both_ways() -> None:
    part = PartitionFetch("t-0", "t", 0, 50, "id", None)
    part.add(Chunk.jump(50, 20))
    assert (part.offset, part.take(10), part.given) == (20, [], 20)


def test_pauses_grow_to_two_seconds() -> None:
    part = PartitionFetch("t-0", "t", 0, 0, "id", None)
    pauses = []
    for _ in range(9):
        pauses.append(part.pause_seconds)
        part.lose_leader()
    assert pauses == [0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2]
    part.fetched_well(0, 0, 0.0)
    assert part.pause_seconds == 0


# -- decoding


def _rows(*values: bytes | None) -> list[Row]:
    return Chunk(_batch(range(len(values)), values), 0).take(100)


def test_a_good_column_is_decoded_in_one_call() -> None:
    calls: list[int] = []

    class Counting(Text):
        def decode_batch(self, column: Sequence[bytes]) -> list[str]:
            calls.append(len(column))
            return super().decode_batch(column)

    assert Decoder(Counting()).decode("t", 0, _rows(b"a", b"b", b"")).values == ["a", "b", ""]
    assert calls == [3]


@pytest.mark.parametrize("null_values", ["fail", "skip", "pass"])
@pytest.mark.parametrize("on_bad_record", ["fail", "skip"])
def test_policies_together_give_what_each_row_alone_would(null_values: str, on_bad_record: str) -> None:
    """Against a model, for every column of four rows out of good, bad and null."""
    for column in itertools.product([b"1", b"{", None], repeat=4):
        decoder = Decoder(Json(), null_values=null_values, on_bad_record=on_bad_record)  # type: ignore[arg-type]
        expected: list[tuple[int, int | None]] = []
        error = None
        for offset, value in enumerate(column):
            policy = null_values if value is None else "good" if value == b"1" else on_bad_record
            if policy == "fail":
                error = offset
                break
            if policy != "skip":
                expected.append((offset, None if value is None else 1))
        decoded = decoder.decode("t", 0, _rows(*column))
        assert list(zip([row.offset for row in decoded.rows], decoded.values, strict=True)) == expected, column
        assert (decoded.error is None) == (error is None)
        if decoded.error is not None:
            assert f"topic t, partition 0, offset {error}" in decoded.error.message
        else:
            assert decoder.skipped == 4 - len(expected)


def test_a_long_record_is_shown_only_in_part_and_only_when_told() -> None:
    rows = _rows(b"x" * 1000)
    hidden = Decoder(Json()).decode("t", 0, rows).error
    shown = Decoder(Json(), show_records=True).decode("t", 0, rows).error
    assert isinstance(hidden, DecodeError)
    assert isinstance(shown, DecodeError)
    assert "xxx" not in str(hidden)
    assert "x" * 200 in str(shown)
    assert "x" * 201 not in str(shown)
    assert "(1000 bytes)" in str(shown)
