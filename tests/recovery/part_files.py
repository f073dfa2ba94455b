"""What a reader of a file sink's folder sees, checked line by line."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def part_files(folder: Path) -> list[Path]:
    """The files that readers see, in the order in which they are read."""
    return sorted(folder.glob("part-*"))


def hidden_files(folder: Path) -> list[str]:
    """Everything else: files in progress, marks of aborted ones."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("part-"))


def check_counts(folder: Path, keys: Iterable[Any], *, key: str) -> None:
    """Each key has exactly the counts 1..n in order, as often as it occurs in `keys`, and no hidden file is left."""
    seen: dict[Any, list[int]] = defaultdict(list)
    for path in part_files(folder):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)
            seen[record[key]].append(record["count"])
    expected = Counter(keys)
    assert set(seen) == set(expected)
    for name, times in expected.items():
        assert seen[name] == list(range(1, times + 1)), f"{name}: {len(seen[name])} lines, expected {times}"
    assert hidden_files(folder) == []
