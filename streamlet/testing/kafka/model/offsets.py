"""The offsets of consumer groups, also those that belong to transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streamlet.testing.kafka.model.transactions import Place


class GroupOffset(NamedTuple):
    offset: int
    leader_epoch: int = -1
    metadata: str = ""


class GroupOffsets:
    """Offsets of one group. Those of an open transaction count only when it commits."""

    def __init__(self) -> None:
        self._stored: dict[Place, GroupOffset] = {}
        self._pending: dict[int, dict[Place, GroupOffset]] = {}

    def store(self, offsets: Mapping[Place, GroupOffset]) -> None:
        self._stored.update(offsets)

    def store_in_transaction(self, producer_id: int, offsets: Mapping[Place, GroupOffset]) -> None:
        self._pending.setdefault(producer_id, {}).update(offsets)

    def end_transaction(self, producer_id: int, *, commit: bool) -> None:
        offsets = self._pending.pop(producer_id, {})
        if commit:
            self._stored.update(offsets)

    def get(self, place: Place) -> GroupOffset | None:
        return self._stored.get(place)

    def places(self) -> Iterable[Place]:
        return list(self._stored)

    def is_unstable(self, place: Place) -> bool:
        """True while an open transaction holds an offset for this partition."""
        return any(place in offsets for offsets in self._pending.values())

    def forget_topic(self, name: str) -> None:
        """Drops the offsets of a topic that was deleted."""
        for place in [place for place in self._stored if place[0] == name]:
            del self._stored[place]
