"""The law of error policies: no record can stop a job whose steps leave records out, whichever function it breaks.

Each function that a step of the DSL calls has rows in `poison_rows`: what it does for a poisoned record, in one branch
of a job for each way to fail and each policy.  The branch must give what it gives without those records, and a letter
for each of them.  Steps and functions are found by introspection: a new one without rows fails the first test.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet import DeadLetter, Job, WatermarkStrategy
from streamlet.dsl import connected, job, joined, keyed, lookups, shorthands, stream, windowed
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import make_job, run
from tests.unit.poison_functions import COUNT, DEAD, LEAVES, POISONED, RAISES, Kept, Row, is_poisoned, record, touching
from tests.unit.poison_rows import ROWS, TIMES

ROOMS = (connected, job, joined, keyed, lookups, shorthands, stream, windowed)
CALLED = ("Callable[", "Select[", "Function[", "Trigger[", "WindowAssigner[", "WatermarkStrategy[", "Sink[")
"""What the annotation of a function has in it, or of what holds some."""
INTERNAL = {("Job", "add"), ("Job", "takes")}
"""Methods for the DSL's own use."""
RESULTS = {f"RunningShorthands.{name}.result" for name in ("count", "sum", "min", "mean", "distinct")}
"""The same function at the same step as `RunningShorthands.max.result`."""


def _functions() -> Iterator[str]:
    """Every `class.method.parameter` of the DSL that is called for a record."""
    for room in ROOMS:
        for owner, cls in inspect.getmembers(room, inspect.isclass):
            if cls.__module__ != room.__name__ or owner.startswith("_"):
                continue
            for name, method in vars(cls).items():
                if inspect.isfunction(method) and not name.startswith("_") and (owner, name) not in INTERNAL:
                    for one, parameter in inspect.signature(method).parameters.items():
                        if one != "on_error" and (
                            one == "result" or any(c in str(parameter.annotation) for c in CALLED)
                        ):
                            yield f"{owner}.{name}.{one}"


def test_every_function_of_every_step_has_rows() -> None:
    assert set(_functions()) - RESULTS == {
        name.partition("/")[0] for name in ROWS if not name.split("/")[0].endswith(".values")
    }


def _ids(value: Any) -> list[int]:
    """The numbers of the records in a value."""
    if isinstance(value, dict) and "i" in value and "k" in value:
        return [value["i"]]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if hasattr(value, "value") and hasattr(value, "window"):
        parts = (value.value,)
    return [one for part in parts for one in _ids(part)]


class Branch:
    """What came of one way to fail, under one policy."""

    def __init__(self, row: Row, numbers: Any, poison: Any, policy: Any) -> None:
        self.name = f"{poison!r:.40} under {policy if policy == 'skip' else 'a tag'}"
        self.out, self.letters = Kept(), Kept()
        made = row.build(numbers, row.good if poison is None else touching(row.good, poison[0]), policy)
        out, owner = made if isinstance(made, tuple) else (made, made)
        if isinstance(out, Kept):
            self.out = out
        else:
            out.sink(self.out)
        if policy is DEAD:
            owner.side_output(DEAD).sink(self.letters)

    @property
    def rows(self) -> list[str]:
        return sorted(map(repr, self.out.rows))


def _give_uids(job: Job) -> None:
    """Gives each step a uid, by which it is told from those of the other branches."""
    for node in job.graph.nodes:
        if not node.has_own_uid:
            node.place = msgspec.structs.replace(node.place, uid=f"step-{node.id}")
            node.has_own_uid = True


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_no_record_can_stop_what_leaves_records_out(row: Row, tmp_path: Path) -> None:
    made = make_job(tmp_path, state_backend="memory")
    times: WatermarkStrategy[Any] = TIMES.with_timestamps(lambda one: one["t"])
    numbers = made.source(Generator(record, count=COUNT), watermarks=times)
    all_of_them = row.of_outputs or row.is_source
    sound = numbers if all_of_them else numbers.filter(lambda one: not is_poisoned(one))
    if row.is_source:
        numbers.sink(Kept())
    clean = Branch(row, sound, None, "fail")
    ways = [(poison,) for poison in ((RAISES, LEAVES) if row.raises else ()) + tuple(row.poisons)]
    branches = [Branch(row, numbers, poison, policy) for poison in ways for policy in ("skip", DEAD)]
    _give_uids(made)
    ran = run(made)
    assert ran.code == 0, ran
    expected = clean.rows
    if all_of_them:
        expected = sorted(repr(one) for one in clean.out.rows if not any(is_poisoned({"i": i}) for i in _ids(one)))
    assert expected
    for index, branch in enumerate(branches):
        assert branch.rows == expected, branch.name
        if index % 2:
            _check_letters(row, branch)


def _check_letters(row: Row, branch: Branch) -> None:
    letters: list[DeadLetter] = branch.letters.rows
    assert all(one.error not in ("NoneType", "") and one.message not in ("None", "") for one in letters), branch.name
    assert all(one.uid and one.operator and one.line for one in letters), branch.name
    if row.of_outputs:
        found = {i for one in letters for i in _ids(one.value) if is_poisoned({"i": i})}
        assert found == set(POISONED), branch.name
    elif row.tells_records:
        assert Counter(i for one in letters for i in _ids(one.value)) == Counter(POISONED), branch.name
    else:
        assert len(letters) == len(POISONED), branch.name
