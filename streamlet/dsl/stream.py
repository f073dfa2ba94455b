"""Stream and KeyedStream: the handles by which a user builds a job. Calling a method adds a node and runs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from streamlet.dsl.asynchronous import asynchronous, is_asynchronous
from streamlet.dsl.windowed import WindowedStream, windowed
from streamlet.elements import OutputTag
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Edge, Routing
from streamlet.operators.aggregates import AggregateFunction
from streamlet.operators.map_async import CallOptions, Results, filtered, flattened, mapped
from streamlet.operators.operator import Operator
from streamlet.operators.process import KeyedProcess
from streamlet.operators.process_function import KeyedProcessFunction
from streamlet.operators.retry import Retry
from streamlet.operators.rolling import Aggregate, AggregateSeveral, Reduce
from streamlet.operators.stateless import Filter, FlatMap, KeyBy, Map, Union
from streamlet.operators.windows import WindowAssigner
from streamlet.sink import Sink

if TYPE_CHECKING:
    from streamlet.dsl.job import Job

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
A1 = TypeVar("A1")
A2 = TypeVar("A2")


class Stream(Generic[T_co]):
    """Records of type T on their way through the job.

    `uid` names an operator for ever: its state is found by it after the job file was changed.  Without one a stable
    name is derived from the operator's place in the graph.  `parallelism` is the number of its subtasks.
    """

    def __init__(self, job: Job, node: int, tag: str | None = None) -> None:
        self._job = job
        self._node = node
        self._tag = tag

    def side_output(self, tag: OutputTag[R]) -> Stream[R]:
        """The records that the operator of this stream puts out under `tag`; empty when it never does.

        What is put out under a tag that nobody asks for is dropped silently.
        """
        if not isinstance(tag, OutputTag) or self._tag is not None or self._job.graph.nodes[self._node].is_source:
            raise JobDefinitionError(
                f"{self._job.line()}: side_output({tag!r:.80}) is not a side output of {self._operator()}",
                remedy="ask the stream that the operator itself gave, by an OutputTag: "
                'stream = keyed.process(...); late = stream.side_output(OutputTag[Click]("late"))',
            )
        return Stream(self._job, self._node, tag.name)

    @overload
    def map(
        self, function: Callable[[T_co], Awaitable[R]], *, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[R]: ...
    @overload
    def map(
        self, function: Callable[[T_co], R], *, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[R]: ...
    def map(
        self, function: Callable[[T_co], Any], *, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[Any]:
        """Emits `function(value)` for each value; made by `async def` it is called as `map_async` does."""
        if is_asynchronous(function):
            return self._call("map", function, mapped, CallOptions(), uid, parallelism)
        return self._then("map", lambda: Map(function), function, uid, parallelism)

    def map_async(
        self,
        function: Callable[[T_co], Awaitable[R]],
        *,
        ordered: bool = True,
        capacity: int = 100,
        timeout: timedelta | None = None,
        on_timeout: Callable[[T_co], R] | None = None,
        retry: Retry | None = None,
        type: type[Any] | Any = Any,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Emits `await function(value)` for each value, with up to `capacity` calls at once in each subtask.

        Results come in the order of the values, or, not `ordered`, as they are there; never over a watermark.  A call
        that takes longer than `timeout` fails, or gives `on_timeout(value)`; one that fails is made again as `retry`
        says, and fails the job in the end.  Values in flight are in the checkpoint, so they are of the declared `type`,
        by default that of the function's annotation, or else None, bool, int, float, str, bytes, lists and dicts of
        these.  A restored value is called again: what the function does outside of the job may happen twice.
        """
        options = CallOptions(ordered, capacity, timeout, on_timeout, retry, type)
        return self._call("map_async", function, mapped, options, uid, parallelism)

    def filter(
        self, function: Callable[[T_co], object], *, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[T_co]:
        """Emits the values for which `function` is true; made by `async def` it is called as `map_async` does."""
        if is_asynchronous(function):
            return self._call("filter", function, filtered, CallOptions(), uid, parallelism)
        return self._then("filter", lambda: Filter(function), function, uid, parallelism)

    @overload
    def flat_map(
        self,
        function: Callable[[T_co], Awaitable[Iterable[R]]],
        *,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]: ...
    @overload
    def flat_map(
        self, function: Callable[[T_co], Iterable[R]], *, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[R]: ...
    def flat_map(
        self, function: Callable[[T_co], Any], *, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[Any]:
        """Emits everything that `function(value)` gives, in order; it may be a generator, or made by `async def`, which
        is called as `map_async` does."""
        if is_asynchronous(function):
            return self._call("flat_map", function, flattened, CallOptions(), uid, parallelism)
        return self._then("flat_map", lambda: FlatMap(function), function, uid, parallelism)

    def key_by(self, function: Callable[[T_co], K], *, uid: str | None = None) -> KeyedStream[K, T_co]:
        """Sends all values with the same key to the same subtask, which has the key's state.

        A key is a str, bytes, int, bool, or a tuple or frozen struct of these, of one type for the whole stream.
        """
        keyed = self._then("key_by", lambda: KeyBy(function), function, uid, None)
        return KeyedStream(self._job, keyed._node)

    def union(self, *others: Stream[T_co], uid: str | None = None, parallelism: int | None = None) -> Stream[T_co]:
        """Emits the values of all streams, each stream's in its order."""
        for other in others:
            if not isinstance(other, Stream) or other._job is not self._job:
                raise JobDefinitionError(
                    f"{self._job.line()}: union takes streams of the same job, not {other!r:.80}",
                    remedy="build both streams from one Job",
                )
        edges = [Edge(stream._node, Routing.FORWARD, stream._tag) for stream in (self, *others)]
        return Stream(self._job, self._job.add("union", Union, edges, uid, parallelism))

    def sink(self, sink: Sink[Any], *, uid: str | None = None, parallelism: int | None = None) -> None:
        """Writes the values to a sink: the end of this stream."""
        if not isinstance(sink, Sink):
            raise JobDefinitionError(
                f"{self._job.line()}: sink takes a Sink, not {sink!r:.80}",
                remedy="give an instance, such as KafkaSink(...), FileSink(...) or Print()",
            )
        self._job.add("sink", sink, [self._edge()], uid, parallelism)

    _routing = Routing.FORWARD

    def _edge(self) -> Edge:
        return Edge(self._node, self._routing, self._tag)

    def _operator(self) -> str:
        place = self._job.graph.nodes[self._node].place.operator
        return place if self._tag is None else f"the side output {self._tag!r} of {place}"

    def _then(
        self, kind: str, make: Callable[[], Operator], function: object, uid: str | None, parallelism: int | None
    ) -> Stream[Any]:
        if not callable(function):
            raise JobDefinitionError(
                f"{self._job.line()}: {kind} takes a function, not {function!r:.80}",
                remedy="give a function or a lambda",
            )
        if is_asynchronous(function):
            raise JobDefinitionError(
                f"{self._job.line()}: {kind} takes a plain function, not an async one",
                remedy="call asynchronous services in a map_async, filter or flat_map before it",
            )
        return Stream(self._job, self._job.add(kind, make, [self._edge()], uid, parallelism))

    def _call(
        self,
        kind: str,
        function: Callable[[Any], Any],
        results: Results,
        options: CallOptions,
        uid: str | None,
        parallelism: int | None,
    ) -> Stream[Any]:
        make = asynchronous(kind, function, results, options, self._job.line())
        return Stream(self._job, self._job.add(kind, make, [self._edge()], uid, parallelism))


class KeyedStream(Stream[T_co], Generic[K, T_co]):
    """Values with a key each. What map, filter and flat_map give is no longer keyed; sinks see the key."""

    _routing = Routing.HASH

    def window(self, windows: WindowAssigner[T_co]) -> WindowedStream[K, T_co]:
        """Cuts the values of each key into windows: `TumblingWindows`, `SlidingWindows`, `SessionWindows`,
        `CountWindows`, `GlobalWindows`, or your own `WindowAssigner`."""
        return windowed(self, windows)

    def reduce(
        self,
        function: Callable[[T_co, T_co], T_co],
        *,
        type: type[Any] | Any = Any,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[T_co]:
        """Emits, per value, `function(last result of the key, value)`; a key's first value as it is.

        `type` is the type of the values, by which results are stored; needed unless they are numbers, str or bytes.
        """
        return self._then("reduce", lambda: Reduce(function, type), function, uid, parallelism)

    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, A1],
        /,
        *,
        result: None = None,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[A1]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, A1],
        /,
        *,
        result: Callable[[K, A1], R],
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, A1],
        two: AggregateFunction[T_co, Any, A2],
        /,
        *,
        result: None = None,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[tuple[A1, A2]]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, A1],
        two: AggregateFunction[T_co, Any, A2],
        /,
        *,
        result: Callable[[K, A1, A2], R],
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, Any],
        two: AggregateFunction[T_co, Any, Any],
        three: AggregateFunction[T_co, Any, Any],
        /,
        *more: AggregateFunction[T_co, Any, Any],
        result: Callable[..., R],
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]: ...
    def aggregate(
        self,
        *functions: AggregateFunction[Any, Any, Any],
        result: Callable[..., Any] | None = None,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[Any]:
        """Emits, per value, the aggregate of the key's values so far: one result, or a tuple of several.

        `result(key, *results)` makes what is emitted instead.
        """
        for function in functions:
            if not isinstance(function, AggregateFunction):
                raise JobDefinitionError(
                    f"{self._job.line()}: aggregate takes aggregate functions, not {function!r:.80}",
                    remedy="give instances: Sum(...), Count(), Min(...), Max(...), Mean(...) or your AggregateFunction",
                )
        if not functions:
            raise JobDefinitionError(f"{self._job.line()}: aggregate needs a function", remedy="give Count(), Sum(...)")

        def make() -> Operator:
            if len(functions) == 1:
                return Aggregate(functions[0], result)
            return AggregateSeveral(functions, result)

        return self._then("aggregate", make, result or make, uid, parallelism)

    def process(
        self,
        function: KeyedProcessFunction[K, T_co, R],
        *,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Runs the user's own function with keyed state and timers; see `KeyedProcessFunction`."""
        if not isinstance(function, KeyedProcessFunction):
            raise JobDefinitionError(
                f"{self._job.line()}: process takes a KeyedProcessFunction, not {function!r:.80}",
                remedy="derive a class from KeyedProcessFunction and give an instance",
            )
        return self._then("process", lambda: KeyedProcess(function), function.process_element, uid, parallelism)
