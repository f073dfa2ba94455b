"""How many records went another way than the rest: late, put aside, left out. For people; nothing depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal

Kind = Literal["late dropped", "late put aside", "left out", "dead letters", "ahead of the clock", "not taken"]
"""`late dropped`: came after its time, and no output takes it.  `late put aside`: one does.  `left out`: could not be
read or worked on, under a policy that drops it; `dead letters`: under one that puts it aside.  `ahead of the clock`:
worked on, but its time did not move event time.  `not taken`: put out under a tag that nobody takes."""

Counting = Callable[[Kind, int], None]
"""Notes so many more of a kind."""


def uncounted(kind: Kind, number: int) -> None:
    """What is counted where nobody looks."""


class Tally:
    """The counts of the subtasks of one process in one attempt, by operator."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def of(self, uid: str) -> Counting:
        """What notes them for one operator."""
        return partial(self._note, uid)

    def counts(self) -> dict[str, dict[str, int]]:
        """By uid, then by kind."""
        return {uid: dict(counts) for uid, counts in self._counts.items()}

    def _note(self, uid: str, kind: Kind, number: int) -> None:
        if number:
            self._counts.setdefault(uid, Counter())[kind] += number


def added_up(several: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """The counts of several processes."""
    sums: dict[str, Counter[str]] = {}
    for counts in several:
        for uid, by_kind in counts.items():
            sums.setdefault(uid, Counter()).update(by_kind)
    return {uid: dict(by_kind) for uid, by_kind in sums.items()}


def told(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A few words for each kind of which there are any, over all operators."""
    kinds: Counter[str] = Counter()
    for by_kind in counts.values():
        kinds.update(by_kind)
    return [f"{kinds[kind]:,} {kind}" for kind in sorted(kinds, key=lambda kind: (-kinds[kind], kind))]
