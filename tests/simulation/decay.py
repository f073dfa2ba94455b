"""Disks that fail: calls that raise, and bits that flip while no process runs.

Damage must be found and named, or passed over, and never be believed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections import Counter
from pathlib import Path

from streamlet.errors import CheckpointDamagedError
from streamlet.runtime.job.supervisor import Outcome
from streamlet.testing.disk import SimulatedDisk
from tests.simulation.oracle import WrongOutput
from tests.simulation.scenario import Faults


def fail_now_and_then(call: str, path: str, faults: Faults, randomness: random.Random, happened: Counter[str]) -> None:
    """Raises what a disk that fails, or is full, answers to a call."""
    numbers: tuple[int, ...]
    if call == "read":
        probability, kind, numbers = faults.read_fails, "read_fails", (errno.EIO,)
    elif call in ("unlink", "rmdir") or faults.disk_fails_at not in path:
        return
    else:
        probability, kind, numbers = faults.disk_fails, "disk_fails", faults.disk_says
    if probability and randomness.random() < probability:
        happened[kind] += 1
        number = randomness.choice(numbers)
        raise OSError(number, os.strerror(number), path)


class Decay:
    """Flips a bit of one file, and puts it back when the job has stopped because of it."""

    def __init__(self, disk: SimulatedDisk, happened: Counter[str]) -> None:
        self._disk = disk
        self._happened = happened
        self._flipped: tuple[Path, bytes, bytes] | None = None
        self._gone: list[tuple[Path, bytes, bytes]] = []
        """Files that were removed while damaged: a power cut may bring them back."""

    def flip(self, randomness: random.Random) -> None:
        """Damages a checkpoint's manifest, or a file that it names."""
        found = sorted(
            path
            for pattern in ("*/chk-*/manifest", "*/files/*")
            for path in self._disk.root.glob(pattern)
            if path.stat().st_size
        )
        if not found or self._flipped is not None:
            return
        path = randomness.choice(found)
        before = path.read_bytes()
        place = randomness.randrange(len(before))
        after = before[:place] + bytes([before[place] ^ 1 << randomness.randrange(8)]) + before[place + 1 :]
        self._disk.rewrite(path, after)
        self._flipped = path, before, after

    def mend(self, outcome: Outcome | None) -> None:
        """After a process: one that has stopped because of the damage must have named the file or its checkpoint."""
        for one in self._gone:
            self._put_back(*one)
        if self._flipped is None:
            return
        path = self._flipped[0]
        if outcome is not None and isinstance(outcome.error, CheckpointDamagedError):
            self._happened["damage found"] += 1
            said = str(outcome.error)
            if path.name not in said and path.parent.name not in said and "Input/output error" not in said:
                raise WrongOutput(f"{path} is damaged, and the job says: {said}")
        if not self._put_back(*self._flipped):
            self._gone.append(self._flipped)
        self._flipped = None

    def _put_back(self, path: Path, before: bytes, after: bytes) -> bool:
        """False when the file is not there."""
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == after:
                self._disk.rewrite(path, before)
            return True
        return False
