"""Time, side outputs, several inputs and snapshots in one subtask's chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from streamlet import Job, OutputTag, Stream
from streamlet.connect import Batch
from streamlet.errors import CheckpointError
from streamlet.operators.operator import Emit, Operator, OperatorContext
from streamlet.runtime.task.chain import Chain, Exit, Leaf
from streamlet.windows import MIN_TIMESTAMP
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print

ODD = OutputTag[int]("odd")


class End:
    async def deliver(self, batch: Batch[Any]) -> None: ...


class Running:
    """A chain and what came out of it, by the uid of the sink or channel end."""

    def __init__(self, build: Callable[[Stream[int]], object]) -> None:
        job = Job("j")
        build(job.source(Generator(int, count=1), uid="in"))
        (self.task,) = job.plan().tasks
        leaves: dict[Exit, list[Leaf]] = {}
        self._names = {}
        for node in self.task.nodes:
            if node.is_sink:
                end = End()
                leaves[node.id, None] = [end]
                self._names[id(end)] = node.uid
        self.chain = Chain(self.task, 3, {}, leaves, {}, show_records=False, now_ms=lambda: 77)
        self.enter = self.chain.enter(self.task.head.id)

    def out(self) -> list[tuple[str, list[Any]]]:
        produced = [(self._names[id(leaf)], batch.values) for leaf, batch in self.chain.produced]
        self.chain.produced.clear()
        return produced

    def advance(self, timestamp: int) -> None:
        for _ in self.chain.advance(timestamp):
            pass


class Telling(Operator):
    """Puts out what happens to it, with the watermark that it sees."""

    def __init__(self, name: str) -> None:
        self.name = name

    def tell(self, what: str, out: Emit) -> None:
        out(Batch([f"{self.name} {what} at {self.context.current_watermark}"]))

    def process(self, batch: Batch[Any], out: Emit) -> None:
        for value in batch.values:
            out(Batch([f"{value} > {self.name} at {self.context.current_watermark}"]))

    def on_watermark(self, timestamp: int, out: Emit) -> None:
        self.tell(f"fires {timestamp}", out)

    def on_end(self, out: Emit) -> None:
        self.tell("ends", out)


def then(stream: Stream[Any], make: Callable[[], Operator], uid: str | None = None) -> Stream[Any]:
    return stream._then("probe", make, make, uid, None)


def test_time_moves_through_the_chain_in_the_order_of_the_stream() -> None:
    running = Running(lambda s: then(then(s, lambda: Telling("a")), lambda: Telling("b")).sink(Print(), uid="out"))
    running.advance(10)
    assert running.out() == [("out", [f"a fires 10 at 10 > b at {MIN_TIMESTAMP}"]), ("out", ["b fires 10 at 10"])]
    running.enter(Batch(["x"]))
    assert running.out() == [("out", ["x > a at 10 > b at 10"])]
    assert running.chain.end(has_new=True)
    assert running.out() == [("out", ["a ends at 10 > b at 10"]), ("out", ["b ends at 10"])]


def test_an_operator_with_much_to_fire_is_called_until_it_is_done_before_those_behind_it() -> None:
    class Slow(Telling):
        left = 2

        def on_watermark(self, timestamp: int, out: Emit) -> bool:  # type: ignore[override]
            self.left -= 1
            self.tell(f"leaves {self.left}", out)
            return self.left > 0

    running = Running(lambda s: then(then(s, lambda: Slow("a")), lambda: Telling("b")).sink(Print(), uid="out"))
    pauses = running.chain.advance(5)
    next(pauses)
    assert len(running.out()) == 1
    assert list(pauses) == []
    assert [values[0].split(" at")[0] for _, values in running.out()] == ["a leaves 0", "b fires 5"]


class Sorting(Operator):
    """Puts odd numbers aside."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self.context.side(ODD, Batch([one for one in batch.values if one % 2]))
        self.context.side(OutputTag("never read"), batch)
        out(Batch([one for one in batch.values if not one % 2]))


def test_side_outputs_go_where_they_are_taken_and_nowhere_else() -> None:

    def build(stream: Stream[int]) -> None:
        even = then(stream, Sorting)
        even.sink(Print(), uid="even")
        even.side_output(ODD).map(lambda one: -one).sink(Print(), uid="odd")
        even.side_output(OutputTag[int]("odd")).sink(Print(), uid="odd-too")

    running = Running(build)
    running.enter(Batch([1, 2, 3]))
    assert sorted(running.out()) == [("even", [2]), ("odd", [-1, -3]), ("odd-too", [1, 3])]
    running.enter(Batch([2]))
    assert running.out() == [("even", [2])]


def test_only_the_side_outputs_of_an_operator_may_be_taken() -> None:
    running = Running(lambda s: then(s, Sorting).side_output(ODD).sink(Print(), uid="odd"))
    running.enter(Batch([1, 2, 3]))
    assert running.out() == [("odd", [1, 3])]


class Remembering(Operator):
    """Remembers how many rows it has seen."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self.rows.append(len(batch))
        out(Batch([sum(self.rows)]))

    def snapshot(self) -> Any:
        return self.rows

    def restore(self, snapshots: list[Any]) -> None:
        self.rows = [row for rows in snapshots for row in rows]


def _two(stream: Stream[int]) -> None:
    then(stream.map(abs, uid="plain"), Remembering, "memory").sink(Print(), uid="out")


def test_what_an_operator_remembers_is_packed_at_once_and_given_back_from_all_old_subtasks() -> None:
    running = Running(_two)
    running.enter(Batch([1, 2]))
    packed = running.chain.snapshot()
    running.enter(Batch([1]))
    assert list(packed) == ["memory/3"]
    plain = {key: msgspec.msgpack.decode(msgspec.msgpack.encode(one)) for key, one in packed.items()}
    assert plain == {"memory/3": [2]}
    restored = Running(_two)
    restored.chain.restore({"memory": [[2], [10, 20]]})
    restored.enter(Batch([5]))
    assert restored.out() == [("out", [33])]


def test_a_snapshot_that_nobody_can_take_over_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"has a snapshot of map 'plain'"):
        Running(_two).chain.restore({"plain": [1]})


def test_a_snapshot_that_is_no_plain_data_names_its_operator() -> None:
    running = Running(_two)
    memory = running.chain._steps[-1].operator
    memory.rows = [object()]  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"the snapshot of probe 'memory' is no plain data"):
        running.chain.snapshot()


class Clocked(Operator):
    """Wants to be called at a time, and tells when it was."""

    def __init__(self) -> None:
        self.at: int | None = None

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.now_ms() == 77

    def process(self, batch: Batch[Any], out: Emit) -> None:
        out(batch)

    def next_clock_ms(self) -> int | None:
        return self.at

    def on_clock(self, now_ms: int, out: Emit) -> None:
        self.at = None
        out(Batch([now_ms]))


def test_operators_are_called_by_the_clock_when_they_are_due_or_ask() -> None:
    plain = Running(_two)
    assert not plain.chain.has_clock
    running = Running(lambda s: then(then(s, Clocked), Clocked).sink(Print(), uid="out"))
    chain = running.chain
    one, other = (step.operator for step in chain._steps)
    assert isinstance(one, Clocked)
    assert isinstance(other, Clocked)
    assert chain.has_clock
    assert chain.next_clock_ms() is None
    one.at, other.at = 20, 10
    assert chain.next_clock_ms() == 10
    chain.on_clock(15)
    assert running.out() == [("out", [15])]
    assert chain.next_clock_ms() == 20
    rung = []
    chain.ring = lambda: rung.append(1)
    other.context.wake()
    assert rung == [1]
    assert chain.next_clock_ms() == MIN_TIMESTAMP
    chain.on_clock(16)
    assert (one.at, running.out()) == (20, [("out", [16])])
    assert chain.next_clock_ms() == 20
