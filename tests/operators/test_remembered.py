"""The recipe refuses an operator that remembers something which neither its snapshot nor keyed state has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlet import KeyedProcessFunction, ProcessContext
from streamlet.connect import Batch
from streamlet.operators.operator import Emit, Operator
from streamlet.operators.process import KeyedProcess
from streamlet.state.backends.memory import MemoryKeyedStore
from tests.operators.recipe import Case, Rows, crashing
from tests.operators.remembered import FORGOTTEN

STEPS = [Rows([1, 2]), Rows([3]), Rows([4])]


class PassingOn(Operator):
    """Emits what comes: its output does not tell what it remembers."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self.note(batch)
        out(batch)

    def note(self, batch: Batch[Any]) -> None:
        """Remembers something of a batch."""


class Counting(PassingOn):
    """Counts in an attribute."""

    def __init__(self) -> None:
        self.count = 0

    def note(self, batch: Batch[Any]) -> None:
        self.count += len(batch)


class Page:
    """A part of an operator, without a `__dict__`."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: dict[int, list[int]] = {0: []}


class Filing(PassingOn):
    """Fills a container deep inside."""

    def __init__(self) -> None:
        self.pages = (Page(),)

    def note(self, batch: Batch[Any]) -> None:
        self.pages[0].lines[0].extend(batch.values)


class CountingWithSnapshot(Counting):
    """Counts, and a checkpoint has it."""

    def snapshot(self) -> Any:
        return self.count

    def restore(self, snapshots: list[Any]) -> None:
        (self.count,) = snapshots


class HalfOfIt(CountingWithSnapshot):
    """Counts, and keeps the last value beside, which no checkpoint has."""

    last: Any = None

    def note(self, batch: Batch[Any]) -> None:
        super().note(batch)
        self.last = batch.values[-1]


class OfItsOwn(KeyedProcessFunction[str, int, int]):
    """A function that remembers in an attribute instead of a declared state."""

    def __init__(self) -> None:
        self.values: set[int] = set()

    def process_element(self, value: int, ctx: ProcessContext[str]) -> tuple[int]:
        self.values.add(value)
        return (value,)


def _crash(make: Callable[[], Operator], folder: Path, keys: list[str] | None = None) -> None:
    steps = [Rows(step.values, keys=keys and keys * len(step.values)) for step in STEPS]
    rows = crashing(Case("bad", make, steps, []), MemoryKeyedStore, folder)
    assert rows == [(None, value, None) for step in steps for value in step.values]


@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (Counting, r"Counting\.count was 2 and is 0 after a restore"),
        (Filing, r"Filing\.pages\[0\]\.lines\.values\[0\] was 2 elements and is 0 elements"),
        (HalfOfIt, r"HalfOfIt\.last was 2 and is not there"),
    ],
)
def test_an_attribute_that_no_snapshot_has_is_refused(make: Callable[[], Operator], lost: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=lost):
        _crash(make, tmp_path)


def test_a_function_that_remembers_beside_its_declared_states_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"KeyedProcess\.running\.values was \['1', '2'\] and is \[\]"):
        _crash(lambda: KeyedProcess(OfItsOwn()), tmp_path, ["a"])


def test_an_attribute_that_a_snapshot_has_is_not_refused(tmp_path: Path) -> None:
    _crash(CountingWithSnapshot, tmp_path)


def test_an_attribute_that_is_declared_to_be_forgotten_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORGOTTEN, Counting, {"count": "nobody needs it"})
    _crash(Counting, tmp_path)
