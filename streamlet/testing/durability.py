"""What a power cut leaves of files and names: the model behind `SimulatedDisk`, without any I/O."""

from __future__ import annotations

import random

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

    __slots__ = ("durable", "live", "pending")

    def __init__(self) -> None:
        self.live: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}
        self.pending: dict[str, list[int]] = {}
        """Name -> numbers of the changes of it that are not durable yet, rising."""


Change = tuple[Folder, str, "File | Folder | None"]
"""In this folder, this name now stands for that; None when it is gone."""


class UndoLog:
    """Every change of a name that is not durable yet, in order.

    Changes of the same name stand on each other: none becomes durable before those that came earlier.  All others are
    independent, as far as a file system promises anything.
    """

    def __init__(self, top: Folder) -> None:
        self._top = top
        self._pending: dict[int, tuple[Change, ...]] = {}
        self._numbers = 0
        self._until_prune = _PRUNE

    def change(self, *changes: Change) -> None:
        """Changes names as they are now. What is given together, as the two sides of a rename, happens together."""
        self._numbers += 1
        for folder, name, node in changes:
            if node is None:
                folder.live.pop(name, None)
            else:
                folder.live[name] = node
            numbers = folder.pending.setdefault(name, [])
            if self._numbers not in numbers:
                numbers.append(self._numbers)
        self._pending[self._numbers] = changes
        if len(self._pending) > self._until_prune:
            self._prune()

    def sync(self, folder: Folder) -> None:
        """Makes the names in a folder durable."""
        self._settle({number for numbers in folder.pending.values() for number in numbers})

    def lose(self, randomness: random.Random) -> None:
        """The power is cut: each change that was not durable is kept or lost."""
        pending = list(self._pending)
        until = randomness.randint(0, len(pending))
        ways: tuple[list[int], ...] = (
            [],
            pending,
            pending[:until],
            [one for one in pending if randomness.random() < 0.5],
            [one for one in pending if randomness.random() < 0.5],
        )
        self._settle(set(randomness.choice(ways)))
        for number in list(self._pending):
            self._forget(number)

    def _settle(self, chosen: set[int]) -> None:
        """Makes changes durable, and with each of them those before it that it stands on."""
        found, looking = set(chosen), list(chosen)
        while looking:
            number = looking.pop()
            for folder, name, _ in self._pending[number]:
                for earlier in folder.pending[name]:
                    if earlier < number and earlier not in found:
                        found.add(earlier)
                        looking.append(earlier)
        for number in sorted(found):
            for folder, name, node in self._forget(number):
                if node is None:
                    folder.durable.pop(name, None)
                else:
                    folder.durable[name] = node

    def _forget(self, number: int) -> tuple[Change, ...]:
        changes = self._pending.pop(number)
        for folder, name in {(folder, name) for folder, name, _ in changes}:
            folder.pending[name].remove(number)
            if not folder.pending[name]:
                del folder.pending[name]
        return changes

    def _prune(self) -> None:
        """Forgets changes in folders that are gone, now and for ever."""
        known: set[Folder] = set()
        found = [self._top]
        for changes in self._pending.values():
            found.extend(node for _, _, node in changes if isinstance(node, Folder))
        while found:
            folder = found.pop()
            if folder not in known:
                known.add(folder)
                below = (*folder.live.values(), *folder.durable.values())
                found.extend(node for node in below if isinstance(node, Folder))
        for number, changes in list(self._pending.items()):
            if not any(folder in known for folder, _, _ in changes):
                self._forget(number)
        self._until_prune = 2 * len(self._pending) + _PRUNE


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
