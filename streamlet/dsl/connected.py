"""Two streams that one process function handles together."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from streamlet.dsl.job import Job
from streamlet.dsl.keyed import KeyedStream
from streamlet.dsl.naming import uid_of
from streamlet.dsl.policies import OnError, add_dead_letter_sink, guarded
from streamlet.dsl.stream import Stream
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Edge, Routing
from streamlet.operators.connected import KeyedBroadcastProcess, KeyedCoProcess
from streamlet.operators.operator import Operator
from streamlet.operators.process_function import KeyedBroadcastProcessFunction, KeyedCoProcessFunction
from streamlet.operators.stateless import Union
from streamlet.operators.user_code.misuse import check_process_function

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")


class ConnectedStreams(Generic[K, A, B]):
    """Two keyed streams of the same key: records of one key meet in one subtask.

    >>> connected = by_user.connect(refunds)
    """

    def __init__(self, first: KeyedStream[K, A], second: KeyedStream[K, B]) -> None:
        job = first._job
        if not isinstance(second, KeyedStream) or second._job is not job:
            raise JobDefinitionError(
                f"{job.line()}: connect takes a keyed stream of the same job, not {second!r:.80}",
                remedy="write keyed.connect(other.key_by(lambda value: ...)), with keys of the same type",
            )
        self._first = first
        self._second = second

    def process(
        self,
        function: KeyedCoProcessFunction[K, A, B, R],
        *,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Runs the user's own function over both, with the state and timers of their common key.

        >>> class Sides(KeyedCoProcessFunction[str, Payment, Payment, str]):
        ...     def process_element1(self, value, ctx):
        ...         yield f"{ctx.key} paid {value.amount}"
        ...     def process_element2(self, value, ctx):
        ...         yield f"{ctx.key} got {value.amount} back"
        >>> sorted(emitted(by_user.connect(refunds).process(Sides())))
        ['ann got 5 back', 'ann paid 5', 'ann paid 9', 'bob paid 7']
        """
        edges = [self._first._edge(), self._second._edge()]
        make = _maker(KeyedCoProcess, KeyedCoProcessFunction, function, self._first)
        check_process_function(function, ("process_element1", "process_element2"), self._first._job.line())
        return _added(self._first._job, make, edges, uid_of(uid, renamed_from), parallelism, on_error)


class BroadcastConnectedStreams(Generic[K, A, B]):
    """A keyed stream, and one whose elements every subtask gets, in one order.

    >>> connected = by_user.connect_broadcast(numbers)
    """

    def __init__(self, keyed: KeyedStream[K, A], broadcast: Stream[B]) -> None:
        job = keyed._job
        if not isinstance(broadcast, Stream) or broadcast._job is not job:
            raise JobDefinitionError(
                f"{job.line()}: connect_broadcast takes a stream of the same job, not {broadcast!r:.80}",
                remedy="write keyed.connect_broadcast(rules)",
            )
        self._keyed = keyed
        self._broadcast = broadcast

    def process(
        self,
        function: KeyedBroadcastProcessFunction[K, A, B, R],
        *,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Runs the user's own function over both; see `KeyedBroadcastProcessFunction`.  Under `on_error` an element
        for which it raises changes no table, and the first subtask alone tells of it.

        >>> class Limited(KeyedBroadcastProcessFunction[str, Payment, int, str]):
        ...     limits = BroadcastState(str, int)
        ...     def process_element(self, value, ctx):
        ...         if value.amount > self.limits.get("limit", 0):
        ...             yield ctx.key
        ...     def process_broadcast_element(self, value, ctx):
        ...         self.limits.put("limit", value)
        >>> sorted(emitted(by_user.connect_broadcast(numbers).process(Limited())))
        ['ann', 'ann', 'bob']
        """
        make = _maker(KeyedBroadcastProcess, KeyedBroadcastProcessFunction, function, self._keyed)
        job = self._keyed._job
        check_process_function(function, ("process_element", "process_broadcast_element"), job.line())
        # Through one subtask, so that all receivers get one order, and their tables stay the same.
        forward = Edge(self._broadcast._node, Routing.FORWARD, self._broadcast._tag)
        funnel = job.add("broadcast", Union, [forward], None, 1)
        edges = [self._keyed._edge(), Edge(funnel, Routing.BROADCAST)]
        return _added(job, make, edges, uid_of(uid, renamed_from), parallelism, on_error)


def _added(
    job: Job,
    make: Callable[[], Operator],
    edges: list[Edge],
    uid: str | None,
    parallelism: int | None,
    on_error: OnError,
) -> Stream[Any]:
    node = job.add("process", guarded(make, on_error, job.line()), edges, uid, parallelism)
    add_dead_letter_sink(job, node, on_error)
    return Stream(job, node)


def _maker(
    operator: Callable[[Any], Operator], kind: type[Any], function: object, stream: Stream[Any]
) -> Callable[[], Operator]:
    if not isinstance(function, kind):
        raise JobDefinitionError(
            f"{stream._job.line()}: process takes a {kind.__name__} here, not {function!r:.80}",
            remedy=f"derive a class from {kind.__name__} and give an instance",
        )
    return lambda: operator(function)
