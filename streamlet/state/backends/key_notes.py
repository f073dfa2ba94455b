"""The shape of a stream's keys, kept in the state itself: so a later job that has other keys is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from streamlet.state.encoding.key_groups import META_STATE, stored_key
from streamlet.state.encoding.key_type import KEY_CLASSES_NOTE, KEY_TYPE_NOTE, KeyType
from streamlet.state.memory.cells import Cell


class KeyNotes:
    """What a store notes of its keys, under its first key group."""

    def __init__(self, keys: KeyType, first_group: int) -> None:
        self._keys = keys
        self._group = first_group
        self._noted = ""

    def news(self, interval: int) -> list[Cell]:
        """What is to be noted, once the shape is known."""
        if self._keys.text == self._noted:
            return []
        self._noted = self._keys.text
        return self.all(interval)

    def all(self, interval: int) -> list[Cell]:
        """All that is known of it."""
        notes = ((KEY_TYPE_NOTE, self._keys.text), (KEY_CLASSES_NOTE, self._keys.classes))
        return [
            Cell(text, None, None, interval, None, stored_key(self._group, META_STATE, note))
            for note, text in notes
            if text
        ]

    def restore(self, read: Callable[[Sequence[bytes]], Sequence[bytes | msgspec.Raw | None]]) -> None:
        """Takes the shape from the restored state."""
        noted, classes = read([stored_key(self._group, META_STATE, note) for note in (KEY_TYPE_NOTE, KEY_CLASSES_NOTE)])
        if noted is not None:
            self._noted = msgspec.msgpack.decode(noted, type=str)
            self._keys.restore(self._noted, "" if classes is None else msgspec.msgpack.decode(classes, type=str))
