"""Starts with `--from ID`: what was written since that checkpoint comes twice, exactly, and nothing else does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from tests.simulation.outside import Outside

SetAside = tuple[str, int, int]
"""A sink, and a range of its log."""


class Forks:
    """Knows how much output belongs to each checkpoint, so that what an older one begins again can be set aside."""

    def __init__(
        self,
        outside: Outside,
        happened: Counter[str],
        on_begin: Callable[[], object] = lambda: None,
        on_mark: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._outside = outside
        self._on_begin, self._on_mark = on_begin, on_mark
        self._cuts: dict[int, tuple[dict[str, int], list[SetAside]]] = {}
        """Checkpoint -> how much of each sink's log it covers, and which parts of that belong to other lines."""
        self._wanted: dict[int, int | None] = {}
        """Process -> the checkpoint that its newest attempt was asked for; a zombie has one of its own."""
        self._was_end: dict[int, bool] = {}
        """True when the wanted checkpoint is the last one of a job that had finished."""
        self._open: dict[int, int] = {}
        """Start checkpoint that may or may not be durable -> the older checkpoint that it goes on from."""
        self._set_aside: list[SetAside] = []
        self.happened = happened

    def choose(self, storage: CheckpointStorage, begins: str, randomness: random.Random, process: int = 0) -> str:
        """Gives the option of a start: `latest`, or for `older` the id of a checkpoint that is there."""
        self._wanted[process], self._was_end[process] = None, False
        if begins != "older":
            return "latest"
        infos = _there(storage)
        newest = max((info.id for info in infos), default=None)
        found = [
            info.manifest
            for info in infos
            if info.is_marked and info.id in self._cuts and info.id != newest and info.manifest is not None
        ]
        if not found:
            return "latest"
        manifest = randomness.choice(found)
        self._wanted[process] = manifest.checkpoint_id
        self._was_end[process] = manifest.kind == "final"
        return str(manifest.checkpoint_id)

    def lengths(self) -> dict[str, int]:
        """How much is visible now."""
        return {uid: len(values) for uid, values in self._outside.log.items()}

    def marked(self, checkpoint_id: int, lengths: dict[str, int]) -> None:
        """It has a marker: when that was about to be written, exactly what it covers was visible."""
        self._cuts[checkpoint_id] = lengths, list(self._set_aside)
        self._on_mark(checkpoint_id)

    def deciding(self, manifest: Any, process: int = 0) -> None:
        """A checkpoint is about to be decided; whether it was, the next start will see."""
        self._open.pop(manifest.checkpoint_id, None)
        wanted = self._wanted.get(process)
        if manifest.kind == "start" and wanted is not None:
            self._open[manifest.checkpoint_id] = wanted

    def begins(self, parent: int | None, storage: CheckpointStorage) -> None:
        """An attempt goes on from this checkpoint of the state directory; nothing that it writes is visible yet."""
        self._on_begin()
        by_id = {info.id: info for info in _there(storage)}
        following = parent
        while following is not None and following in by_id:
            older = self._open.pop(following, None)
            if older is not None:
                self._go_on_from(older)
            manifest = by_id[following].manifest
            following = None if manifest is None else manifest.parent
        if parent is not None:
            self._cuts[parent] = self.lengths(), list(self._set_aside)

    def finished(self, process: int = 0) -> None:
        """The job has finished: at once and without an attempt, if it was to go on from where it had finished before.
        Then what that checkpoint covers is all there is."""
        if self._was_end.get(process):
            wanted = self._wanted[process]
            assert wanted is not None
            self._go_on_from(wanted)

    def _go_on_from(self, older: int) -> None:
        self.happened["older"] += 1
        cuts, aside = self._cuts[older]
        since = [(uid, cuts.get(uid, 0), len(values)) for uid, values in self._outside.log.items()]
        # It may lie on a line that an earlier such start has left: what that line wrote counts again.
        self._set_aside = aside + since

    def wanted(self) -> dict[str, list[Any]]:
        """What is visible, without what came a second time because the user asked for it."""
        found = {}
        for uid, values in self._outside.log.items():
            gone: set[int] = set()
            for one, start, end in self._set_aside:
                if one == uid:
                    gone.update(range(start, end))
            found[uid] = [value for place, value in enumerate(values) if place not in gone]
        return found


def _there(storage: CheckpointStorage) -> list[CheckpointInfo]:
    """The checkpoints as they are: whoever looks on from outside of the simulation meets no faults."""
    return CheckpointStorage(storage.folder.parent, storage.job, LocalDisk()).checkpoints()
