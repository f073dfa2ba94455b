"""What really happened in a soak, and how long it took to go on."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import Any


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Ledger:
    """Counts faults that hit; one that missed its moment is counted apart and proves nothing."""

    hit: collections.Counter[str] = field(default_factory=collections.Counter)
    missed: collections.Counter[str] = field(default_factory=collections.Counter)
    waits: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    """Seconds from a fault to the first output that was committed behind it."""
    checks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def count(self, fault: str, has_hit: bool) -> None:
        (self.hit if has_hit else self.missed)[fault] += 1

    @property
    def is_exact(self) -> bool:
        return bool(self.checks) and all(said["exact"] for _, said in self.checks)

    def table(self) -> str:
        """The summary, for people."""
        lines = ["", f"{'fault that hit':<58}{'times':>7}{'missed':>8}"]
        lines += [f"{name:<58}{self.hit[name]:>7}{self.missed[name]:>8}" for name in sorted(self.hit | self.missed)]
        lines += ["", f"{'seconds to the first newly committed output':<50}{'n':>6}{'p50':>8}{'p95':>8}{'max':>8}"]
        for name, waits in sorted(self.waits.items()):
            p50, p95 = percentile(waits, 0.5), percentile(waits, 0.95)
            lines.append(f"{name:<50}{len(waits):>6}{p50:>8.2f}{p95:>8.2f}{max(waits):>8.2f}")
        head = ("records in", "out", "lost", "doubled", "disorder", "wrong", "console")
        lines += ["", f"{'checked':<26}" + "".join(f"{name:>12}" for name in head)]
        for name, said in self.checks:
            console = {True: "equal", False: "DIFFERS", None: "-"}[said.get("console_is_equal")]
            figures = [said[key] for key in ("inputs", "outputs", "lost", "doubled", "out_of_order", "wrong")]
            lines.append(f"{name:<26}" + "".join(f"{figure:>12,}" for figure in figures) + f"{console:>12}")
        totals = [sum(said[key] for _, said in self.checks) for key in ("inputs", "lost", "doubled", "out_of_order")]
        lines.append(
            f"in all: {totals[0]:,} records, {totals[1]} lost, {totals[2]} doubled, {totals[3]} out of order; "
            f"{'EXACT' if self.is_exact else 'WRONG'}"
        )
        return "\n".join(lines)
