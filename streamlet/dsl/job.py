"""Job: a name, settings and a graph. Building it runs nothing; `run` does what `streamlet run` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from streamlet.calling import calling_line
from streamlet.config import JobConfig
from streamlet.dsl.policies import OnError, add_dead_letter_sink, left_out
from streamlet.dsl.stream import Stream
from streamlet.errors import ConfigError, JobDefinitionError
from streamlet.graph.job_graph import Edge, JobGraph, Node
from streamlet.graph.plan import ExecutionPlan, plan
from streamlet.graph.validate import check_uid
from streamlet.operators.operator import Operator
from streamlet.operators.user_code.misuse import check_methods
from streamlet.operators.user_code.place import Place
from streamlet.operators.watermark_strategy import WatermarkStrategy
from streamlet.sink import Sink
from streamlet.source import Source

T = TypeVar("T")


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
        node = self.add("source", source, [], uid, parallelism)
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
        own = uid is not None
        if uid is None:
            uid = self._derived_uid(kind, inputs)
        check_uid(uid, f"{file}:{line}")
        node = Node(len(self.graph.nodes), Place(file, line, kind, uid), made, inputs, parallelism, own)
        self.graph.nodes.append(node)
        return node.id

    def _derived_uid(self, kind: str, inputs: list[Edge]) -> str:
        """A name from the place in the graph: it stays while nothing of the same kind is added before it."""
        same = sum(1 for node in self.graph.nodes if node.place.kind == kind and not node.has_own_uid)
        return f"{kind}-{same + 1}"

    @staticmethod
    def line() -> str:
        """The user's line that is being executed, for messages."""
        file, line = calling_line()
        return f"{file}:{line}"
