"""KeyedStream: values with a key each, and what can be made of all values of a key."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from streamlet.dsl.aggregating import checked_functions, kind_of
from streamlet.dsl.joined import Joins
from streamlet.dsl.naming import uid_of
from streamlet.dsl.policies import OnError
from streamlet.dsl.shorthands import RunningShorthands
from streamlet.dsl.stream import Stream
from streamlet.dsl.windowed import WindowedStream, windowed
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Routing
from streamlet.operators.aggregates.functions import AggregateFunction
from streamlet.operators.aggregates.rolling import Reduce, aggregating
from streamlet.operators.built_in import batching
from streamlet.operators.process import KeyedProcess
from streamlet.operators.process_function import KeyedProcessFunction
from streamlet.operators.user_code.misuse import check_arguments, check_process_function
from streamlet.operators.windows.assigners import WindowAssigner

if TYPE_CHECKING:
    from streamlet.dsl.connected import BroadcastConnectedStreams, ConnectedStreams

T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
A1 = TypeVar("A1")
A2 = TypeVar("A2")


class KeyedStream(Stream[T_co], RunningShorthands[K, T_co], Joins[K, T_co], Generic[K, T_co]):
    """Values with a key each. What map, filter and flat_map give is no longer keyed; sinks see the key.

    >>> emitted(by_user.map(lambda payment: payment.amount))
    [5, 7, 9]
    """

    _routing = Routing.HASH

    def window(self, windows: WindowAssigner[T_co]) -> WindowedStream[K, T_co]:
        """Cuts the values of each key into windows: `TumblingWindows`, `SlidingWindows`, `SessionWindows`,
        `CountWindows`, `GlobalWindows`, or your own `WindowAssigner`.

        >>> hours = by_user.window(TumblingWindows(timedelta(hours=1)))
        >>> [(one.key, one.value) for one in emitted(hours.sum(lambda payment: payment.amount))]
        [('ann', 14), ('bob', 7)]
        """
        return windowed(self, windows)

    def reduce(
        self,
        function: Callable[[T_co, T_co], T_co],
        *,
        type: type[Any] | Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[T_co]:
        """Emits, per value, `function(last result of the key, value)`; a key's first value as it is.

        `type` is the type of the values, by which results are stored; needed unless they are numbers, str or bytes.

        >>> emitted(numbers.key_by(lambda n: n % 2).reduce(lambda so_far, n: so_far + n))
        [1, 2, 4, 6]
        """
        return self._then(
            "reduce", lambda: Reduce(function, type), function, uid_of(uid, renamed_from), parallelism, on_error
        )

    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, A1],
        /,
        *,
        result: None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[A1]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, A1],
        /,
        *,
        result: Callable[[K, A1], R],
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
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
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
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
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
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
        result: None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[tuple[Any, ...]]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T_co, Any, Any],
        two: AggregateFunction[T_co, Any, Any],
        three: AggregateFunction[T_co, Any, Any],
        /,
        *more: AggregateFunction[T_co, Any, Any],
        result: Callable[..., R],
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]: ...
    @overload
    def aggregate(
        self,
        *,
        result: None = None,
        into: Callable[..., R],
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
        **named: AggregateFunction[T_co, Any, Any],
    ) -> Stream[R]: ...
    @overload
    def aggregate(
        self,
        *,
        result: None = None,
        into: None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
        **named: AggregateFunction[T_co, Any, Any],
    ) -> Stream[dict[str, Any]]: ...
    def aggregate(
        self,
        *functions: AggregateFunction[Any, Any, Any],
        result: Callable[..., Any] | None = None,
        into: Callable[..., Any] | None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
        **named: AggregateFunction[Any, Any, Any],
    ) -> Stream[Any]:
        """Emits, per value, the aggregate of the key's values so far: one result, or a tuple of several.

        `result(key, *results)` makes what is emitted instead.  Functions that are given by name make a dict of their
        results, or `into(name=result, ...)`; see `Composed`.

        >>> emitted(by_user.aggregate(total=Sum(lambda payment: payment.amount), payments=Count()))
        [{'total': 5, 'payments': 1}, {'total': 7, 'payments': 1}, {'total': 14, 'payments': 2}]
        """
        functions = checked_functions(functions, named, into, result, self._job.line())
        if result is not None:
            check_arguments(result, ["key", *map(kind_of, functions)], "result=", self._job.line())
        make = partial(aggregating, functions, result)
        return self._then(
            "aggregate", make, make if result is None else result, uid_of(uid, renamed_from), parallelism, on_error
        )

    def process(
        self,
        function: KeyedProcessFunction[K, T_co, R],
        *,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Runs the user's own function with keyed state and timers; see `KeyedProcessFunction`.

        >>> class Growth(KeyedProcessFunction[str, Payment, int]):
        ...     last = ValueState(int)
        ...     def process_element(self, value, ctx):
        ...         yield value.amount - (self.last.value() or 0)
        ...         self.last.update(value.amount)
        >>> emitted(by_user.process(Growth()))
        [5, 7, 4]
        """
        if not isinstance(function, KeyedProcessFunction):
            raise JobDefinitionError(
                f"{self._job.line()}: process takes a KeyedProcessFunction, not {function!r:.80}",
                remedy="derive a class from KeyedProcessFunction and give an instance",
            )
        check_process_function(function, ("process_element",), self._job.line())
        return self._then(
            "process",
            lambda: KeyedProcess(function),
            function.process_element,
            uid_of(uid, renamed_from),
            parallelism,
            on_error,
        )

    def batch(
        self,
        size: int,
        *,
        within: timedelta,
        type: type[Any] | Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[list[T_co]]:
        """Emits a key's values as lists of `size`; a shorter one when its first value has waited for `within` by the
        wall clock, and at the end of the input.  A list has the event time of the value that filled it, or the time
        when it had to go.

        `type` is the type of the values, by which they are stored; needed unless they are numbers, str or bytes.

        >>> emitted(numbers.key_by(lambda n: n % 2).batch(2, within=timedelta(minutes=1)))
        [[1, 3], [2, 4]]
        """
        function = self._checked(lambda: batching(size, within, type))
        return self.process(function, on_error=on_error, uid=uid_of(uid, renamed_from), parallelism=parallelism)

    def _running(
        self,
        function: AggregateFunction[Any, Any, Any],
        result: Any,
        *,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[Any]:
        return self.aggregate(
            function, result=result, on_error=on_error, uid=uid_of(uid, renamed_from), parallelism=parallelism
        )

    def connect(self, other: KeyedStream[K, R]) -> ConnectedStreams[K, T_co, R]:
        """Both streams for one `KeyedCoProcessFunction`: `.process(function)`. Their keys must be of one type.

        >>> class Sides(KeyedCoProcessFunction[str, Payment, Payment, str]):
        ...     def process_element1(self, value, ctx):
        ...         yield f"{ctx.key} paid {value.amount}"
        ...     def process_element2(self, value, ctx):
        ...         yield f"{ctx.key} got {value.amount} back"
        >>> sorted(emitted(by_user.connect(refunds).process(Sides())))
        ['ann got 5 back', 'ann paid 5', 'ann paid 9', 'bob paid 7']
        """
        from streamlet.dsl.connected import ConnectedStreams

        return ConnectedStreams(self, other)

    def connect_broadcast(self, stream: Stream[R]) -> BroadcastConnectedStreams[K, T_co, R]:
        """This stream, and another one of which every subtask gets everything, for one
        `KeyedBroadcastProcessFunction`: `.process(function)`. For streams of a low rate, such as rules.

        >>> connected = by_user.connect_broadcast(numbers)
        """
        from streamlet.dsl.connected import BroadcastConnectedStreams

        return BroadcastConnectedStreams(self, stream)
