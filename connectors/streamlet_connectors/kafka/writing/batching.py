"""A record batch on its way to Kafka: sealed with a producer's identity, and compressed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Literal, get_args

from streamlet_connectors.kafka.protocol import wire

Compression = Literal["gzip", "snappy", "lz4", "zstd"]
COMPRESSIONS: tuple[str, ...] = get_args(Compression)

# The header of a batch of format 2 (Kafka's documentation, "Record Batch").
HEADER_BYTES = 61
_LENGTH_AT = 8
_LENGTH_COUNTS_FROM = 12
_CRC_AT = 17
_CRC_COUNTS_FROM = 21
_ATTRIBUTES_AT = 21
_IDENTITY_AT = 43
_TRANSACTIONAL = 0x10
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
_UINT32 = struct.Struct(">I")
_IDENTITY = struct.Struct(">qhi")

# Levels: lz4 at its fastest and gzip at 6, since aiokafka's own choice (9 for both) costs ten times the CPU.
_CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, lambda data: bytes(wire.codec.gzip_encode(data, 6))),
    "snappy": (2, lambda data: bytes(wire.codec.snappy_encode(data))),
    "lz4": (3, lambda data: bytes(wire.codec.lz4_encode(data, 1))),
    "zstd": (4, lambda data: bytes(wire.codec.zstd_encode(data, 3))),
}


def new_builder(limit_bytes: int, *, is_transactional: bool) -> Any:
    """Gives an empty batch; its `append` gives None when a record does not fit any more, but takes any first one."""
    return wire.DefaultRecordBatchBuilder(2, 0, int(is_transactional), -1, -1, 0, limit_bytes)


def seal(
    builder: Any, producer_id: int, epoch: int, sequence: int, compression: str | None, *, is_transactional: bool
) -> bytearray:
    """Finishes a batch. It never changes afterwards: a retry sends the same bytes."""
    builder.set_producer_state(producer_id, epoch, sequence)
    data: bytearray = builder.build()
    if compression is not None:
        data = compress(data, compression)
    # The broker notices neither mistake, and both lose or expose records without a word.
    assert bool(_INT16.unpack_from(data, _ATTRIBUTES_AT)[0] & _TRANSACTIONAL) == is_transactional
    assert _IDENTITY.unpack_from(data, _IDENTITY_AT) == (producer_id, epoch, sequence)
    return data


def compress(data: bytearray, compression: str) -> bytearray:
    """Compresses the records of a built batch; leaves it as it is when that does not make it smaller."""
    code, encode = _CODECS[compression]
    packed = encode(bytes(data[HEADER_BYTES:]))
    if len(packed) >= len(data) - HEADER_BYTES:
        return data
    result = data[:HEADER_BYTES] + packed
    attributes = _INT16.unpack_from(result, _ATTRIBUTES_AT)[0] | code
    _INT16.pack_into(result, _ATTRIBUTES_AT, attributes)
    _INT32.pack_into(result, _LENGTH_AT, len(result) - _LENGTH_COUNTS_FROM)
    _UINT32.pack_into(result, _CRC_AT, wire.calc_crc32c(result[_CRC_COUNTS_FROM:]))
    return result
