"""What waits in front of an operator: how long a call into a chain takes, what a checkpoint keeps, who gets it back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streamlet import Job, Stream
from streamlet.checkpoint.manifest import Manifest
from streamlet.elements import Barrier, Batch, Watermark
from streamlet.errors import StateRefusedError
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.runtime.job.renaming import under_present_names
from streamlet.runtime.job.restored import check_fits
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.chain import Chain, Exit, Leaf
from streamlet.runtime.task.held_back import HeldBack, Turn
from streamlet.runtime.task.input_gate import InputGate
from streamlet.state.encoding.key_groups import key_group, pack_key, subtask_of
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.runtime.task.test_chain_time import End, Telling, then


class Timed:
    """A chain whose functions take time, in one of several subtasks."""

    def __init__(self, build: Callable[[Stream[int]], object], subtask: int = 0, of: int = 1, task: int = 0) -> None:
        self.seconds = 0.0
        job = Job("j", parallelism=of)
        build(job.source(Generator(int, count=1), uid="in"))
        self.plan = job.plan()
        self.task = self.plan.tasks[task]
        end = End()
        leaves: dict[Exit, list[Leaf]] = {(node.id, None): [end] for node in self.task.nodes if node.is_sink}
        self.chain = Chain(
            self.task, subtask, {}, leaves, {}, show_records=False, monotonic=lambda: self.seconds, inputs=["in"]
        )

    def slowly(self, value: int) -> int:
        self.seconds += 0.02
        return value

    def enter(self, batch: Batch[Any]) -> None:
        self.chain.queues.turn.begin()
        self.chain.enter(self.task.head.id)(batch)

    def out(self) -> list[Any]:
        values = [value for _, batch in self.chain.produced for value in batch.values]
        self.chain.produced.clear()
        return values

    def work_off(self) -> list[Any]:
        """All that waits inside, turn by turn."""
        while self.chain.queues.turn.inside:
            self.chain.queues.go_on()
        return self.out()


def _slow(of: int = 1, subtask: int = 0) -> Timed:
    made: list[Timed] = []
    timed = Timed(lambda s: s.map(lambda v: made[0].slowly(v), uid="slow").sink(Print(), uid="out"), subtask, of)
    made.append(timed)
    return timed


def _restored(kept: dict[str, Any]) -> dict[str, list[Any]]:
    return {key.rpartition("/")[0]: [msgspec.msgpack.decode(one)] for key, one in kept.items()}


def test_a_call_into_a_chain_ends_soon_and_the_rest_of_its_batch_follows_in_order() -> None:
    timed = _slow()
    timed.enter(Batch(list(range(30))))
    assert timed.seconds <= 0.06, "that is one turn, and the record in which it was over"
    assert timed.chain.has_work
    done = timed.out()
    began = timed.seconds
    timed.chain.queues.go_on()
    assert timed.seconds - began <= 0.06
    assert done + timed.work_off() == list(range(30))
    assert not timed.chain.has_work


def test_what_fans_out_in_a_chain_waits_in_front_of_the_slow_function() -> None:
    made: list[Timed] = []
    timed = Timed(
        lambda s: s.flat_map(lambda v: range(50), uid="fan").map(lambda v: made[0].slowly(v), uid="slow")
        .sink(Print(), uid="out")
    )  # fmt: skip
    made.append(timed)
    timed.enter(Batch([1]))
    assert timed.seconds <= 0.06
    timed.enter(Batch([2]))
    assert timed.work_off() == [*range(50), *range(50)]


def test_event_time_does_not_overtake_what_waits_and_follows_it() -> None:
    made: list[Timed] = []

    def build(stream: Stream[int]) -> object:
        slow = stream.map(lambda v: made[0].slowly(v), uid="slow")
        return then(slow, lambda: Telling("behind")).sink(Print(), uid="out")

    timed = Timed(build)
    made.append(timed)
    timed.enter(Batch([1, 2, 3]))
    list(timed.chain.advance(10))
    assert timed.chain.is_held and not any("fires" in one for one in timed.out())
    timed.work_off()
    list(timed.chain.advance(10))
    assert timed.out() == ["behind fires 10 at 10"]


def test_an_operator_that_was_stopped_while_it_fired_goes_on_with_the_same_time() -> None:
    fired: list[int] = []

    class Firing(Telling):
        def on_watermark(self, timestamp: int, out: Emit) -> bool:  # type: ignore[override]
            fired.append(timestamp)
            return len(fired) < 4

    timed = Timed(lambda s: then(then(s, lambda: Firing("a")), lambda: Telling("b")).sink(Print(), uid="out"))
    next(timed.chain.advance(5))
    assert timed.chain.has_work and timed.chain.is_held
    assert not timed.chain.end(has_new=True)
    next(timed.chain.advance(9))
    assert (fired, timed.out()) == ([5, 5], [])
    list(timed.chain.advance(9))
    assert fired == [5, 5, 5, 5, 9]
    assert timed.out() == ["b fires 9 at 9"]
    assert not timed.chain.has_work


def test_what_waits_is_in_the_snapshot_and_comes_first_after_a_restore() -> None:
    timed = _slow()
    values = [1, "two", (3, "x"), None, 4.5]
    timed.enter(Batch(values, [10, 20, 30, 40, 50], split="s"))
    done = timed.out()
    kept = timed.chain.queues.kept(0)
    assert kept is not None
    again = _slow()
    again.chain.restore(_restored(kept))
    again.enter(Batch(["new"], [60]))
    assert done + again.work_off() == [*values, "new"]


def test_rows_go_to_the_subtask_that_reads_their_split_or_has_their_key() -> None:
    old = _slow()
    (_, held) = old.chain.queues._inside  # the sink's is the first
    for split, values in {"a": [1, 2], "b": [3]}.items():
        held.hold(0, Batch(values, split=split), 0)
    kept = _restored(old.chain.queues.kept(0) or {})
    owners = {"a": 2, "b": 1}
    found = []
    for subtask in range(3):
        new = _slow(3, subtask)
        new.chain.restore(kept, owners.get)
        found.append(new.work_off())
    assert found == [[], [3], [1, 2]]


def test_keyed_rows_go_to_the_subtask_of_their_key() -> None:
    place = _slow().task.head.place

    def queue(subtask: int, of: int) -> HeldBack:
        turn = Turn(lambda: 0.0)
        held = HeldBack(turn, [lambda _: None], ["in"], [True], is_head=True, may_keep=True, may_keep_unkeyed=False)
        held.open(OperatorContext(place, subtask, of, None))
        return held

    keys = list(range(40))
    old = queue(1, 2)
    old.hold(0, Batch(keys, None, keys), 7)
    kept = msgspec.msgpack.decode(old.kept())
    for subtask in range(4):
        new = queue(subtask, 4)
        new.restore_kept([kept], lambda _: None)
        mine = [key for key in keys if subtask_of(key_group(pack_key(key), 128), 4, 128) == subtask]
        assert new.held_watermark() == 7
        assert new.next(100)[1].values == mine


def test_values_that_would_not_come_back_as_they_were_are_not_kept() -> None:
    class Local:
        pass

    timed = _slow()
    timed.enter(Batch([Local(), Local(), Local(), Local()]))
    assert timed.chain.queues.kept(0) is None


def test_what_waited_is_not_dropped_with_its_operator() -> None:
    timed = _slow()
    timed.enter(Batch([1, 2, 3, 4]))

    kept = timed.chain.queues.kept(0)
    assert kept
    manifest = Manifest(job="j", checkpoint_id=1, attempt=1, kind="periodic", key_groups=128, operators=kept)
    check_fits(timed.plan, manifest)
    other = Timed(lambda s: s.map(abs, uid="other").sink(Print(), uid="out"))
    with pytest.raises(StateRefusedError, match="slow"):
        check_fits(other.plan, manifest)


def test_a_gate_gives_what_a_barrier_waits_for_to_be_held_and_its_room_is_taken_until_it_is_begun() -> None:
    async def run() -> None:
        gate = InputGate(Backlog(1000))
        first, second = gate.connect(0), gate.connect(0)
        first.send(Batch([1]))
        assert gate.poll(takes_batches=False, holds_batches=True) is None, "no barrier is here"
        first.send(Barrier(1))
        second.send(Watermark(3))
        batch = gate.poll(takes_batches=False, holds_batches=True)
        assert isinstance(batch, Batch) and batch.values == [1]
        assert not gate.backlog.has_room(0)
        begun = gate.on_begun
        assert begun is not None
        second.send(Barrier(1))
        while (element := gate.poll(takes_batches=False, holds_batches=True)) != Barrier(1):
            assert element is None or isinstance(element, Watermark)
        assert gate.on_begun is None
        begun()
        assert gate.backlog.has_room(0)

    asyncio.run(run())


def test_rows_come_back_by_the_input_that_they_came_by_though_both_are_of_one_stream() -> None:
    def queue() -> HeldBack:
        ways: list[Emit] = [lambda _: None, lambda _: None]
        held = HeldBack(
            Turn(lambda: 0.0), ways, ["in", "in"], [True, True], is_head=True, may_keep=True, may_keep_unkeyed=False
        )
        held.open(OperatorContext(_slow().task.head.place, 0, 1, None))
        return held

    old, new = queue(), queue()
    for index in (1, 0, 1):
        old.hold(index, Batch([index], None, [index]), 7)
    new.restore_kept([msgspec.msgpack.decode(old.kept())], lambda _: None)
    found = [new.next(100) for _ in range(3)]
    assert [batch.values for _, batch in found] == [[1], [0], [1]]
    assert [new._ways.index(way) for way, _ in found] == [1, 0, 1]


def test_what_waited_and_event_time_are_found_where_the_step_before_was_renamed() -> None:
    timed = Timed(lambda s: s.map(abs, uid="new", renamed_from="old").sink(Print(), uid="out"))
    operators = {
        "op@held back/0": {"subtask": 0, "batches": [{"input": "old@late"}, {"input": "other"}]},
        "op@time/0": {"watermark": 5, "inputs": {"old": 5, "other": 6}},
    }
    manifest = Manifest(
        job="j", checkpoint_id=1, attempt=1, kind="periodic", key_groups=128, parallelism={"old": 1},
        operators=operators,
    )  # fmt: skip
    found = under_present_names(timed.plan, manifest).operators
    assert [one["input"] for one in found["op@held back/0"]["batches"]] == ["new@late", "other"]
    assert found["op@time/0"]["inputs"] == {"new": 5, "other": 6}
