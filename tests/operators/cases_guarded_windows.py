"""Error policies on windows: bad records are in none of them, and a window that cannot be put out is told of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from streamlet import Count, SessionWindows, Sum, Window
from streamlet.dsl.windowed import window_operator
from streamlet.operators.error_policy import WithErrorPolicy
from streamlet.operators.windows.assigners import WindowAssigner
from streamlet.operators.windows.contents import Contents, Elements, Folded, folding_of
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.operators.windows.triggers import EveryRecords
from streamlet.operators.windows.tumbling import AlignedWindows
from streamlet.windows import WindowContext, WindowProcessFunction, WindowResult
from tests.operators.cases_guarded import DEAD, Letter, _letter, _refuse
from tests.operators.cases_windows import MANY_PANES, SESSIONS, SLIDING, TUMBLING, Listing, Nested, _busy
from tests.operators.recipe import Case, Row, Rows
from tests.operators.window_oracle import LATE, Gather, WindowOracle


class Refusing(Listing):
    """Fails for every third value when others of the batch have been taken already."""

    def add(self, accumulator: list[int], value: int) -> list[int]:
        return [*accumulator, _refuse(value)]


class RefusingWindows(WindowProcessFunction[Any, int, Any]):
    def process(self, key: Any, window: Window, values: list[int], ctx: WindowContext[Any]) -> Iterable[Any]:
        _refuse(sum(values))
        return [(key, window, sorted(values))]


def _adding(one: int, other: int) -> int:
    return one + _refuse(other)


def _refused_result(key: Any, window: Window, total: int, count: int) -> Any:
    return key, _refuse(total), count


def _is_late(truth: WindowOracle, value: Any, at: int, key: Any) -> bool:
    return not any(copy.deepcopy(truth)._into(key, window, value) for window in truth.assign(value, at))


def _take(truth: WindowOracle, step: Rows, *, finds_late: bool) -> None:
    """Runs the rows between bad ones, and puts the letters of those in between. `finds_late`: also those of late ones,
    whose function is called for nothing."""
    good: list[tuple[Any, int, Any]] = []

    def run(oracle: WindowOracle) -> WindowOracle:
        if good:
            values, times, keys = zip(*good, strict=True)
            oracle.run([Rows(values, times, keys)])
        return oracle

    for value, at, key in zip(step.values, step.timestamps or (), step.keys or (), strict=True):
        is_bad = value % 3 == 0
        if is_bad and (finds_late or not _is_late(run(copy.deepcopy(truth)), value, at, key)):
            run(truth)
            good = []
            truth.rows.append(_letter(value, at, key))
        else:
            good.append((value, at, key))
    run(truth)


def _windows(
    name: str, policy: WindowPolicy, contents: Callable[[], Contents], gather: Gather, *, finds_late: bool = False,
    **oracle: Any,
) -> Case:  # fmt: skip
    """Of `records` every third one is refused; of others `gather` gives a `Letter` for what cannot be put out."""
    made = window_operator(policy, contents())
    if isinstance(made, AlignedWindows):
        oracle["rank"] = lambda time: (time - made.offset_ms) // made.length_ms
    truth = WindowOracle(
        policy.assigner.assign,
        gather,
        lateness=policy.lateness_ms,
        joins=isinstance(policy.assigner, SessionWindows),
        gap=getattr(policy.assigner, "gap_ms", 0),
        **oracle,
    )
    steps = _busy(11)
    for step in steps:
        if isinstance(step, Rows) and name.startswith("records"):
            _take(truth, step, finds_late=finds_late)
        else:
            truth.run([step])
    rows: list[Row] = [("dead" if isinstance(one, Letter) else tag, one, at) for tag, one, at in truth.rows]
    return Case(
        f"window without bad {name}", lambda: WithErrorPolicy(window_operator(policy, contents()), DEAD), steps, rows
    )


def _reduced(key: Any, window: Window, values: list[int]) -> list[Any]:
    return [WindowResult(key, window, sum(values))]


def _listed(key: Any, window: Window, values: list[int]) -> list[Any]:
    return [WindowResult(key, window, sorted(values))]


def _totals(key: Any, window: Window, values: list[int]) -> list[Any]:
    total, count = sum(values), len(values)
    if total % 3:
        return [(key, total, count)]
    return [Letter(WindowResult(key, window, (total, count)), key, window.end - 1, str(total))]


def _gathered(key: Any, window: Window, values: list[int]) -> list[Any]:
    total = sum(values)
    if total % 3:
        return [(key, window, sorted(values))]
    return [Letter(WindowResult(key, window, _AnyOrder(values)), key, window.end - 1, str(total))]


class _AnyOrder(list[int]):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and sorted(self) == sorted(other)

    __hash__ = None


KINDS: dict[str, WindowAssigner[Any]] = {
    "tumbling": TUMBLING,
    "sliding": SLIDING,
    "many panes": MANY_PANES,
    "session": SESSIONS,
    "nested": Nested(),
}


CASES = [
    *[
        _windows(f"records {name}", WindowPolicy(kind, lateness_ms=9, late=(LATE,)), contents, gather)
        for name, kind in KINDS.items()
        for contents, gather in [(lambda: Folded(folding_of((Refusing(),)), None), _listed)]
    ],
    _windows(
        "records summed",
        WindowPolicy(TUMBLING, late=(LATE,)),
        lambda: Folded(folding_of((Sum(_refuse),)), None),
        _reduced,
        finds_late=True,
    ),
    _windows(
        "records kept",
        WindowPolicy(SESSIONS, EveryRecords(3), late=(LATE,)),
        lambda: Folded(folding_of((Refusing(),)), None),
        _listed,
        every=3,
    ),
    *[
        _windows(
            f"results {name}",
            WindowPolicy(kind, lateness_ms=5, late=(LATE,)),
            lambda: Folded(folding_of((Sum(), Count())), _refused_result),
            _totals,
        )
        for name, kind in KINDS.items()
        if name in ("tumbling", "many panes", "nested")
    ],
    *[
        _windows(
            f"values {name}",
            WindowPolicy(KINDS[name], late=(LATE,)),
            lambda: Elements(RefusingWindows(), int),
            _gathered,
        )
        for name in ("tumbling", "session")
    ],
]
