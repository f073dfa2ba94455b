"""Jobs of event time: windows, sessions, timers, joins, state that expires, error policies; what their output must be.

A scenario is one of the campaign's, with the same faults, in front of one of these jobs.  What the output must be does
not depend on how splits and batches interleave, because times are out of order by less than the watermark waits for: no
record is late.  Where some are late (`windows`), and where the clock calls (`clock`), any division of the records is
right that takes each of them once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from streamlet import (
    DeadLetter,
    Job,
    KeyedProcessFunction,
    MapState,
    OutputTag,
    ProcessContext,
    SessionWindows,
    StateTtl,
    TimerContext,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
)
from streamlet.aggregates import AggregateFunction
from tests.simulation.functions import Record, key_of, troubled
from tests.simulation.oracle import WrongOutput, inputs_of
from tests.simulation.scenario import Scenario, SinkSpec, scenario

KINDS = ("windows", "sessions", "timers", "clock", "interval", "as_of", "expiring", "guarded")
LATE = OutputTag[Any]("late")
DEAD = OutputTag[DeadLetter]("dead")
WINDOW, LATENESS, GAP, BUCKET, LIFE = 1000, 500, 800, 700, 2000
BEFORE, AFTER = 300, 500
CRASHES = tuple(("step", at) for at in (300, 500, 400, 600))


def time_of(record: Record) -> int:
    """About 100 ms after that of the id before, out of order by up to 600; no two are the same."""
    id = record[1]
    return (id * 10 - id * 7919 % 97 * 60 // 97) * 10 + id % 10 + 1000


def late_time_of(record: Record) -> int:
    """The same, but some records are from long ago."""
    return 10 + record[1] if is_old(record[1]) else time_of(record)


def is_old(id: int) -> bool:
    return id % 6 == 0


def kind_of(one: Scenario) -> str:
    return KINDS[one.seed % len(KINDS)]


def language_scenario(seed: int) -> Scenario:
    """The faults of a seed, always some crashes, and a job of this file."""
    one = scenario(seed)
    one.before, one.keyed, one.regroups, one.may_lose = [], None, False, False
    one.sinks = [SinkSpec("out", "end", "pooled"), SinkSpec("side", "end", "named")]
    for source in one.sources:
        source.is_bounded, source.appears = True, {}
    times = late_time_of if kind_of(one) == "windows" else time_of
    one.watermarks = WatermarkStrategy.bounded_out_of_orderness(timedelta(milliseconds=610)).with_timestamps(times)
    one.faults.crashes = (*one.faults.crashes, *CRASHES[seed // len(KINDS) % 4 :])
    return one


class Ids(AggregateFunction[Record, list[int], list[int]]):
    """All ids, in order."""

    accumulator_type = list[int]

    def create_accumulator(self) -> list[int]:
        return []

    def add(self, accumulator: list[int], value: Record) -> list[int]:
        return sorted([*accumulator, value[1]])

    def result(self, accumulator: list[int]) -> list[int]:
        return accumulator

    def merge(self, one: list[int], other: list[int]) -> list[int]:
        return sorted(one + other)


class Buckets(KeyedProcessFunction[int, Record, list[int]]):
    """Collects ids by their time, until a timer calls for them."""

    buckets = MapState(int, list[int])

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> None:
        troubled()
        assert ctx.timestamp is not None
        end = (ctx.timestamp // BUCKET + 1) * BUCKET
        self.buckets.put(end, [*(self.buckets.get(end) or ()), value[1]])
        ctx.timers.register_event_time(end)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterator[list[int]]:
        ids = self.buckets.get(timestamp)
        self.buckets.remove(timestamp)
        yield [ctx.key, timestamp, *sorted(ids or ())]


class Clock(KeyedProcessFunction[int, Record, list[int]]):
    """Collects ids until the clock calls."""

    ids = ValueState(list[int])

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> None:
        self.ids.update([*(self.ids.value() or ()), value[1]])
        ctx.timers.register_processing_time(1)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterator[list[int]]:
        yield [ctx.key, *(self.ids.value() or ())]
        self.ids.clear()


class Expiring(KeyedProcessFunction[int, Record, list[int]]):
    """Tells the id before, as long as it is remembered."""

    last = ValueState(int, ttl=StateTtl(timedelta(milliseconds=LIFE), time="event"))

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> list[list[int]]:
        troubled()
        before = self.last.value() or 0
        self.last.update(value[1])
        return [[ctx.key, value[1], before]]


class Guarded(KeyedProcessFunction[int, Record, list[int]]):
    """Counts, and raises behind the count for some records."""

    count = ValueState(int)

    def process_element(self, value: Record, ctx: ProcessContext[int]) -> list[list[int]]:
        count = (self.count.value() or 0) + 1
        self.count.update(count)
        if value[1] % 5 == 0:
            raise ValueError("unwanted")
        return [[ctx.key, value[1], count]]


def refused(record: Record) -> Record:
    if record[1] % 7 == 0:
        raise ValueError("refused")
    return record


def is_left(record: Record) -> bool:
    return record[1] % 2 == 0


def build_language(one: Scenario, process: int, make_source: Any, make_sink: Any) -> Job:
    """Builds the job as a user's file would; in place of `scenario.build`."""
    shape, kind = one.shape(process), kind_of(one)
    job = Job("simulated", parallelism=shape.default, **one.settings)
    streams: list[Any] = [
        job.source(make_source(read), uid=read.uid, watermarks=one.watermarks, parallelism=shape.sources[read.uid])
        for read in one.sources
    ]
    stream = streams[0] if len(streams) == 1 else streams[0].union(*streams[1:], uid="union")
    place: dict[str, Any] = {"uid": "keyed", "parallelism": shape.keyed}
    end, side = _joined(kind, stream, place) if kind in ("interval", "as_of") else _alone(kind, stream, place)
    end.sink(make_sink(one.sinks[0]), uid="out", parallelism=shape.keyed)
    if side is not None:
        side.sink(make_sink(one.sinks[1]), uid="side")
    return job


def _alone(kind: str, stream: Any, place: dict[str, Any]) -> tuple[Any, Any]:
    if kind == "guarded":
        kept = stream.map(refused, on_error=DEAD, uid="refused")
        end = kept.key_by(key_of, uid="by-key").process(Guarded(), on_error=DEAD, **place)
        letters = kept.side_output(DEAD).union(end.side_output(DEAD), uid="letters")
        return end, letters.map(lambda letter: list(letter.value), uid="values")
    keyed = stream.key_by(key_of, uid="by-key")
    if kind in ("timers", "clock", "expiring"):
        function = {"timers": Buckets, "clock": Clock, "expiring": Expiring}[kind]()
        return keyed.process(function, **place), None
    told: Callable[..., Any] = lambda key, window, ids: [key, window.start, *ids]  # noqa: E731
    if kind == "sessions":
        return keyed.window(SessionWindows(timedelta(milliseconds=GAP))).aggregate(Ids(), result=told, **place), None
    windows = keyed.window(TumblingWindows(timedelta(milliseconds=WINDOW)))
    windows = windows.allowed_lateness(timedelta(milliseconds=LATENESS)).late_output(LATE)
    end = windows.aggregate(Ids(), result=told, **place)
    return end, end.side_output(LATE)


def _joined(kind: str, stream: Any, place: dict[str, Any]) -> tuple[Any, Any]:
    left = stream.filter(is_left, uid="left").key_by(key_of, uid="left-by-key")
    right = stream.filter(lambda record: not is_left(record), uid="right").key_by(key_of, uid="right-by-key")
    types: dict[str, Any] = {"left_type": tuple[int, int], "right_type": tuple[int, int]}

    def pair(one: Record | None, other: Record | None) -> list[int]:
        troubled()
        return [(one or other or (0, 0))[0], one[1] if one else 0, other[1] if other else 0]

    if kind == "as_of":
        return left.as_of_join(right, pair, how="left", **types, **place), None
    lower, upper = -timedelta(milliseconds=BEFORE), timedelta(milliseconds=AFTER)
    return left.interval_join(right, pair, lower=lower, upper=upper, how="full", **types, **place), None


# --- what must come out -----------------------------------------------------------------------------------------------


def check_language(one: Scenario, visible: Mapping[str, list[Any]], pinned: Mapping[str, int]) -> None:
    """Raises `WrongOutput` unless the output is that of some run without failures; in place of `check_output`."""
    records = [record for found in inputs_of(one, pinned).values() for record in found]
    out = [tuple(value) for value in visible.get("out", [])]
    side = [tuple(value) for value in visible.get("side", [])]
    kind = kind_of(one)
    if kind in _EXACT:
        _require_same(kind, Counter(out), Counter(_EXACT[kind](records)))
    else:
        _CHECKS[kind](records, out, side)


def _require_same(what: str, found: Counter[Any], expected: Counter[Any]) -> None:
    if found != expected:
        lost, more = expected - found, found - expected
        raise WrongOutput(f"{what}: lost {sorted(lost.elements())[:6]}, too many {sorted(more.elements())[:6]}")


def _by_key(records: Iterable[Record]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for record in sorted(records, key=time_of):
        found.setdefault(record[0], []).append(record)
    return found


def _sessions(records: list[Record]) -> Iterator[tuple[int, ...]]:
    for key, mine in _by_key(records).items():
        session: list[Record] = []
        for record in mine:
            if session and time_of(record) >= time_of(session[-1]) + GAP:
                yield key, time_of(session[0]), *sorted(one[1] for one in session)
                session = []
            session.append(record)
        yield key, time_of(session[0]), *sorted(one[1] for one in session)


def _timers(records: list[Record]) -> Iterator[tuple[int, ...]]:
    buckets: dict[tuple[int, int], list[int]] = {}
    for record in records:
        buckets.setdefault((record[0], (time_of(record) // BUCKET + 1) * BUCKET), []).append(record[1])
    return ((*place, *sorted(ids)) for place, ids in buckets.items())


def _interval(records: list[Record]) -> Iterator[tuple[int, ...]]:
    for key, mine in _by_key(records).items():
        lefts, rights = [one for one in mine if is_left(one)], [one for one in mine if not is_left(one)]
        pairs = [(a, b) for a in lefts for b in rights if -BEFORE <= time_of(b) - time_of(a) <= AFTER]
        yield from ((key, a[1], b[1]) for a, b in pairs)
        yield from ((key, a[1], 0) for a in lefts if a not in [one for one, _ in pairs])
        yield from ((key, 0, b[1]) for b in rights if b not in [one for _, one in pairs])


def _as_of(records: list[Record]) -> Iterator[tuple[int, ...]]:
    for key, mine in _by_key(records).items():
        version = 0
        for record in mine:
            if is_left(record):
                yield key, record[1], version
            else:
                version = record[1]


def _check_windows(records: list[Record], out: list[tuple[int, ...]], late: list[tuple[int, ...]]) -> None:
    windows: dict[tuple[int, int], list[int]] = {}
    for key, start, *ids in out:
        before = windows.get((key, start), [])
        if not set(before) < set(ids):
            raise WrongOutput(f"window {start} of key {key} came with {ids} after {before}")
        if any(late_time_of((key, id)) // WINDOW * WINDOW != start for id in ids):
            raise WrongOutput(f"window {start} of key {key} came with {ids}")
        windows[key, start] = ids
    found = Counter((key, id) for (key, _), ids in windows.items() for id in ids)
    _require_same("windows and late", found + Counter((one[0], one[1]) for one in late), Counter(records))
    if wrong := [one for one in late if not is_old(one[1])]:
        raise WrongOutput(f"not late: {wrong[:6]}")


def _check_clock(records: list[Record], out: list[tuple[int, ...]], _: object) -> None:
    if not all(out):
        raise WrongOutput("a timer fired for nothing")
    _require_same("clock", Counter((key, id) for key, *ids in out for id in ids), Counter(records))


def _check_expiring(records: list[Record], out: list[tuple[int, ...]], _: object) -> None:
    _require_same("expiring", Counter((key, id) for key, id, _ in out), Counter(records))
    last: dict[int, int] = {}
    for key, id, before in out:
        mine = last.get(key, 0)
        must = mine and time_of((key, id)) <= time_of((key, mine)) + LIFE
        if before != mine and (before or must):
            raise WrongOutput(f"{id} of key {key} came behind {mine} and saw {before}")
        last[key] = id


def _check_guarded(records: list[Record], out: list[tuple[int, ...]], side: list[tuple[int, ...]]) -> None:
    dead = Counter(one for one in records if one[1] % 7 == 0 or one[1] % 5 == 0)
    _require_same("dead letters", Counter((one[0], one[1]) for one in side), dead)
    _require_same("guarded", Counter((key, id) for key, id, _ in out), Counter(records) - dead)
    counts: Counter[int] = Counter()
    for key, id, count in out:
        counts[key] += 1
        if count != counts[key]:
            raise WrongOutput(f"{id} of key {key} is counted as {count}, not {counts[key]}")


_EXACT: dict[str, Callable[[list[Record]], Iterable[tuple[int, ...]]]] = {
    "sessions": _sessions,
    "timers": _timers,
    "interval": _interval,
    "as_of": _as_of,
}
_CHECKS: dict[str, Callable[[list[Record], list[tuple[int, ...]], list[tuple[int, ...]]], None]] = {
    "windows": _check_windows,
    "clock": _check_clock,
    "expiring": _check_expiring,
    "guarded": _check_guarded,
}
