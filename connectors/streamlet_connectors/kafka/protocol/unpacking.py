"""Finds record batches in a fetch answer, and unpacks compressed ones within a bound: 1 MB of zstd can hold 30 GB."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cramjam

from streamlet_connectors.kafka.protocol import wire
from streamlet_connectors.kafka.protocol.errors import CorruptRecordsError

MAX_UNPACKED_BYTES = 1 << 30
"""Of one record batch. A broker takes batches of 1 MB unless told otherwise, so no honest one comes near."""

_HEAD_BYTES = 61
_LENGTH = struct.Struct(">i")
_ATTRIBUTES = struct.Struct(">h")
_EPOCH = struct.Struct(">i")
_EPOCH_AT = 12
_PREFIX_BYTES = 12
"""Base offset and length: what the length does not count."""
_MAGIC_AT, _ATTRIBUTES_AT = 16, 21
_CODEC_BITS = 0b111
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEAD_BYTES = 16
_SMALLEST, _GROWTH = 1 << 16, 8


class RecordBatch:
    """One complete record batch: its parsed header, and its records once it is opened."""

    __slots__ = ("_data", "head")

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.head: Any = wire.DefaultRecordBatch(data)

    @property
    def leader_epoch(self) -> int:
        """In which epoch of the partition's leader it was written; no checksum covers it."""
        epoch: int
        (epoch,) = _EPOCH.unpack_from(self._data, _EPOCH_AT)
        return epoch

    def require_checksum(self) -> None:
        """Raises `CorruptRecordsError` when the bytes are not what was sent. To be called before `records`."""
        if not self.head.validate_crc():
            raise CorruptRecordsError(self.head.base_offset, "the checksum is wrong")

    def records(self) -> Any:
        """Gives an iterator of rows, once. Raises `CorruptRecordsError` when they cannot be unpacked."""
        head = self.head
        codec = head.attributes & _CODEC_BITS
        if not codec:
            return head
        try:
            unpacked = _unpack(codec, self._data[_HEAD_BYTES:])
        except (cramjam.DecompressionError, zlib.error, struct.error, ValueError) as error:
            raise CorruptRecordsError(head.base_offset, f"they cannot be unpacked: {error}") from error
        whole = bytearray(self._data[:_HEAD_BYTES]) + unpacked
        _LENGTH.pack_into(whole, 8, len(whole) - _PREFIX_BYTES)
        _ATTRIBUTES.pack_into(whole, _ATTRIBUTES_AT, head.attributes & ~_CODEC_BITS)
        return wire.DefaultRecordBatch(whole)


def record_batches(data: bytes) -> Iterator[RecordBatch]:
    """Gives the complete batches; an answer may end in a part of one."""
    memory = memoryview(data)
    at = 0
    while len(memory) - at > _MAGIC_AT:
        (length,) = _LENGTH.unpack_from(memory, at + 8)
        if length < _HEAD_BYTES - _PREFIX_BYTES and memory[at + _MAGIC_AT] >= 2:
            raise CorruptRecordsError(None, f"a batch says that it has {length} bytes")
        end = at + _PREFIX_BYTES + length
        if end > len(memory):
            return
        if memory[at + _MAGIC_AT] != 2:
            magic = memory[at + _MAGIC_AT]
            raise CorruptRecordsError(None, f"they are in message format {magic}; Kafka since 0.11 writes format 2")
        yield RecordBatch(memory[at:end])
        at = end


def _unpack(codec: int, data: memoryview) -> bytes | bytearray | memoryview:
    if codec == _GZIP:
        return _gunzip(data)
    if codec == _SNAPPY:
        return _unsnap(data)
    if codec in (_LZ4, _ZSTD):
        return _grown(cramjam.lz4.decompress_into if codec == _LZ4 else cramjam.zstd.decompress_into, data)
    raise ValueError(f"compression {codec} is not known")


def _gunzip(data: memoryview) -> bytes:
    gunzip = zlib.decompressobj(wbits=31)
    out = gunzip.decompress(data, MAX_UNPACKED_BYTES)
    if gunzip.unconsumed_tail:
        raise _too_large()
    if not gunzip.eof:
        raise ValueError("it ends too early")
    return out


def _unsnap(data: memoryview) -> bytes:
    """Raw snappy, or the blocks that Java clients write: a head, then length and raw snappy again and again."""
    if data[: len(_XERIAL)] != _XERIAL:
        return _unsnap_block(data, MAX_UNPACKED_BYTES)
    blocks: list[bytes] = []
    left, at = MAX_UNPACKED_BYTES, _XERIAL_HEAD_BYTES
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        if not 0 < length <= len(data) - at - _LENGTH.size:
            raise ValueError(f"a block says that it has {length} bytes")
        at += _LENGTH.size
        blocks.append(_unsnap_block(data[at : at + length], left))
        left -= len(blocks[-1])
        at += length
    return b"".join(blocks)


def _unsnap_block(data: memoryview, limit: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(data) > limit:
        raise _too_large()
    return bytes(cramjam.snappy.decompress_raw(data))


def _grown(unpack_into: Callable[[Any, Any], int], data: memoryview) -> memoryview:
    """Unpacks into memory that grows until it fits: how large it becomes, nothing trustworthy says before."""
    size = max(_SMALLEST, _GROWTH * len(data))
    while True:
        out = bytearray(min(size, MAX_UNPACKED_BYTES))
        try:
            return memoryview(out)[: unpack_into(data, out)]
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
        if size >= MAX_UNPACKED_BYTES:
            raise _too_large()
        size *= _GROWTH


def _too_large() -> ValueError:
    return ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes")
