"""Job: a name, settings and a graph. Building it runs nothing; `run` does what `streamlet run` does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from streamlet.calling import calling_line
from streamlet.config import JobConfig
from streamlet.dsl.naming import uid_of
from streamlet.dsl.policies import OnError, add_dead_letter_sink, left_out
from streamlet.dsl.stream import Stream
from streamlet.errors import ConfigError, JobDefinitionError
from streamlet.graph.job_graph import Edge, JobGraph, Node
from streamlet.graph.plan import ExecutionPlan, plan
from streamlet.graph.validate import check_uid
from streamlet.operators.aggregates.identity import outline_of
from streamlet.operators.operator import Operator
from streamlet.operators.user_code.misuse import check_methods
from streamlet.operators.user_code.place import Place
from streamlet.operators.watermark_strategy import WatermarkStrategy
from streamlet.sink import Sink
from streamlet.source import Source

if TYPE_CHECKING:
    from streamlet.runtime.run.embedding import Running

T = TypeVar("T")

_LOOKED_THROUGH = ("map", "filter", "flat_map", "inspect", "sample")


class Job:
    """A stream processing job.

    `name` is its identity: checkpoints are kept under it.  Settings are those of `JobConfig`, for example
    `Job("spend", checkpoint_interval=timedelta(seconds=1), parallelism=4)`.

    >>> job = Job("spend", parallelism=4, checkpoint_interval=timedelta(seconds=5))
    >>> job.config.parallelism
    4
    """

    def __init__(self, name: str, **settings: Any) -> None:
        check_uid(name, self.line())
        self.name = name
        try:
            self.config = JobConfig.of(settings)
        except ConfigError as error:
            raise ConfigError(f"{self.line()}: {error.message}", remedy=error.remedy) from error
        self.graph = JobGraph()

    def source(
        self,
        source: Source[T],
        *,
        watermarks: WatermarkStrategy[T] | None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[T]:
        """Begins a stream with the records of a source. `watermarks` says how its event time moves on, which windows,
        timers and joins behind it need.

        `on_error` is for records for which a function of `watermarks` raises or gives no time, or whose own time is
        none (Kafka's -1): see `OnError`.  What cannot be read at all is the source's: `on_bad_record=`.

        >>> emitted(job.source(Values(["a", "b"]), uid="letters"))
        ['a', 'b']
        """
        if not isinstance(source, Source):
            raise JobDefinitionError(
                f"{self.line()}: source takes a Source, not {source!r:.80}",
                remedy="give an instance, such as KafkaSource(...), JsonLines(...) or Generator(...)",
            )
        check_methods(source, self.line())
        if watermarks is not None and not isinstance(watermarks, WatermarkStrategy):
            raise JobDefinitionError(
                f"{self.line()}: watermarks takes a WatermarkStrategy, not {watermarks!r:.80}",
                remedy="give WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=5)), or monotonic()",
            )
        node = self.add("source", source, [], uid_of(uid, renamed_from), parallelism)
        made = self.graph.nodes[node]
        made.watermarks = watermarks
        made.leaves_out, made.letters = left_out(on_error, self.line())
        add_dead_letter_sink(self, node, on_error)
        return Stream(self, node)

    def plan(self, config: JobConfig | None = None) -> ExecutionPlan:
        """Validates the job and lays it out as tasks; raises `JobDefinitionError` naming the user's line.

        >>> _ = numbers.map(lambda n: n + 1, uid="more").sink(Print(), uid="out")
        >>> len(job.plan().tasks)
        1
        """
        return plan(self.graph, config or self.config)

    def run(self, **options: Any) -> int:
        """Runs the job until it finishes, is stopped or suspends, and gives the exit code of `streamlet run`.

        Options are those of the command line: `state_dir`, `from_checkpoint`, `parallelism`, ...

        >>> _ = numbers.map(lambda n: n * n, uid="squares").sink(Print(), uid="out")
        >>> job.run(state_dir="state")
        1
        4
        9
        16
        0
        """
        from streamlet.runtime.run.job_run import run_job

        return run_job(self, **options)

    def running(self, **options: Any) -> AbstractAsyncContextManager[Running]:
        """Runs the job in a program that has an event loop: beside the body of an `async with`.

        >>> _ = numbers.map(lambda n: n * n, uid="squares").sink(Print(), uid="out")
        >>> async def program():
        ...     async with job.running(state_dir="state") as run:
        ...         return await run.finished()
        >>> import asyncio
        >>> asyncio.run(program())
        1
        4
        9
        16
        'finished'

        `finished()` waits for the end and raises the job's error, `stop()` asks for a last checkpoint and the end, and
        `status()` says what the job does.  Leaving the body stops the job and waits for it.  Several jobs may run in
        one loop.  Signals, logging (`streamlet.run` has what a run says) and garbage collection stay the program's; a
        function that blocks is not interrupted.  Options are those of `run`.
        """
        from streamlet.runtime.run.embedding import running

        return running(self, options)

    def add(
        self,
        kind: str,
        made: Source[Any] | Sink[Any] | Callable[[], Operator],
        inputs: list[Edge],
        uid: str | None,
        parallelism: int | None,
    ) -> int:
        """Adds a node and gives its id. For the DSL's own use."""
        file, line = calling_line()
        nodes = self.graph.nodes
        number = 1 + sum(1 for node in nodes if node.place.kind == kind and not node.has_own_uid)
        what = type(made).__name__ if isinstance(made, Source | Sink) else ""
        structure = self._structure(kind, what, inputs) if uid is None else uid
        check_uid(structure, f"{file}:{line}")
        place = Place(file, line, kind, str(structure) if uid is not None else self._free(structure))
        node = Node(len(nodes), place, made, inputs, parallelism, uid is not None)
        node.structure, node.numbered = str(structure), f"{kind}-{number}"
        node.renamed_from = getattr(uid, "renamed_from", None)
        nodes.append(node)
        return node.id

    def takes(self, node_id: int, key: Callable[[Any], Any]) -> None:
        """Says what a `key_by` takes from values: keyed streams are told apart by it. For the DSL's own use."""
        node = self.graph.nodes[node_id]
        if not node.has_own_uid:
            node.structure = ""
            structure = self._structure(node.place.kind, outline_of(key), node.inputs)
            node.place = msgspec.structs.replace(node.place, uid=self._free(structure))
            node.structure = structure

    def _structure(self, kind: str, what: str, inputs: list[Edge]) -> str:
        """A name by what a step is and what comes to it, never by its number or line.  Steps that only look at one
        record may come and go before it: they are looked through."""
        comes = [self._comes(edge) for edge in inputs]
        digest = hashlib.blake2b("\0".join([kind, what, *comes]).encode(), digest_size=4)
        return f"{kind}-{digest.hexdigest()}"

    def _comes(self, edge: Edge) -> str:
        node = self.graph.nodes[edge.source]
        if node.place.kind in _LOOKED_THROUGH and edge.tag is None:
            return " ".join(map(self._comes, node.inputs))
        return f"{node.structure} {edge.tag or ''}"

    def _free(self, structure: str) -> str:
        """The name itself, or with a number where another step has it too, which holds nothing by it then."""
        alike = sum(1 for node in self.graph.nodes if node.structure == structure and not node.has_own_uid)
        return f"{structure}-{alike + 1}" if alike else structure

    @staticmethod
    def line() -> str:
        """The user's line that is being executed, for messages."""
        file, line = calling_line()
        return f"{file}:{line}"
