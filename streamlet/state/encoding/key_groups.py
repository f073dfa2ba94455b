"""Where a key lives: its packed bytes, its key group, and the subtask that owns the group.

A stored key is `key group u16 | state id u16 | key length u32 | key | namespace`, big endian, so that one subtask's
keys are one range, and the entries of one state of one key are one range inside it.  A timer's is
`key group u16 | state id u16 | time u64 | key length u32 | key | namespace`, so that timers lie in the order of time.
"""

from __future__ import annotations

import struct

import msgspec
from xxhash import xxh3_64_intdigest

pack_key = msgspec.msgpack.Encoder().encode
"""The msgpack bytes of a key: the same in every process and release."""

MAX_KEY_GROUPS = 1 << 15
HEAD_BYTES = 8
"""Bytes of a stored key before the packed key."""
META_STATE = 0xFFFF
"""State id of what the store notes for itself."""
NO_STATE = 0xFFFE
"""State id in slots of a store without value states: nothing is ever stored under it."""

_head = struct.Struct(">HHI").pack
_timer_head = struct.Struct(">HHQI")
_BIAS = 1 << 63
"""Added to a time, so that negative ones come first."""


def key_group(packed: bytes, key_groups: int) -> int:
    """The key group of a packed key. Fixed for ever: every stored key depends on it."""
    return xxh3_64_intdigest(packed, 0) % key_groups


def subtask_of(group: int, parallelism: int, key_groups: int) -> int:
    """The subtask that owns a key group."""
    return group * parallelism // key_groups


def group_range(subtask: int, parallelism: int, key_groups: int) -> tuple[int, int]:
    """The key groups of a subtask, as the first one and the first one after them."""
    return -(-subtask * key_groups // parallelism), -(-(subtask + 1) * key_groups // parallelism)


def stored_key(group: int, state_id: int, packed: bytes, namespace: bytes = b"") -> bytes:
    """The key of an entry in logs and in RocksDB."""
    return _head(group, state_id, len(packed)) + packed + namespace


def group_prefix(group: int) -> bytes:
    """What every stored key of a key group begins with, and no key of a lower one."""
    return group.to_bytes(2, "big")


def state_of(stored: bytes) -> int:
    """The state id in a stored key."""
    return int.from_bytes(stored[2:4], "big")


def namespace_of(stored: bytes) -> bytes:
    """The namespace in a stored key."""
    return stored[HEAD_BYTES + int.from_bytes(stored[4:8], "big") :]


def timer_key(group: int, state_id: int, time: int, packed: bytes, namespace: bytes = b"") -> bytes:
    """The key of a timer in logs and in RocksDB. `time` is any signed integer of 64 bits."""
    return _timer_head.pack(group, state_id, time + _BIAS, len(packed)) + packed + namespace


def timer_prefix(group: int, state_id: int, time: int) -> bytes:
    """What no timer of this group and state before `time` is below."""
    return _timer_head.pack(group, state_id, time + _BIAS, 0)[:12]


def time_and_namespace(stored: bytes) -> tuple[int, bytes]:
    """The time and the namespace of a timer."""
    _, _, time, length = _timer_head.unpack_from(stored)
    return time - _BIAS, stored[16 + length :]


def split_timer_key(stored: bytes) -> tuple[int, bytes, bytes]:
    """The time, the packed key and the namespace of a timer."""
    _, _, time, length = _timer_head.unpack_from(stored)
    end = _timer_head.size + length
    return time - _BIAS, stored[_timer_head.size : end], stored[end:]
