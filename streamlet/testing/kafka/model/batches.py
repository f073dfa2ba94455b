"""Record batches of format 2 as the log keeps them: bytes, of which only the header is read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cramjam
from crc32c import crc32c

HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_STARTS = 21
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_COMMIT = struct.pack(">hh", 0, 1)
_XERIAL = b"\x82SNAPPY\x00"
NO_PRODUCER = -1


class RecordBatch(NamedTuple):
    """A batch and what its header says. `data` is exactly what a reader gets."""

    base_offset: int
    last_offset: int
    attributes: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    epoch: int
    base_sequence: int
    records: int
    data: bytes

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & _CONTROL)

    @property
    def last_sequence(self) -> int:
        """Sequences go on at 0 behind 2^31 - 1."""
        return (self.base_sequence + self.last_offset - self.base_offset) & 0x7FFFFFFF

    def at(self, offset: int, epoch: int) -> RecordBatch:
        """The same batch at its place in a log, and in an epoch of its leader; its checksum covers neither."""
        data = struct.pack(">q", offset) + self.data[8:12] + struct.pack(">i", epoch) + self.data[16:]
        return self._replace(base_offset=offset, last_offset=offset + self.last_offset - self.base_offset, data=data)


class Record(NamedTuple):
    """A record without its headers."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def has_key(self) -> bool:
        return self.key is not None


def parse(data: bytes) -> list[RecordBatch] | None:
    """Reads the headers of whole batches one after the other; None when the bytes are damaged or of an old format."""
    batches = []
    at = 0
    while at < len(data):
        if len(data) - at < HEADER.size:
            return None
        base, length, _, magic, crc, attributes, delta, first, last, producer, epoch, sequence, count = (
            HEADER.unpack_from(data, at)
        )
        end = at + 12 + length
        if magic != 2 or end > len(data) or length < HEADER.size - 12 or delta < 0 or count < 1:
            return None
        whole = data[at:end]
        if crc32c(memoryview(whole)[_CRC_STARTS:]) != crc:
            return None
        batches.append(
            RecordBatch(base, base + delta, attributes, first, last, producer, epoch, sequence, count, whole)
        )
        at = end
    return batches


def marker(producer_id: int, epoch: int, *, commit: bool, now_ms: int) -> RecordBatch:
    """The control batch that ends a transaction in a partition."""
    key = struct.pack(">hh", 0, int(commit))
    value = struct.pack(">hi", 0, 0)
    record = b"\x20" + bytes(3) + b"\x08" + key + b"\x0c" + value + b"\x00"
    attributes = _TRANSACTIONAL | _CONTROL
    checked = struct.pack(">hiqqqhii", attributes, 0, now_ms, now_ms, producer_id, epoch, -1, 1) + record
    data = struct.pack(">qiibI", 0, 9 + len(checked), 0, 2, crc32c(checked)) + checked
    return RecordBatch(0, 0, attributes, now_ms, now_ms, producer_id, epoch, -1, 1, data)


def is_commit(batch: RecordBatch) -> bool:
    """What a marker says: its key ends in 1 for a commit."""
    return next(records_of(batch)).key == _COMMIT


def records_of(batch: RecordBatch) -> Iterator[Record]:
    """Opens a batch, which only look-ups by timestamp, compacted topics and tests that read need."""
    body = _unpacked(batch.data[HEADER.size :], batch.attributes & _CODEC)
    at = 0
    for _ in range(batch.records):
        length, start = _varint(body, at)
        timestamp_delta, after = _varint(body, start + 1)
        offset_delta, after = _varint(body, after)
        key, after = _field(body, after)
        value, after = _field(body, after)
        timestamp = batch.first_timestamp + timestamp_delta
        if batch.attributes & _LOG_APPEND_TIME:
            timestamp = batch.max_timestamp
        yield Record(batch.base_offset + offset_delta, timestamp, key, value)
        at = start + length


def _field(body: bytes, at: int) -> tuple[bytes | None, int]:
    """Bytes behind their length, -1 for none."""
    length, at = _varint(body, at)
    return (None, at) if length < 0 else (bytes(body[at : at + length]), at + length)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def _unpacked(body: bytes, codec: int) -> bytes:
    if codec == 0:
        return body
    if codec == 1:
        return zlib.decompress(body, 31)
    if codec == 2:
        return b"".join(_snappy_blocks(body))
    unpack = cramjam.lz4.decompress if codec == 3 else cramjam.zstd.decompress
    return bytes(unpack(body))


def _snappy_blocks(body: bytes) -> Iterator[bytes]:
    """Java writes blocks behind a header of its own, librdkafka one bare block."""
    if not body.startswith(_XERIAL):
        yield bytes(cramjam.snappy.decompress_raw(body))
        return
    at = 16
    while at < len(body):
        (length,) = struct.unpack_from(">i", body, at)
        yield bytes(cramjam.snappy.decompress_raw(body[at + 4 : at + 4 + length]))
        at += 4 + length
