"""What each function of each step of the DSL is broken by; see `test_poison_law`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from streamlet import SessionWindows, SlidingWindows, WatermarkStrategy, Window
from streamlet.aggregates import Collect
from streamlet_connectors.generator import Generator
from tests.unit.poison_functions import (
    COUNT,
    DAY,
    HALF,
    HUGE,
    NAN,
    NO_KEYS,
    NO_NUMBERS,
    NO_STATE,
    SECOND,
    Adding,
    Asking,
    Assigning,
    Both,
    Changing,
    Everything,
    Kept,
    Listing,
    Putting,
    Record,
    Row,
    Ruled,
    Touch,
    Untrue,
    good,
    is_poisoned,
    record,
    same,
)
from tests.unit.poison_timers import TIMER_ROWS


def by_key(numbers: Any) -> Any:
    return numbers.key_by(lambda one: one["k"])


def step(name: str, **extra: Any) -> Callable[[Any, Touch, Any], Any]:
    """A step of one function."""
    return lambda numbers, touch, policy: getattr(numbers, name)(touch, on_error=policy, **extra)


def keyed_step(name: str, *, of: str | None = None, window: Any = None, **extra: Any) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        stream = by_key(numbers) if window is None else by_key(numbers).window(window)
        options = dict(extra, on_error=policy)
        return (
            getattr(stream, name)(touch, **options) if of is None else getattr(stream, name)(**{of: touch}, **options)
        )

    return build


def _map_async(numbers: Any, touch: Touch, policy: Any) -> Any:
    async def call(one: Record) -> Any:
        return touch(one)

    return numbers.map_async(call, on_error=policy, type=dict)


def _on_timeout(numbers: Any, touch: Touch, policy: Any) -> Any:
    async def call(one: Record) -> Any:
        if is_poisoned(one):
            await asyncio.get_running_loop().create_future()
        return one["i"]

    return numbers.map_async(call, timeout=timedelta(milliseconds=5), on_timeout=touch, on_error=policy, type=dict)


def _connected(first: bool, make: Any, broadcast: bool = False) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        function = make(touch, good) if first else make(good, touch)
        if broadcast:
            few = numbers.filter(lambda one: one["i"] < 12)
            sides = (by_key(numbers), few) if first else (by_key(few.filter(lambda one: not is_poisoned(one))), numbers)
            return sides[0].connect_broadcast(sides[1]).process(function, on_error=policy)
        left, right = (numbers, numbers.filter(lambda one: False))[:: 1 if first else -1]
        return by_key(left).connect(by_key(right)).process(function, on_error=policy)

    return build


def _joined(name: str, *args: Any, **extra: Any) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        right = by_key(numbers.map(lambda one: {"right": one["i"], "k": one["k"]}))
        types: dict[str, Any] = {"left_type": dict, "right_type": dict, "on_error": policy}
        return getattr(by_key(numbers), name)(right, *args, _pairs(touch), **types, **extra)

    return build


def _pairs(touch: Touch) -> Callable[..., Any]:
    return lambda left, right, *window: [touch(left), right["right"]]


def _windowed_join(numbers: Any, touch: Touch, policy: Any) -> Any:
    right = by_key(numbers.filter(lambda one: False))
    types: dict[str, Any] = {"left_type": dict, "right_type": dict, "on_error": policy}
    return by_key(numbers).window_join(right, Assigning(touch), lambda *pair: pair[0]["i"], how="left", **types)


def _looked_up(which: str) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        plain = {"key": lambda one: one["k"], "table_key": lambda one: one["k"], "is_removed": lambda one: False}
        functions = {**plain, **({which: touch} if which in plain else {})}
        shown = touch if which == "function" else good
        table = numbers if which in ("table_key", "is_removed") else numbers.filter(lambda one: one["i"] < 3)
        seen = numbers.filter(lambda one: not is_poisoned(one)) if table is numbers else numbers
        return seen.lookup_join(
            table,
            lambda one, other: [shown(one), other and other["i"]],
            wait_for="end",
            how="left",
            table_type=dict,
            type=dict,
            on_error=policy,
            **functions,
        )

    return build


def _reduce(window: Any) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        stream = by_key(numbers) if window is None else by_key(numbers).window(window)
        return stream.reduce(lambda before, one: touch(one), type=dict, on_error=policy)

    return build


def _sink(numbers: Any, touch: Touch, policy: Any) -> Any:
    sink = Kept(touch)
    return sink, numbers.sink(sink, on_error=policy)


def _key_by(numbers: Any, touch: Touch, policy: Any) -> Any:
    keyed = numbers.key_by(touch, on_error=policy)
    return keyed.count(), keyed


def _split(numbers: Any, touch: Touch, policy: Any) -> Any:
    even, odd = numbers.split(touch, "even", "odd", on_error=policy)
    return even.union(odd), even


def _source(of: Callable[[Touch], WatermarkStrategy[Any]]) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        return numbers._job.source(Generator(record, count=COUNT), watermarks=of(touch), on_error=policy)

    return build


def _of(function: Callable[[Any, Touch], dict[str, Any]], window: Any = None) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        stream = by_key(numbers) if window is None else by_key(numbers).window(window)
        return stream.aggregate(on_error=policy, **function(stream, touch))

    return build


def _aggregate(make: Any, window: Any = None) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        stream = by_key(numbers) if window is None else by_key(numbers).window(window)
        return stream.aggregate(make(touch), on_error=policy)

    return build


def _process(make: Any) -> Callable[..., Any]:
    return lambda numbers, touch, policy: by_key(numbers).process(make(touch), on_error=policy)


def _kept(name: str, window: Any = None, **extra: Any) -> Callable[..., Any]:
    """Values that the state of a step cannot hold."""

    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        stream = numbers.key_by(lambda one: one["k"]).process(Changing(touch)).key_by(lambda one: "k")
        return getattr(stream if window is None else stream.window(window), name)(on_error=policy, **extra)

    return build


def _last(touch: Touch) -> Callable[..., Any]:
    return lambda key, values: touch(values[-1])


def _all(touch: Touch) -> Callable[..., Any]:
    return lambda key, window, values: [touch(one) for one in values]


def _collecting(window: Any, **result: Any) -> Callable[..., Any]:
    def build(numbers: Any, touch: Touch, policy: Any) -> Any:
        stream = by_key(numbers) if window is None else by_key(numbers).window(window)
        made = {name: of(touch) for name, of in result.items()}
        if "into" in made:
            return stream.aggregate(a=Collect(limit=100, type=dict), on_error=policy, **made)
        return stream.aggregate(Collect(limit=100, type=dict), on_error=policy, **made)

    return build


def _with_trigger(make: Any) -> Callable[..., Any]:
    return lambda numbers, touch, policy: by_key(numbers).window(DAY).trigger(make(touch)).count(on_error=policy)


def _with_windows(numbers: Any, touch: Touch, policy: Any) -> Any:
    return by_key(numbers).window(Assigning(touch)).count(on_error=policy)


def _windows_of(one: Record) -> list[Window]:
    return [Window(one["t"] // 5000 * 5000, one["t"] // 5000 * 5000 + 5000)]


NO_TIMES: tuple[Any, ...] = (None, "", "n/a", NAN, 1.5, HUGE, object(), [1])
NO_WINDOWS: tuple[Any, ...] = (None, 5, [None], [Window(5, 5)], [Window(9, 3)])
TIMES = WatermarkStrategy[Any].monotonic()
SLIDES = SlidingWindows(timedelta(seconds=10), timedelta(seconds=5))
GAPS: SessionWindows[Any] = SessionWindows(timedelta(seconds=3))
EVERY_WINDOW = {"": DAY, "/sliding": SLIDES, "/session": GAPS}


def _selecting(names: Sequence[str], owner: str, window: Any, mark: str, bad: Sequence[Any]) -> dict[str, Row]:
    return {f"{owner}.{name}.select{mark}": Row(keyed_step(name, window=window), good, bad) for name in names}


def _by_class(owner: str, window: Any, mark: str) -> dict[str, Row]:
    # Where a poisoned text comes first it is the numbers behind it that cannot be compared: only a type= could tell.
    rows = _selecting(("sum", "mean"), owner, window, mark, NO_NUMBERS)
    rows |= _selecting(("min", "max"), owner, window, mark, NO_NUMBERS if window is None else (None, object()))
    rows[f"{owner}.distinct.select{mark}"] = Row(keyed_step("distinct", window=window), good, ([1], object()))
    ranked = keyed_step("top_k", of="by", window=window, k=3, type=dict)
    rows[f"{owner}.top_k.by{mark}"] = Row(ranked, good, (None, object()))
    kept = _kept("collect", window, limit=100, type=int)
    rows[f"{owner}.collect.values{mark}"] = Row(kept, good, (*NO_STATE[::2], None), raises=False, tells_records=False)
    return rows


def _running_results() -> dict[str, Row]:
    plain: dict[str, dict[str, Any]] = {
        "count": {},
        "sum": {"select": good},
        "min": {"select": good},
        "max": {"select": good},
        "mean": {"select": good},
        "distinct": {"select": good},
        "top_k": {"k": 1, "by": good, "type": dict},
        "collect": {"limit": 100, "type": dict},
    }

    def build(name: str) -> Callable[..., Any]:
        def step(numbers: Any, touch: Touch, policy: Any) -> Any:
            # The number of the record is the state of the last one for all of these but a few: by order of numbers.
            def result(key: Any, found: Any) -> Any:
                last = found[-1]["i"] if isinstance(found, list) else found
                return touch({"i": last})

            return getattr(by_key(numbers), name)(result=result, on_error=policy, **plain[name])

        return step

    told = {name: Row(build(name), good) for name in ("max", "top_k", "collect")}
    return {f"RunningShorthands.{name}.result": row for name, row in told.items()}


ROWS: dict[str, Row] = {
    "Job.source.watermarks/with_timestamps": Row(
        _source(TIMES.with_timestamps), lambda one: one["t"], NO_TIMES, is_source=True
    ),
    "Job.source.watermarks/from_function": Row(
        _source(lambda f: WatermarkStrategy.from_function(lambda v, t: f(v)).with_timestamps(lambda one: one["t"])),
        lambda one: one["t"],
        ("", NAN, object()),
        is_source=True,
    ),
    "Stream.map.function": Row(step("map")),
    "Stream.map.function/async": Row(_map_async),
    "Stream.map_async.function": Row(_map_async),
    "Stream.map_async.on_timeout": Row(_on_timeout),
    "Stream.filter.function": Row(step("filter"), lambda one: True, (Untrue(),)),
    "Stream.flat_map.function": Row(step("flat_map"), lambda one: [one["i"]], (5, object())),
    "Stream.key_by.function": Row(_key_by, lambda one: one["k"], NO_KEYS),
    "Stream.deduplicate.id": Row(step("deduplicate", ttl=None), lambda one: one["k"], NO_KEYS),
    "Stream.split.function": Row(_split, lambda one: ("even", "odd")[one["i"] % 2], (None, "other", [1], 5)),
    "Stream.sample.by": Row(
        lambda numbers, touch, policy: numbers.sample(0.5, by=touch, on_error=policy), good, (object(), HALF)
    ),
    "Stream.inspect.function": Row(step("inspect")),
    "Stream.sink.sink": Row(_sink, same),
    "KeyedStream.window.windows": Row(_with_windows, _windows_of, NO_WINDOWS),
    "KeyedStream.batch.values": Row(
        _kept("batch", size=3, within=SECOND, type=int), good, (*NO_STATE, None, "x"), raises=False, tells_records=False
    ),
    "KeyedStream.reduce.function": Row(_reduce(None), lambda one: one, (*NO_STATE, None, 5)),
    "WindowedStream.reduce.function": Row(_reduce(DAY), lambda one: one, (*NO_STATE, None, 5)),
    "KeyedStream.process.function": Row(_process(Everything), good),
    **{
        f"KeyedStream.process.function/{where}": Row(
            _process(lambda touch, where=where: Putting(touch, where)),
            good if where != "timer" else (lambda one: one["t"]),
            bad,
        )
        for where, bad in {
            "value": (*NO_STATE, "x", None),
            "list": (*NO_STATE, "x", None),
            "map key": (*NO_STATE, 1.5, None),
            "map value": (*NO_STATE, "x", None),
            "timer": NO_TIMES,
        }.items()
    },
    "ConnectedStreams.process.function/1": Row(_connected(True, Both)),
    "ConnectedStreams.process.function/2": Row(_connected(False, Both)),
    "BroadcastConnectedStreams.process.function/1": Row(_connected(True, Ruled, broadcast=True)),
    "BroadcastConnectedStreams.process.function/2": Row(_connected(False, Ruled, broadcast=True)),
    "KeyedStream.aggregate.functions": Row(_aggregate(Adding), good, (*NO_STATE, "text")),
    "KeyedStream.aggregate.named": Row(_of(lambda _, touch: {"a": Adding(touch)}), good, NO_STATE),
    "KeyedStream.aggregate.result": Row(_collecting(None, result=_last)),
    "KeyedStream.aggregate.into": Row(_collecting(None, into=lambda touch: lambda a: touch(a[-1]))),
    "WindowedStream.aggregate.result": Row(_collecting(DAY, result=_all), same, of_outputs=True),
    "WindowedStream.aggregate.into": Row(
        _collecting(DAY, into=lambda touch: lambda a: [touch(one) for one in a]), same, of_outputs=True
    ),
    "WindowedStream.process.function": Row(
        lambda numbers, touch, policy: by_key(numbers).window(DAY).process(Listing(touch), type=dict, on_error=policy),
        same,
        of_outputs=True,
    ),
    "WindowedStream.trigger.trigger/on_record": Row(
        _with_trigger(lambda touch: Asking(touch, sets=False)), lambda one: False, (Untrue(),)
    ),
    "WindowedStream.trigger.trigger/set_timer": Row(
        _with_trigger(lambda touch: Asking(touch, sets=True)), lambda one: one["t"] + 1, (None, "x", NAN)
    ),
    "Joins.interval_join.function": Row(_joined("interval_join", lower=-SECOND, upper=SECOND), same, of_outputs=True),
    "Joins.as_of_join.function": Row(_joined("as_of_join"), same, of_outputs=True),
    "Joins.window_join.function": Row(_joined("window_join", DAY), same, of_outputs=True),
    "Joins.window_join.windows": Row(_windowed_join, _windows_of, NO_WINDOWS),
    "Lookups.lookup_join.function": Row(_looked_up("function"), tells_records=False),
    "Lookups.lookup_join.key": Row(_looked_up("key"), lambda one: one["k"], ([1],)),
    "Lookups.lookup_join.table_key": Row(_looked_up("table_key"), lambda one: one["k"], (None, [1], 5, HALF)),
    "Lookups.lookup_join.is_removed": Row(_looked_up("is_removed"), lambda one: False, (Untrue(),)),
    **TIMER_ROWS,
    **_by_class("RunningShorthands", None, ""),
    **_running_results(),
}
for _mark, _window in EVERY_WINDOW.items():
    ROWS |= _by_class("WindowShorthands", _window, _mark)
    ROWS[f"WindowedStream.aggregate.functions{_mark}"] = Row(_aggregate(Adding, _window), good, NO_STATE)
    ROWS[f"WindowedStream.aggregate.named{_mark}"] = Row(_of(lambda _, t: {"a": Adding(t)}, _window), good, NO_STATE)
