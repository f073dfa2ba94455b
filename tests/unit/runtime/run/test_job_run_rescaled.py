"""Restores with another parallelism, where operators that shared a chain have tasks of their own, or the other way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet import Count, Job, Stream, TumblingWindows, WatermarkStrategy
from streamlet.connect import Batch, Position, ReaderContext, Source
from streamlet.operators.operator import Operator, OperatorContext
from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.chain import Chain, Exit, Leaf
from streamlet.runtime.task.held_back import HeldBack, Turn
from streamlet.runtime.task.input_gate import InputGate
from streamlet.windows import MIN_TIMESTAMP
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.job_kit import Waiting, checkpoint_at, files, lines, make_job, run, storage
from tests.unit.runtime.task.test_chain_time import End, Telling

COUNT = 20
TIMES: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda one: one * 1000)


class Held:
    """Answers nothing until there is a checkpoint in which the source has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ended(self) -> list[int]:
        found = storage(self.folder).checkpoints()
        return [one.id for one in found if one.manifest is not None and "short" in one.manifest.finished]

    async def answer(self, number: int) -> int:
        while not self.ended():  # noqa: ASYNC110 - nothing tells of checkpoints but the disk
            await asyncio.sleep(0.001)
        return number


def _short_job(folder: Path, asked_by: int, counted_by: int) -> Job:
    job = make_job(folder)
    short = job.source(Generator(int, count=COUNT), uid="short", watermarks=TIMES, parallelism=1)
    asked = short.map_async(Held(folder).answer, uid="ask", parallelism=asked_by)
    asked.sink(FileSink(str(folder / "asked")), uid="asked", parallelism=asked_by)
    counted = asked.key_by(lambda one: one % 5, uid="by-five")
    counts = counted.window(TumblingWindows(timedelta(hours=1))).aggregate(
        Count(), result=lambda key, window, count: [key, count], uid="counts", parallelism=counted_by
    )
    counts.sink(FileSink(str(folder / "counts")), uid="windows", parallelism=counted_by)
    return job


@pytest.mark.parametrize(("before", "after"), [((2, 1), (1, 1)), ((2, 2), (1, 1)), ((2, 2), (3, 1))])
def test_a_source_that_had_ended_takes_nothing_with_it_that_is_still_on_its_way(
    before: tuple[int, int], after: tuple[int, int], tmp_path: Path
) -> None:
    ran = run(_short_job(tmp_path, *before))
    assert ran.code == 0, ran
    asked, counts = files(tmp_path / "asked"), files(tmp_path / "counts")
    assert (len(lines(tmp_path / "asked")), len(lines(tmp_path / "counts"))) == (COUNT, 5)
    ran = run(_short_job(tmp_path, *after), from_checkpoint=str(Held(tmp_path).ended()[0]))
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "asked", but=asked)) == list(range(COUNT))
    assert sorted(lines(tmp_path / "counts", but=counts)) == [[key, COUNT // 5] for key in range(5)]


def test_a_start_checkpoint_says_with_how_many_subtasks_its_state_was_taken(tmp_path: Path) -> None:
    def build(parallelism: int) -> Job:
        job = make_job(tmp_path)
        numbers = job.source(Waiting(COUNT, 10), uid="numbers")
        counted = numbers.key_by(lambda one: one % 5, uid="by-five").aggregate(
            Count(), uid="count", parallelism=parallelism
        )
        counted.sink(FileSink(str(tmp_path / "out")), uid="out")
        return job

    assert run(build(2)).code == 0
    back = checkpoint_at(tmp_path, 10)
    assert run(build(3), from_checkpoint=str(back)).code == 0
    found = {info.manifest.kind: info.manifest for info in storage(tmp_path).checkpoints() if info.manifest is not None}
    start, final = found["start"], found["final"]
    assert (start.parent, start.parallelism["count"], final.parallelism["count"]) == (back, 2, 3)


class Chained:
    """The chain of a keyed operator behind its source, with the event time that a checkpoint has of it."""

    def __init__(self, folder: Path, before: Mapping[str, list[Any]]) -> None:
        job = make_job(folder)
        keyed = job.source(Generator(int, count=1), uid="in").key_by(lambda one: one, uid="by-key")
        told: Stream[Any] = keyed._then("probe", lambda: Telling("a"), Telling, "keyed", None)
        told.sink(Print(), uid="out")
        (task,) = job.plan().tasks
        stores: dict[int, Any] = dict.fromkeys(task.stores, _NoStore())
        self.chain = Chain(task, 0, stores, {}, {}, show_records=False)
        self.chain.restore(before)

    def advance(self, timestamp: int) -> int:
        """How far event time has come behind the chain."""
        for _ in self.chain.advance(timestamp):
            pass
        return self.chain.watermark


class _NoStore:
    """Nothing is looked up."""

    def lookup(self, keys: Sequence[Any]) -> list[Any]:
        raise AssertionError("no record comes")


def test_event_time_of_a_keyed_operator_in_a_chain_is_that_of_its_gate_when_it_gets_one(tmp_path: Path) -> None:
    chained = Chained(tmp_path, {})
    assert chained.chain.snapshot() == {}
    chained.advance(70)
    snapshot = chained.chain.snapshot()
    assert list(snapshot) == ["keyed@time/0"]
    gate = InputGate(Backlog(1000), ["by-key"])
    gate.connect(0)
    gate.connect(0)
    gate.restore([snapshot["keyed@time/0"]], is_mesh=True)
    assert gate.watermarks.current.timestamp == 70


def test_event_time_of_a_keyed_operator_with_a_gate_is_kept_when_it_comes_into_a_chain(tmp_path: Path) -> None:
    before = [{"watermark": 60, "inputs": {"by-key": 50}}, {"watermark": 70, "inputs": {"by-key": 50}}]
    chained = Chained(tmp_path, {"keyed@time": before})
    assert [chained.advance(one) for one in (MIN_TIMESTAMP, 50, 80)] == [70, 70, 80]


class Silent(Source[int]):
    """Goes on where `Waiting` was, with nothing more to read; it ends when there is output to be seen."""

    bounded = True

    def __init__(self, out: Path, before: Sequence[Path]) -> None:
        self.out = out
        self.before = before

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> SilentReader:
        return SilentReader(self)


class SilentReader:
    def __init__(self, source: Silent) -> None:
        self._source = source

    async def fetch(self) -> Sequence[Batch[int]] | None:
        async with asyncio.timeout(10):
            while not lines(self._source.out, but=self._source.before):  # noqa: ASYNC110 - nothing but the disk tells
                await asyncio.sleep(0.001)
        return None

    def add_splits(self, splits: Mapping[str, Position]) -> None: ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None: ...

    async def close(self) -> None: ...


def test_what_was_in_flight_before_a_restore_becomes_visible_though_no_record_comes(tmp_path: Path) -> None:
    def in_flight() -> list[int]:
        found = storage(tmp_path).checkpoints()
        return [one.id for one in found if one.manifest is not None and "ask/0" in one.manifest.operators]

    async def later(number: int) -> int:
        while number == 9 and not in_flight():  # noqa: ASYNC110 - nothing but the disk tells
            await asyncio.sleep(0.001)
        return number

    def build(source: Source[int]) -> Job:
        job = make_job(tmp_path)
        job.source(source, uid="numbers").map_async(later, uid="ask").sink(FileSink(str(tmp_path / "out")), uid="out")
        return job

    assert run(build(Waiting(COUNT, 10))).code == 0
    before = files(tmp_path / "out")
    ran = run(build(Silent(tmp_path / "out", before)), from_checkpoint=str(in_flight()[0]))
    assert ran.code == 0, ran
    assert lines(tmp_path / "out", but=before)[-1] == 9


def _waiting_at(uid: str, watermark: int, values: list[int], keys: list[int] | None) -> dict[str, list[Any]]:
    """What a checkpoint has of rows that waited behind a gate."""

    turn = Turn(lambda: 0.0)
    queue = HeldBack(turn, [lambda _: None], ["by-key"], [True], is_head=True, may_keep=True, may_keep_unkeyed=True)
    queue.open(OperatorContext(Place("job.py", 1, "probe", uid), 0, 2, None))
    queue.hold(0, Batch(values, values, keys), watermark)
    return {f"{uid}@held back": [msgspec.msgpack.decode(queue.kept())]}


class _EveryStore:
    """Each key is its slot."""

    def lookup(self, keys: Sequence[Any]) -> Sequence[Any]:
        return keys


def _all_values(chain: Chain) -> list[Any]:
    while chain.queues.turn.inside:
        if chain.queues.go_on():
            list(chain.advance(70))
    list(chain.advance(70))
    values = [value for _, batch in chain.produced for value in batch.values]
    chain.produced.clear()
    return values


def _keyed_in_a_chain(folder: Path, make: Callable[[], Operator]) -> Chain:
    job = make_job(folder)
    keyed = job.source(Generator(int, count=1), uid="in").key_by(lambda one: one, uid="by-key")
    told: Stream[Any] = keyed._then("probe", make, make, "keyed", None)
    told.sink(Print(), uid="out")
    (task,) = job.plan().tasks
    stores: dict[int, Any] = dict.fromkeys(task.stores, _EveryStore())
    leaves: dict[Exit, list[Leaf]] = {(node.id, None): [End()] for node in task.nodes if node.is_sink}
    return Chain(task, 0, stores, leaves, {}, show_records=False, monotonic=lambda: 0.0)


def test_rows_that_waited_behind_a_gate_see_the_time_that_they_came_at_when_they_come_into_a_chain(
    tmp_path: Path,
) -> None:
    chain = _keyed_in_a_chain(tmp_path, lambda: Telling("a"))
    earlier, later = (_waiting_at("keyed", *one) for one in ((40, [41], [1]), (60, [61], [2])))
    (name,) = earlier
    times = {"keyed@time": [{"watermark": 70, "inputs": {}}, {"watermark": 70, "inputs": {}}]}
    chain.restore({name: [*later[name], *earlier[name]], **times})
    list(chain.advance(70))
    assert _all_values(chain) == [
        "a fires 40 at 40", "41 > a at 40", "a fires 60 at 60", "61 > a at 60", "a fires 70 at 70"
    ]  # fmt: skip


def test_rows_that_waited_at_a_sink_are_written_where_it_is_in_a_chain_now(tmp_path: Path) -> None:
    chain = _keyed_in_a_chain(tmp_path, lambda: Telling("a"))
    chain.restore(_waiting_at("out", 5, [7, 8], None))
    assert chain.has_work
    assert _all_values(chain)[:2] == [7, 8]
