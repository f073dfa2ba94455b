"""The function behind every first touch of a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xxhash import xxh3_64_intdigest

from streamlet.errors import JobDefinitionError
from streamlet.state.encoding.key_groups import pack_key
from streamlet.state.memory.cells import Cell, Slot


def slot_maker(
    store: str,
    state_id: int,
    *,
    key_groups: int,
    groups: tuple[int, int],
    unread_value: Callable[[], Any],
    remember: Callable[[Cell], None],
) -> Callable[[Any], Slot]:
    """Gives a function that makes the slot of a key, and has it counted: all that this needs is bound once.

    `groups` are the first key group of the store and the first that is not its own.
    """
    heads = [group.to_bytes(2, "big") + state_id.to_bytes(2, "big") for group in range(key_groups)]
    lengths = [length.to_bytes(4, "big") for length in range(256)]
    first, end = groups

    def make(key: Any) -> Slot:
        packed = pack_key(key)
        group = xxh3_64_intdigest(packed, 0) % key_groups
        if not first <= group < end:
            raise JobDefinitionError(
                f"key {key!r} of key group {group} came to {store!r}, which has groups {first} to {end - 1}",
                remedy="this is a fault of streamlet: please report it with the output of `streamlet plan`",
            )
        size = len(packed)
        head = heads[group] + (lengths[size] if size < 256 else size.to_bytes(4, "big"))
        slot = Slot(unread_value(), None, None, 0, key, head + packed, group)
        remember(slot)
        return slot

    return make
