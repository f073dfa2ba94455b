"""What the large state is made of: a pure function of the index, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SCATTER = 2_654_435_761
"""A prime: multiples of it modulo the number of keys come to each key once."""


@dataclass(frozen=True)
class Input:
    """Several passes over all keys, then a tail over few of them."""

    keys: int
    passes: int
    few: int
    tail: int

    @staticmethod
    def of(environment: Mapping[str, str]) -> Input:
        return Input(*(int(environment[name]) for name in ("KEYS", "PASSES", "FEW", "TAIL")))

    def environment(self) -> dict[str, str]:
        """What `of` reads."""
        return {
            "KEYS": str(self.keys), "PASSES": str(self.passes), "FEW": str(self.few), "TAIL": str(self.tail)
        }  # fmt: skip

    @property
    def records(self) -> int:
        return self.keys * self.passes + self.tail

    def key(self, index: int) -> str:
        """The key of a record."""
        wide = self.keys * self.passes
        number = index % self.keys if index < wide else (index - wide) % self.few
        return f"key-{number * _SCATTER % self.keys:09d}"

    def amount(self, index: int) -> int:
        """The amount of a record."""
        return index % 997

    def sums(self) -> dict[str, tuple[int, int]]:
        """What must be in the state in the end: key -> (count, sum)."""
        return {self.key(number): self._sum(number) for number in range(self.keys)}

    def results(self, suffix: str) -> Iterator[tuple[str, int, int]]:
        """What must have been emitted for keys that end with `suffix`."""
        so_far: dict[str, tuple[int, int]] = {}
        for index in range(self.records):
            key = self.key(index)
            if key.endswith(suffix):
                count, total = so_far.get(key, (0, 0))
                so_far[key] = count, total = count + 1, total + self.amount(index)
                yield key, count, total

    def _sum(self, number: int) -> tuple[int, int]:
        """Of the key that comes at `number` of each pass."""
        indices = [number + one * self.keys for one in range(self.passes)]
        if number < self.few:
            wide = self.keys * self.passes
            indices += range(wide + number, self.records, self.few)
        return len(indices), sum(map(self.amount, indices))
