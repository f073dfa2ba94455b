"""What is restored is what the checkpoint says: no state of another store's past, keys of the same class and fields."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from streamlet import (
    AggregatingState,
    Count,
    Job,
    KeyedProcessFunction,
    MapState,
    Max,
    ProcessContext,
    Sum,
    TimerContext,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
)
from streamlet.aggregates import Composed
from streamlet.state.encoding.key_type import KeyType, key_type_text
from streamlet.state.evolution.findings import Allowed
from streamlet.state.upgrade.comparing import compare
from streamlet_connectors.files import FileSink
from streamlet_connectors.print import Print
from tests.unit.job_kit import BACKENDS, Waiting, checkpoint_at, files, lines, make_job, run

TIMES: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda number: number * 1000)


class Seen(KeyedProcessFunction[int, int, list[Any]]):
    """Writes for the first ten numbers, changes or clears for the next ten, and shows for the last ten."""

    value = ValueState(int)

    def __init__(self, clears: bool) -> None:
        self.clears = clears

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        if value >= 20:
            yield [value, self.value.value()]
        elif value >= 10 and self.clears:
            self.value.clear()
        else:
            self.value.update(value)


class Reminds(KeyedProcessFunction[int, int, list[Any]]):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        if value < 10:
            ctx.timers.register_event_time((ctx.timestamp or 0) + 5000)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Any:
        yield [timestamp, ctx.key]


def _beside_a_count(folder: Path, function: Any, parallelism: int, backend: str) -> Job:
    """One key_by, so one store, for a count and another operator: unless that has another parallelism."""
    job = make_job(folder, state_backend=backend)
    keyed = job.source(Waiting(30, 10, 20), uid="numbers", watermarks=TIMES).key_by(lambda n: n % 5, uid="by")
    keyed.aggregate(Count(), uid="count").sink(Print(), uid="counts")
    out: FileSink[Any] = FileSink(str(folder / "out"))
    keyed.process(function, uid="other", parallelism=parallelism).sink(out, uid="out", parallelism=parallelism)
    return job


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("clears", [True, False])
def test_state_that_went_to_a_store_of_its_own_and_back_is_what_it_became_there(
    clears: bool, backend: str, tmp_path: Path
) -> None:
    assert run(_beside_a_count(tmp_path, Seen(clears), 1, backend)).code == 0
    expected = sorted(lines(tmp_path / "out"))
    for parallelism, at in ((2, 10), (1, 20)):
        before = files(tmp_path / "out")
        job = _beside_a_count(tmp_path, Seen(clears), parallelism, backend)
        ran = run(job, from_checkpoint=str(checkpoint_at(tmp_path, at)))
        assert ran.code == 0, ran
        assert sorted(lines(tmp_path / "out", but=before)) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_timers_that_fired_in_a_store_of_their_own_do_not_fire_again(backend: str, tmp_path: Path) -> None:
    assert run(_beside_a_count(tmp_path, Reminds(), 1, backend)).code == 0
    for parallelism, at in ((2, 10), (1, 20)):
        before = files(tmp_path / "out")
        job = _beside_a_count(tmp_path, Reminds(), parallelism, backend)
        assert run(job, from_checkpoint=str(checkpoint_at(tmp_path, at))).code == 0
    assert lines(tmp_path / "out", but=before) == []


class Place(msgspec.Struct, frozen=True):
    at: int


class Spot(NamedTuple):
    at: int


class Last(KeyedProcessFunction[Any, int, list[Any]]):
    value = ValueState(int, ttl=timedelta(hours=1))

    def process_element(self, value: int, ctx: ProcessContext[Any]) -> Any:
        yield [value, ctx.key.at, self.value.value()]
        self.value.update(value)


def _of_last(folder: Path, key: Callable[[int], Any], parallelism: int, backend: str) -> Job:
    job = make_job(folder, state_backend=backend)
    keyed = job.source(Waiting(20, 10), uid="numbers").key_by(lambda n: key(n % 5), uid="by")
    done = keyed.process(Last(), uid="last", parallelism=parallelism)
    done.sink(FileSink(str(folder / "out")), uid="out", parallelism=parallelism)
    return job


def _of_windows(folder: Path, key: Callable[[int], Any], parallelism: int, backend: str) -> Job:
    job = make_job(folder, state_backend=backend)
    source = job.source(Waiting(20, 10), uid="numbers", watermarks=TIMES)
    counted = source.key_by(lambda n: key(n % 5), uid="by").window(TumblingWindows(timedelta(seconds=15)))
    counts = counted.aggregate(
        Count(), uid="count", parallelism=parallelism, result=lambda key, window, n: [window.start, key.at, n]
    )
    counts.sink(FileSink(str(folder / "out")), uid="out", parallelism=parallelism)
    return job


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("build", [_of_last, _of_windows])
@pytest.mark.parametrize("key", [Place, Spot, lambda n: Spot(n)])
@pytest.mark.parametrize("parallelism", [1, 3])
def test_timers_of_keys_of_a_class_are_found_at_another_parallelism(
    parallelism: int, key: Any, build: Any, backend: str, tmp_path: Path
) -> None:
    assert run(build(tmp_path, key, 2, backend)).code == 0
    expected = sorted(lines(tmp_path / "out"))
    at = checkpoint_at(tmp_path, 10)
    before = files(tmp_path / "out")
    ran = run(build(tmp_path, key, parallelism, backend), from_checkpoint=str(at))
    assert ran.code == 0, ran
    after = lines(tmp_path / "out", but=before)
    assert sorted(after) == [row for row in expected if row in after] and len(after) >= 10


def _place(fields: list[Any], **options: Any) -> Any:
    return msgspec.defstruct("Place", fields, frozen=True, module=__name__, **options)


class PlaceTuple(NamedTuple):
    shop: int


PlaceTuple.__name__ = "Place"


def _counted(folder: Path, key: Callable[[int], Any]) -> Job:
    job = make_job(folder)
    keyed = job.source(Waiting(20, 10), uid="numbers").key_by(lambda n: key(n % 5), uid="by")
    keyed.aggregate(Count(), uid="count").sink(FileSink(str(folder / "out")), uid="out")
    return job


@pytest.mark.parametrize(
    "after, said",
    [
        (_place([("store", int)]), "Place(store: int)"),
        (_place([("shop", int)], tag=True), "Place(shop: int) tagged type=Place"),
        (_place([("shop", int)], array_like=True), "Place(shop: int) as array"),
        (_place([("shop", int)], rename={"shop": "s"}), "Place(s: int)"),
        (PlaceTuple, "Place(shop: int) as array"),
    ],
)
def test_keys_of_a_class_with_other_fields_are_refused_with_both_types(after: Any, said: str, tmp_path: Path) -> None:
    assert run(_counted(tmp_path, _place([("shop", int)]))).code == 0
    before = files(tmp_path / "out")
    ran = run(_counted(tmp_path, after), from_checkpoint=str(checkpoint_at(tmp_path, 10)))
    assert ran.code != 0 and lines(tmp_path / "out", but=before) == []
    assert f"is {said}, but the keys of the checkpoint are Place(shop: int)" in ran.said, ran


def test_fields_that_change_places_are_another_key() -> None:
    class One(NamedTuple):
        shop: int
        desk: int

    class Other(NamedTuple):
        desk: int
        shop: int

    texts = [key_type_text((kind, int, int)) for kind in (One, Other)]
    assert texts == ["One(shop: int, desk: int) as array", "Other(desk: int, shop: int) as array"]


def test_keys_that_were_noted_without_field_names_are_read(tmp_path: Path) -> None:
    keys = KeyType("keys")
    keys.restore("(Spot(int), str)", f"{__name__}:Spot")
    keys.check([(Spot(1), "a")])
    assert keys.text == "(Spot(at: int) as array, str)"
    early = KeyType("keys")
    early.restore("Place(int)", f"{__name__}:Place")
    assert early.decode(msgspec.msgpack.encode(Place(3))) == Place(3)


def _summed(folder: Path, aggregate: Callable[[Any], Any], backend: str = "memory") -> Job:
    job = make_job(folder, state_backend=backend)
    source = job.source(Waiting(20, 10), uid="numbers", watermarks=TIMES)
    aggregate(source.key_by(lambda n: 0, uid="by")).sink(FileSink(str(folder / "out")), uid="out")
    return job


def _ones(n: int) -> int:
    return 1


def _named(keyed: Any) -> Any:
    return keyed.aggregate(ones=Sum(_ones), last=Max(int), total=Sum(int), uid="sums")


def _named_otherwise(keyed: Any) -> Any:
    return keyed.aggregate(total=Sum(int), ones=Sum(_ones), last=Max(int), uid="sums")


def _windowed(keyed: Any) -> Any:
    windows = keyed.window(TumblingWindows(timedelta(hours=1)))
    return windows.aggregate(ones=Sum(_ones), total=Sum(int), uid="sums").map(lambda one: one.value)


def _windowed_otherwise(keyed: Any) -> Any:
    windows = keyed.window(TumblingWindows(timedelta(hours=1)))
    return windows.aggregate(total=Sum(int), ones=Sum(_ones), uid="sums").map(lambda one: one.value)


class Totals(KeyedProcessFunction[int, int, Any]):
    total = AggregatingState(Composed(ones=Sum(_ones), total=Sum(int)))

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        self.total.add(value)
        yield self.total.value()


class TotalsOtherwise(Totals):
    total = AggregatingState(Composed(total=Sum(int), ones=Sum(_ones)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "before, after",
    [
        (_named, _named_otherwise),
        (_windowed, _windowed_otherwise),
        (lambda k: k.process(Totals(), uid="sums"), lambda k: k.process(TotalsOtherwise(), uid="sums")),
    ],
)
def test_functions_by_name_are_found_by_name(before: Any, after: Any, backend: str, tmp_path: Path) -> None:
    assert run(_summed(tmp_path, before, backend)).code == 0
    expected, old = lines(tmp_path / "out"), files(tmp_path / "out")
    ran = run(_summed(tmp_path, after, backend), from_checkpoint=str(checkpoint_at(tmp_path, 10)))
    assert ran.code == 0, ran
    assert lines(tmp_path / "out", but=old)[-1] == expected[-1]
    assert expected[-1]["ones"] == 20 and expected[-1]["total"] == 190


def test_functions_without_names_that_change_places_are_found_by_what_they_are(tmp_path: Path) -> None:
    assert run(_summed(tmp_path, lambda k: k.aggregate(Count(), Sum(int), uid="a"))).code == 0
    expected, old = lines(tmp_path / "out"), files(tmp_path / "out")
    job = _summed(tmp_path, lambda k: k.aggregate(Sum(int), Count(), uid="a"))
    assert run(job, from_checkpoint=str(checkpoint_at(tmp_path, 10))).code == 0
    assert lines(tmp_path / "out", but=old) == [[total, count] for count, total in expected[10:]]


@pytest.mark.parametrize(
    "before, after, said",
    [
        (lambda k: k.sum(int, uid="a"), lambda k: k.count(uid="a"), "state a.accumulator.sum-int: sum of "),
        (lambda k: k.sum(int, type=int, uid="a"), lambda k: k.reduce(max, type=int, uid="a"), "and is int"),
        (lambda k: k.reduce(max, type=int, uid="a"), lambda k: k.sum(int, type=int, uid="a"), "was int and is sum of"),
        (
            _named,
            lambda k: k.aggregate(ones=Sum(_ones), total=Sum(int), uid="sums"),
            "sums.accumulator.last: max of int is gone",
        ),
        (
            _named,
            lambda k: k.aggregate(one=Sum(_ones), last=Max(int), total=Sum(int), uid="sums"),
            "let it go by --allow-dropped-state sums.accumulator.ones",
        ),
        (
            _windowed,
            lambda k: k.window(TumblingWindows(timedelta(hours=1))).aggregate(Sum(int), Count(), uid="sums"),
            "sums.window.ones: sum of function ",
        ),
    ],
)
def test_other_functions_are_refused_by_name(before: Any, after: Any, said: str, tmp_path: Path) -> None:
    assert run(_summed(tmp_path, before)).code == 0
    old = files(tmp_path / "out")
    ran = run(_summed(tmp_path, after), from_checkpoint=str(checkpoint_at(tmp_path, 10)))
    assert ran.code == 2 and lines(tmp_path / "out", but=old) == []
    assert said in ran.said and "nothing was changed" in ran.said, ran


def _refusals(declared: Any, before: Any) -> list[str]:
    """What is refused of one declared state, where a checkpoint has another."""
    compared = compare([before], [declared], Allowed())
    return [one.what for one in compared.findings if one.verdict == "refused"]


def _early(declared: Any, **changes: Any) -> Any:
    """The state as a checkpoint of the first format has it."""
    return msgspec.structs.replace(declared.spec, schema=None, key_schema=None, **changes)


def test_accumulators_that_were_noted_without_functions_are_read_by_place_only() -> None:
    summed = ValueState(int).made_by("Sum").declare(1, "a", "accumulator")
    named = ValueState(int).made_by("(a=Sum)").declare(1, "a", "accumulator")
    early = _early(summed, made_by="")
    assert _refusals(summed, early) == []
    (what,) = _refusals(named, early)
    assert what == "is declared as value[int] of (a=Sum), but the checkpoint has value[int]"


def _map(key: Any) -> Any:
    return MapState(key, int).declare(1, "a", "seen")


def test_keys_of_a_map_that_are_packed_otherwise_are_refused() -> None:
    struct, array = _map(_place([("shop", int)])), _map(PlaceTuple)
    assert struct.spec.key_type == "Place{shop: int}; Place as map"
    assert len(_refusals(array, struct.spec)) == 1
    assert len(_refusals(_map(_place([("shop", int)], tag=True)), array.spec)) == 1
    assert _refusals(array, array.spec) == []
    (what,) = _refusals(array, _early(struct))
    assert "Place{shop: int}; Place as array, int], but the checkpoint has" in what


def test_keys_of_a_map_that_were_noted_without_their_form_are_read() -> None:
    assert _refusals(_map(PlaceTuple), _early(_map(PlaceTuple), key_type="Place{shop: int}")) == []
