"""The texts with which an edited job is refused, all in one table, and what each of them says to do, done as it says.

A row is a job, the same job after an edit, what is said of that, and the edits that the text names besides its options.
The texts are whole but for the file and line of the step in front of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import make_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streamlet import (
    Count,
    EveryRecords,
    Job,
    KeyedProcessFunction,
    ListState,
    MapState,
    Max,
    ProcessContext,
    SessionWindows,
    SlidingWindows,
    Sum,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
)
from streamlet.aggregates import TopK
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, checkpoint_at, make_job, run

S = timedelta(seconds=1)
OPTIONAL: Any = int | None
TIMES: WatermarkStrategy[Any] = WatermarkStrategy[Any].monotonic().with_timestamps(lambda n: n * 1000)

Build = Callable[[Any], Any]
"""From the source to what goes to the sink."""


def _class(**fields: Any) -> Any:
    return make_dataclass("S", fields.items())


Old, Shorter = _class(v=int, w=str), _class(v=int)
Renamed, Wider, Other = _class(v=int, word=str), _class(v=int, w=str, x=int), _class(v=str, w=str)


def keeping(held: Any, value: Any = 1, name: str = "kept") -> Build:
    """A process function that keeps a value in a state."""

    def process_element(self: Any, number: int, ctx: ProcessContext[Any]) -> Any:
        handle = getattr(self, name)
        if isinstance(held, ValueState):
            handle.update(value)
        elif isinstance(held, ListState):
            handle.add(value)
        else:
            handle.put("one" if held.key_type is str else 1, value)
        yield number

    function = type("Keeps", (KeyedProcessFunction,), {name: held, "process_element": process_element})
    return lambda numbers: keyed(numbers).process(function(), uid="p")


def keyed(numbers: Any, key: Any = lambda n: n % 5) -> Any:
    return numbers.key_by(key, uid="by")


def aggregating(*functions: Any, **named: Any) -> Build:
    return lambda numbers: keyed(numbers).aggregate(*functions, **named, uid="a")


def windowed(windows: Any, **of: Any) -> Build:
    def build(numbers: Any) -> Any:
        stream = keyed(numbers).window(windows)
        if "trigger" in of:
            stream = stream.trigger(of["trigger"])
        if "lateness" in of:
            stream = stream.allowed_lateness(of["lateness"])
        return stream.count(uid="w")

    return build


def joined(lower: int, how: Any = "inner") -> Build:
    def build(numbers: Any) -> Any:
        one = keyed(numbers)
        return one.interval_join(one, lambda *both: list(both), lower=lower * S, upper=0 * S, how=how, uid="j")

    return build


def counting(**of: Any) -> Build:
    return lambda numbers: keyed(numbers).count(**of)


def of_text(old: bytes) -> str:
    return old.decode()


class Refusal(NamedTuple):
    before: Build
    after: Build
    says: str
    edited: Sequence[Build] = ()


UPGRADE = "give the state upgrade=function, which gets {} and gives the new value; or begin it anew by {}"
REFUSALS = {
    "a field is gone": Refusal(
        keeping(ValueState(Old), Old(1, "a")),
        keeping(ValueState(Shorter), Shorter(1)),
        """
        state p.kept.w: field w is gone
        -> let it go by --allow-dropped-state p.kept.w, or say what it is now: renamed={"w": ...} on the state
        """,
    ),
    "a field has another name": Refusal(
        keeping(ValueState(Old), Old(1, "a")),
        keeping(ValueState(Renamed), Renamed(1, "a")),
        f"""
        state p.kept.w: field w is gone
        -> let it go by --allow-dropped-state p.kept.w, or say what it is now: renamed={{"w": ...}} on the state
        state p.kept.word: field word is new and has no default
        -> {UPGRADE.format("S{v: int, w: str}", "--allow-dropped-state p.kept")}
        """,
        [keeping(ValueState(Renamed, renamed={"w": "word"}), Renamed(1, "a"))],
    ),
    "a field is new": Refusal(
        keeping(ValueState(Old), Old(1, "a")),
        keeping(ValueState(Wider), Wider(1, "a", 2)),
        f"""
        state p.kept.x: field x is new and has no default
        -> {UPGRADE.format("S{v: int, w: str}", "--allow-dropped-state p.kept")}
        """,
        [keeping(ValueState(Wider, upgrade=lambda old: Wider(old["v"], old["w"], 0)), Wider(1, "a", 2))],
    ),
    "a field has another type": Refusal(
        keeping(ValueState(Old), Old(1, "a")),
        keeping(ValueState(Other), Other("1", "a")),
        f"""
        state p.kept.v: was int and is str
        -> {UPGRADE.format("S{v: int, w: str}", "--allow-dropped-state p.kept")}
        """,
        [keeping(ValueState(Other, upgrade=lambda old: Other(str(old["v"]), old["w"])), Other("1", "a"))],
    ),
    "None is no value any more": Refusal(
        keeping(ValueState[Any](OPTIONAL)),
        keeping(ValueState(int)),
        f"""
        state p.kept: could be None and is int
        -> {UPGRADE.format("None | int", "--allow-dropped-state p.kept")}
        """,
        [keeping(ValueState(int, upgrade=lambda old: old or 0))],
    ),
    "a value has another type": Refusal(
        keeping(ValueState(int)),
        keeping(ValueState(str), "1"),
        f"""
        state p.kept: was int and is str
        -> {UPGRADE.format("int", "--allow-dropped-state p.kept")}
        """,
        [keeping(ValueState(str, upgrade=str), "1")],
    ),
    "a function is for another type": Refusal(
        keeping(ValueState(int)),
        keeping(ValueState(str, upgrade=of_text), "1"),
        """
        state p.kept: was int and is str
        -> of_text() is not for it: annotate what it takes as int, or not at all; or begin it anew by \
--allow-dropped-state p.kept
        """,
        [keeping(ValueState(str, upgrade=str), "1")],
    ),
    "keys of a map have another type": Refusal(
        keeping(MapState(str, int)),
        keeping(MapState(int, int)),
        """
        state p.kept: its keys were str and are int
        -> give its keys their former type, or begin it anew by --allow-dropped-state p.kept
        """,
        [keeping(MapState(str, int))],
    ),
    "a state is of another kind": Refusal(
        keeping(ValueState(int)),
        keeping(ListState(int)),
        """
        state p.kept: was a value state and is a list state
        -> give it another name, or begin it anew by --allow-dropped-state p.kept
        """,
    ),
    "a state is gone": Refusal(
        keeping(ValueState(int)),
        keeping(ValueState(int), name="other"),
        """
        state p.kept: the step does not have it any more
        -> declare it again, or let it go by --allow-dropped-state p.kept
        """,
        [keeping(ValueState(int))],
    ),
    "a step is gone": Refusal(
        counting(uid="c"),
        lambda numbers: numbers,
        """
        state c.accumulator: no step of the job has this uid
        -> give its step uid="c" again, say renamed_from="c" on the step that goes on from it, or let it go by \
--allow-dropped-state c
        """,
        [counting(uid="c"), counting(uid="d", renamed_from="c")],
    ),
    "a step does something else": Refusal(
        lambda numbers: keyed(numbers).window(SlidingWindows(5 * S, S)).count(uid="w"),
        lambda numbers: keyed(numbers).window(TumblingWindows(5 * S)).count(uid="w"),
        """
        state w.pane: the step keeps another state now than this one of sliding windows
        state w.panes: the step keeps another state now than this one
        -> put the step back as it was, or begin it anew by --allow-dropped-state w
        """,
    ),
    "a function of an aggregate is gone": Refusal(
        aggregating(total=Sum(abs), n=Count()),
        aggregating(total=Sum(abs)),
        """
        state a.accumulator.n: count is gone
        -> let it go by --allow-dropped-state a.accumulator.n
        """,
    ),
    "a function of an aggregate is another": Refusal(
        aggregating(x=Sum(abs)),
        aggregating(x=Max(abs)),
        """
        state a.accumulator.x: was sum of abs and is max of abs
        -> begin it anew by --allow-dropped-state a.accumulator
        """,
    ),
    "a function of an aggregate takes something else": Refusal(
        aggregating(x=Sum(abs)),
        aggregating(x=Sum(int)),
        """
        state a.accumulator.x: sum of int was of abs
        -> go on with what is there by --allow-changed-state a.accumulator.x, or begin anew by \
--allow-dropped-state a.accumulator.x
        """,
    ),
    "a function of an aggregate keeps more": Refusal(
        aggregating(x=TopK(2, abs, type=int)),
        aggregating(x=TopK(3, abs, type=int)),
        """
        state a.accumulator.x: topk had k=2 and has k=3
        -> go on with what is there by --allow-changed-state a.accumulator.x, or begin anew by \
--allow-dropped-state a.accumulator.x
        """,
    ),
    "windows are of another size": Refusal(
        windowed(SlidingWindows(4 * S, 2 * S)),
        windowed(SlidingWindows(8 * S, 2 * S)),
        """
        state w.pane.size_ms: size_ms was 4000 and is 8000: windows that began before the change would lack records, \
or count some twice
        -> put it back; or begin anew by --allow-dropped-state w
        """,
    ),
    "windows go by another time": Refusal(
        windowed(TumblingWindows(4 * S)),
        windowed(TumblingWindows(4 * S, time="processing")),
        """
        state w.window.time: was event and is processing: open windows wait for the other time
        -> put it back; or begin anew by --allow-dropped-state w
        """,
    ),
    "windows have a trigger": Refusal(
        windowed(TumblingWindows(4 * S)),
        windowed(TumblingWindows(4 * S), trigger=EveryRecords(2)),
        """
        state w.window.trigger: was AtEnd() and is EveryRecords(count=2): what is kept of an open window with a \
trigger is not what is kept without
        -> put it back; or begin anew by --allow-dropped-state w
        """,
    ),
    "windows wait for late records": Refusal(
        windowed(TumblingWindows(4 * S)),
        windowed(TumblingWindows(4 * S), lateness=S),
        """
        state w.window.lateness_ms: lateness_ms was 0 and is 1000: a window that has closed would begin anew with \
its late records alone
        -> put it back; or begin anew by --allow-dropped-state w; or go on all the same by \
--allow-changed-state w.window.lateness_ms
        """,
    ),
    "windows are of another kind": Refusal(
        windowed(TumblingWindows(4 * S)),
        windowed(SessionWindows(4 * S)),
        """
        state w.window: the step keeps another state now than this one of tumbling windows
        -> put the step back as it was, or begin it anew by --allow-dropped-state w
        """,
    ),
    "a join looks further back": Refusal(
        joined(-1),
        joined(-3),
        """
        state j.held.lower_ms: lower_ms was -1000 and is -3000: rows that it would need have been freed
        -> put it back; or begin anew by --allow-dropped-state j; or go on all the same by \
--allow-changed-state j.held.lower_ms
        """,
    ),
    "a join is of another kind": Refusal(
        joined(-3),
        joined(-1, "left"),
        """
        state j.held.how: how was inner and is left: which of the kept rows have no partner yet is not known
        state j.held.lower_ms: lower_ms was -3000 and is -1000: a row without a partner would be put out after its time
        -> put it back; or begin anew by --allow-dropped-state j
        """,
    ),
}
BACK = ("put it back", "put the step back")
"""What such a remedy means: the job as it was."""


def _job(folder: Path, build: Build) -> Job:
    job = make_job(folder, state_backend="memory")
    numbers = job.source(Waiting(20, 10), uid="numbers", watermarks=TIMES)
    build(numbers).sink(FileSink(str(folder / "out")), uid="out")
    return job


def _options(remedies: Sequence[str], place: int) -> dict[str, list[str]]:
    """The first or the last option of each remedy, as a person would type them."""
    found: dict[str, list[str]] = {"allow_dropped_state": [], "allow_changed_state": []}
    for remedy in remedies:
        option, address = re.findall(r"--(allow-\w+-state) ([\w.]+)", remedy)[place]
        found[option.replace("-", "_")].append(address)
    return found


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_said_is_short_and_what_it_says_to_do_works(name: str, tmp_path: Path) -> None:
    row = REFUSALS[name]
    assert run(_job(tmp_path, row.before)).code == 0
    at = checkpoint_at(tmp_path, 10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"}
    ran = run(_job(tmp_path, row.after), from_checkpoint=str(at))
    assert ran.code == 2, ran
    assert {path: path.read_bytes() for path in before} == before
    first, *said, last = ran.said.splitlines()
    assert first == f"job: checkpoint {at} does not fit the job; nothing was changed"
    assert last == "  -> one of the edits above makes it go on"
    assert len(ran.said.splitlines()) <= 12
    places = [line.partition(": ")[0].rpartition(":") for line in said if f"{__file__}:" in line]
    assert all(place.strip() == __file__ and number.isdigit() for place, _, number in places)
    wanted = [line.strip() for line in row.says.strip().splitlines()]
    assert [re.sub(rf"^{re.escape(__file__)}:\d+: ", "", line.strip()) for line in said] == wanted
    remedies = [line for line in said if line.strip().startswith("->")]
    ways: list[tuple[Build, dict[str, Any]]] = [(row.after, _options(remedies, place)) for place in (0, -1)]
    ways += [(edited, {}) for edited in row.edited]
    if any(words in remedy for remedy in remedies for words in BACK):
        ways.append((row.before, {}))
    for build, options in ways:
        ran = run(_job(tmp_path, build), from_checkpoint=str(at), **options)
        assert ran.code == 0, (options, ran)
