"""From keys to slots: `SlotTable` finds the slots of a batch of keys, `slot_maker` makes the slot of a new key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import mod
from typing import Any

from xxhash import xxh3_64_intdigest

from streamlet.errors import JobDefinitionError
from streamlet.state.encoding.key_groups import pack_key
from streamlet.state.memory.cells import Cell, Slot

LARGE = 300_000
"""So many keys are found in one dict; more are spread over several."""
PARTS = 61
"""A prime: the hashes of whole numbers are those numbers, and may all be multiples of a power of two or of ten."""
MOVED = 2_000
"""Keys that move over with each batch, or are let go of at once: half a millisecond."""


class SlotTable:
    """The slots of all keys in memory.

    One dict, until it is large.  A dict that has to grow, or to make room where keys were deleted, moves all its
    entries at once, 30 to 50 ms for half a million, and the event loop stands still meanwhile.  Behind `LARGE` keys
    there are many dicts, of which each is small, and the keys move over with the batches that come.  To find a key's
    dict costs 0.2 us: that is why there is one at first.

    A dict of keys and slots that the garbage collector does not see is not seen by it either.
    """

    __slots__ = ("_first", "_parts")

    def __init__(self) -> None:
        self._first: dict[Any, Slot] = {}
        self._parts: list[dict[Any, Slot]] = []

    def __len__(self) -> int:
        return len(self._first) + sum(map(len, self._parts))

    def get(self, key: Any) -> Slot | None:
        """The slot of a key that is in memory."""
        return self._home(key).get(key)

    def __getitem__(self, key: Any) -> Slot:
        return self._home(key)[key]

    def __delitem__(self, key: Any) -> None:
        del self._home(key)[key]

    def look_up(self, keys: Sequence[Any], make: Callable[[Any], Slot]) -> list[Slot]:
        """Gives the slot of each key; those that are not there are made."""
        found = self._find(keys)
        if not all(found):
            for row, key in enumerate(keys):
                if found[row] is None:
                    slot = self.get(key)  # the same key may stand in several rows
                    if slot is None:
                        slot = self._home(key)[key] = make(key)
                    found[row] = slot
        return found  # type: ignore[return-value]  # no None is left

    def let_go(self) -> bool:
        """Lets go of some; True while there are more."""
        for part in (self._first, *self._parts):
            if part:
                for _ in range(min(MOVED, len(part))):
                    part.popitem()
                return True
        return False

    def _find(self, keys: Sequence[Any]) -> list[Slot | None]:
        if not self._parts:
            if len(self._first) < LARGE:
                return list(map(self._first.get, keys))
            self._parts = [{} for _ in range(PARTS)]
        if self._first:
            self._move()
            return [self.get(key) for key in keys]
        parts = map(self._parts.__getitem__, map(mod, map(hash, keys), repeat(PARTS)))
        return list(map(dict.get, parts, keys))

    def _home(self, key: Any) -> dict[Any, Slot]:
        """The dict that has a key, or that takes it when it is new."""
        return self._parts[hash(key) % PARTS] if self._parts and key not in self._first else self._first

    def _move(self) -> None:
        first = self._first
        for _ in range(min(MOVED, len(first))):
            key, slot = first.popitem()
            self._parts[hash(key) % PARTS][key] = slot
        if not first:
            self._first = {}  # an emptied dict keeps its memory


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
