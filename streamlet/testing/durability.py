"""What a power cut leaves of files and names: the model behind `SimulatedDisk`, without any I/O."""

from __future__ import annotations

import random
from collections.abc import Iterable

_PRUNE = 64


class File:
    """What is known of one file's content."""

    __slots__ = ("durable", "is_lost")

    def __init__(self) -> None:
        self.durable: bytes | None = None
        """Its content at its last fsync."""
        self.is_lost = False
        """An fsync has failed: later ones achieve nothing."""


class Folder:
    """The names in one folder: as they are, and as they would be after a power cut."""

    __slots__ = ("durable", "live")

    def __init__(self) -> None:
        self.live: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}


Change = tuple[Folder, str, "File | Folder | None"]
"""In this folder, this name now stands for that; None when it is gone."""


class Journal:
    """Every change of a name that is not durable yet, in order.

    Changes of the same name stand on each other: none becomes durable before those that came earlier.  All others are
    independent, as far as a file system promises anything.
    """

    def __init__(self, top: Folder) -> None:
        self._top = top
        self._pending: list[tuple[Change, ...]] = []
        self._until_prune = _PRUNE

    def change(self, *changes: Change) -> None:
        """Changes names as they are now. What is given together, as the two sides of a rename, happens together."""
        for folder, name, node in changes:
            if node is None:
                folder.live.pop(name, None)
            else:
                folder.live[name] = node
        self._pending.append(changes)
        if len(self._pending) > self._until_prune:
            self._prune()

    def sync(self, folder: Folder) -> None:
        """Makes the names in a folder durable."""
        self._settle([one for one in self._pending if any(where is folder for where, _, _ in one)])

    def lose(self, randomness: random.Random) -> None:
        """The power is cut: each change that was not durable is kept or lost."""
        pending = self._pending
        until = randomness.randint(0, len(pending))
        ways: tuple[list[tuple[Change, ...]], ...] = (
            [],
            pending,
            pending[:until],
            [one for one in pending if randomness.random() < 0.5],
            [one for one in pending if randomness.random() < 0.5],
        )
        self._settle(randomness.choice(ways))
        self._pending = []

    def _settle(self, chosen: Iterable[tuple[Change, ...]]) -> None:
        """Makes changes durable, and with each of them those before it that it stands on."""
        wanted = {id(changes) for changes in chosen}
        names: set[tuple[int, str]] = set()
        durable, rest = [], []
        for changes in reversed(self._pending):
            mine = {(id(folder), name) for folder, name, _ in changes}
            if id(changes) in wanted or mine & names:
                names |= mine
                durable.append(changes)
            else:
                rest.append(changes)
        for changes in reversed(durable):
            for folder, name, node in changes:
                if node is None:
                    folder.durable.pop(name, None)
                else:
                    folder.durable[name] = node
        self._pending = rest[::-1]

    def _prune(self) -> None:
        """Forgets changes in folders that are gone, now and for ever."""
        known: dict[int, Folder] = {}
        found = [self._top, *(node for one in self._pending for _, _, node in one if isinstance(node, Folder))]
        while found:
            folder = found.pop()
            if id(folder) not in known:
                known[id(folder)] = folder
                below = (*folder.live.values(), *folder.durable.values())
                found.extend(node for node in below if isinstance(node, Folder))
        self._pending = [one for one in self._pending if any(id(folder) in known for folder, _, _ in one)]
        self._until_prune = len(self._pending) + _PRUNE


def survived(file: File, current: bytes | None, randomness: random.Random) -> bytes:
    """What a file holds after a power cut."""
    if current is None:
        # Its last name was removed, but the removal was not durable.
        return file.durable or b""
    if file.durable == current:
        return current
    choices = [current, current[: randomness.randint(0, len(current))], bytes(len(current))]
    choices.append(b"" if file.durable is None else file.durable)
    if file.durable is not None or file.is_lost:
        return randomness.choice(choices) if not file.is_lost else choices[-1]
    return randomness.choice(choices)
