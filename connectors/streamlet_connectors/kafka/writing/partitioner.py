"""Which partition a record goes to. Keyed records land where every Java client would put them."""

from __future__ import annotations

import struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_WORDS = struct.Struct("<I")


def murmur2(data: bytes) -> int:
    """Hashes as Kafka's Java client does (`org.apache.kafka.common.utils.Utils.murmur2`), as an unsigned number."""
    length = len(data)
    whole = length & ~3
    h = _SEED ^ length
    for (word,) in _WORDS.iter_unpack(data[:whole]):
        k = word * _M & _MASK
        k ^= k >> 24
        h = (h * _M & _MASK) ^ (k * _M & _MASK)
    if whole != length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h ^= h >> 13
    h = h * _M & _MASK
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Gives the partition of a key under the Java client's default partitioner."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
