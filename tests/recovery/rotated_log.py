"""A log that is written and rotated in every way that log rotators have, and that remembers what was written."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import shutil
from pathlib import Path

_MOST = 60


class RotatedLog:
    """`app.log` in a folder, and what it was rotated to: `app.log.1`, `app.log.2.gz`, ..."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.written: list[str] = []
        self._chance = chance
        self._path = folder / "app.log"
        self._numbers = itertools.count()
        self.write()

    def write(self) -> None:
        """Appends some lines, the last in two pieces."""
        with self._path.open("a") as file:
            self._append(file.fileno())

    def step(self) -> str:
        """Does one thing that happens to logs, and says which."""
        ways = (self.write, self.rename, self.rename, self.copy_and_cut, self.copy_and_cut, self.pack, self.pack)
        way = self._chance.choice(ways)
        way()
        return way.__name__

    def rename(self) -> None:
        """The writer goes on in the old file until it is told of the new one."""
        self._shift()
        with self._path.open("a") as file:
            self._path.rename(self._numbered(1))
            self._append(file.fileno())
        self.write()

    def copy_and_cut(self) -> None:
        self._shift()
        shutil.copyfile(self._path, self._numbered(1))
        os.truncate(self._path, 0)
        self.write()

    def pack(self) -> None:
        """Packs the newest file that is not packed, in two pieces, and deletes it then."""
        for number in range(1, _MOST):
            plain = self._numbered(number)
            if plain.exists():
                packed = gzip.compress(plain.read_bytes())
                half = self._chance.randrange(len(packed))
                with self._numbered(number, ".gz").open("wb", buffering=0) as file:
                    file.write(packed[:half])
                    self.write()
                    file.write(packed[half:])
                plain.unlink()
                return

    def _append(self, descriptor: int) -> None:
        for number in itertools.islice(self._numbers, self._chance.randint(1, 20)):
            text = f"line {number} {'x' * self._chance.randrange(40)}"
            self.written.append(text)
            at = self._chance.randrange(len(text))
            os.write(descriptor, text[:at].encode())
            os.write(descriptor, f"{text[at:]}\n".encode())

    def _shift(self) -> None:
        for number in range(_MOST, 0, -1):
            for end in ("", ".gz"):
                if self._numbered(number, end).exists():
                    self._numbered(number, end).rename(self._numbered(number + 1, end))

    def _numbered(self, number: int, end: str = "") -> Path:
        return self._path.with_name(f"app.log.{number}{end}")
