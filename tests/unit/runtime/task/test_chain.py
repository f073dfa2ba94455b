"""One subtask's operators as one synchronous call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamlet import Job, Stream
from streamlet.connect import Batch
from streamlet.errors import UserFunctionError
from streamlet.runtime.task.chain import Chain, Exit, Leaf
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class End:
    """Takes what reaches the end of the chain."""

    async def deliver(self, batch: Batch[Any]) -> None: ...


def _chain(build: Callable[[Stream[int]], object]) -> tuple[Chain, dict[str, End], Callable[[Batch[Any]], None]]:
    """The chain of a job of parallelism 1 whose sinks are ends, by uid, and its entrance."""
    job = Job("j")
    build(job.source(Generator(int, count=1), uid="in"))
    (task,) = job.plan().tasks
    ends = {node.uid: End() for node in task.nodes if node.is_sink}
    leaves: dict[Exit, list[Leaf]] = {(node.id, None): [ends[node.uid]] for node in task.nodes if node.is_sink}
    chain = Chain(task, 0, {}, leaves, {}, show_records=False)
    return chain, ends, chain.enter(task.head.id)


def _produced(chain: Chain, ends: dict[str, End]) -> list[tuple[str, list[Any]]]:
    names = {id(end): name for name, end in ends.items()}
    return [(names[id(leaf)], batch.values) for leaf, batch in chain.produced]


def test_a_batch_runs_through_all_operators_in_one_call() -> None:
    chain, ends, enter = _chain(lambda s: s.map(lambda v: v + 1).filter(lambda v: v % 2).sink(Print(), uid="out"))
    enter(Batch([1, 2, 3, 4]))
    assert _produced(chain, ends) == [("out", [3, 5])]


def test_every_way_out_of_an_operator_gets_every_batch_in_order() -> None:
    def build(stream: Stream[int]) -> None:
        stream.map(lambda v: -v).sink(Print(), uid="negative")
        stream.sink(Print(), uid="plain")
        stream.flat_map(lambda v: [v, v]).sink(Print(), uid="twice")

    chain, ends, enter = _chain(build)
    enter(Batch([1, 2]))
    enter(Batch([3]))
    by_end: dict[str, list[list[int]]] = {}
    for name, values in _produced(chain, ends):
        by_end.setdefault(name, []).append(values)
    assert by_end == {"negative": [[-1, -2], [-3]], "plain": [[1, 2], [3]], "twice": [[1, 1, 2, 2], [3, 3]]}


def test_what_an_operator_drops_reaches_no_end() -> None:
    chain, ends, enter = _chain(lambda s: s.filter(lambda v: False).sink(Print(), uid="out"))
    enter(Batch([1, 2]))
    assert _produced(chain, ends) == []


def test_an_error_in_one_operator_leaves_what_was_produced_to_nobody() -> None:
    chain, _, enter = _chain(lambda s: s.map(lambda v: 1 // v).sink(Print(), uid="out"))
    with pytest.raises(Exception, match="ZeroDivisionError"):
        enter(Batch([1, 0]))
    assert chain.produced == []


def test_closing_closes_every_operator_even_when_one_fails_to() -> None:
    chain, _, _ = _chain(lambda s: s.map(abs, uid="a").map(abs, uid="b").map(abs, uid="c").sink(Print(), uid="out"))
    closed: list[str] = []

    def closing(name: str) -> Callable[[], None]:
        def close() -> None:
            closed.append(name)
            if name == "b":
                raise OSError("b does not close")

        return close

    for _, operator, _ in chain._steps:
        operator.close = closing(operator.context.place.uid)  # type: ignore[method-assign]
    with pytest.raises(UserFunctionError, match="b does not close"):
        chain.close()
    assert sorted(closed) == ["a", "b", "c"]
    chain.close()
