"""What benchmarks say: a line of JSON for each run, and a table of medians with their spread."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HEADER = f"{'median':>14} {'min':>14} {'max':>14}"
_HEAD = ("benchmark", "program", "round")


class Report:
    """The rows of one benchmark: who ran, in which round, and its figures."""

    def __init__(self, benchmark: str, target: Path | None = None) -> None:
        """`target`: a file to which each row is appended."""
        self.rows: list[Row] = []
        self._benchmark = benchmark
        self._target = target

    def add(self, program: str, number: int, figures: Mapping[str, Any]) -> None:
        """Takes one run in, and prints it as a line of JSON."""
        row = {"benchmark": self._benchmark, "program": program, "round": number, **figures}
        self.rows.append(row)
        line = json.dumps(row)
        print(line, flush=True)
        if self._target is not None:
            with self._target.open("a") as file:
                file.write(line + "\n")

    def table(self) -> str:
        """Each figure of each program: median, least and most over the rounds."""
        programs = list(dict.fromkeys(row["program"] for row in self.rows))
        width = max(map(len, programs), default=0)
        lines = [f"{'':{width}}  {'':32} {HEADER}"]
        for program in programs:
            own = [row for row in self.rows if row["program"] == program]
            for figure in dict.fromkeys(name for row in own for name in row if name not in _HEAD):
                values = [value for row in own for value in numbers(row.get(figure))]
                if values:
                    lines.append(f"{program:{width}}  {figure:32} {spread(values)}")
        return "\n".join(lines)

    def ratios(self, ours: str, theirs: str, figures: Sequence[str]) -> str:
        """Of each figure: what one program has, divided by what the other one has in the same round."""
        lines = []
        for figure in figures:
            found = ratios_by_round(self._of(ours), self._of(theirs), figure)
            if found:
                lines.append(f"{ours} / {theirs}  {figure:32} {spread(found, digits=3)}")
        return "\n".join(lines)

    def _of(self, program: str) -> list[Row]:
        return [row for row in self.rows if row["program"] == program]


def ratios_by_round(ours: Sequence[Row], theirs: Sequence[Row], figure: str) -> list[float]:
    """The ratio of each round in which both have the figure."""
    by_round = {row["round"]: row.get(figure) for row in theirs}
    return [
        row[figure] / by_round[row["round"]]
        for row in ours
        if isinstance(row.get(figure), int | float) and by_round.get(row["round"])
    ]


def numbers(value: object) -> Iterator[float]:
    """The numbers in a figure: itself, or those of a list."""
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def spread(values: Sequence[float], *, digits: int = 2) -> str:
    """Median, least and most."""
    return " ".join(f"{value:>14,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the most of some times, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    parts = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    last = len(ordered) - 1
    return {name: round(ordered[min(last, int(len(ordered) * part))] * 1000, 2) for name, part in parts.items()}


def with_common_options(parser: argparse.ArgumentParser, *, rounds: int = 3) -> argparse.ArgumentParser:
    """Adds what every benchmark takes."""
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, help="append a line for each run to this file")
    return parser
