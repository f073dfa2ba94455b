"""WindowedStream: a keyed stream cut into windows, and what can be made of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from streamlet.dsl.aggregating import checked_functions, kind_of
from streamlet.dsl.naming import uid_of
from streamlet.dsl.policies import OnError, StepOptions
from streamlet.dsl.shorthands import WindowShorthands
from streamlet.elements import OutputTag
from streamlet.errors import JobDefinitionError
from streamlet.operators.aggregates.functions import AggregateFunction, Composed, names_of, schema_of_functions
from streamlet.operators.aggregates.rolling import Reduce
from streamlet.operators.operator import Operator
from streamlet.operators.user_code.misuse import check_arguments, check_methods
from streamlet.operators.windows.assigners import (
    CountWindows,
    GlobalWindows,
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    Window,
    WindowAssigner,
    WindowResult,
    milliseconds,
)
from streamlet.operators.windows.contents import Contents, Elements, Folded, WindowProcessFunction, folding_of
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.operators.windows.session import Sessions
from streamlet.operators.windows.sliding import SlidingPanes
from streamlet.operators.windows.triggered import TriggeredWindows
from streamlet.operators.windows.triggers import AtEnd, EveryRecords, Trigger, check_trigger
from streamlet.operators.windows.tumbling import Tumbling

if TYPE_CHECKING:
    from streamlet.dsl.keyed import KeyedStream
    from streamlet.dsl.stream import Stream

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)
A1 = TypeVar("A1")
A2 = TypeVar("A2")


class WindowedStream(WindowShorthands[K, T], Generic[K, T]):
    """The values of a key, window by window.  Results have the last millisecond of their window as event time.

    `on_error` says what becomes of a record for which a function raises: it is left out of its windows.  Where one
    raises for a whole window, such as `result`, that output is left out; the dead letter's value is a `WindowResult` of
    what the window holds: an accumulator (of a sliding window that cannot be merged: the list of its parts'), or the
    list of its values.  Where `on_timer` of a trigger raises, the window waits for what else puts it out; the value is
    the window, and the time that of the timer.

    >>> emitted(minutes.count())[0]
    WindowResult(key='ann', window=Window(start=0, end=60000), value=1)
    """

    def __init__(self, stream: KeyedStream[K, T], policy: WindowPolicy) -> None:
        self._stream = stream
        self._policy = policy

    def trigger(self, trigger: Trigger[T]) -> WindowedStream[K, T]:
        """Puts windows out when the trigger says so, besides their end.

        >>> [one.value for one in emitted(by_user.window(GlobalWindows()).trigger(EveryRecords(2)).count())]
        [2, 1]
        """
        check_trigger(trigger, self._line())
        check_methods(trigger, self._line())
        if isinstance(self._policy.assigner, CountWindows):
            raise self._no_choice("a trigger")
        return self._with(trigger=trigger)

    def allowed_lateness(self, lateness: timedelta) -> WindowedStream[K, T]:
        """Keeps a window for so long behind its end; each record that comes meanwhile puts it out again.

        >>> [one.value for one in emitted(minutes.allowed_lateness(timedelta(minutes=5)).count())]
        [1, 1, 1]
        """
        lateness_ms = milliseconds(lateness, "the allowed lateness", least=timedelta(0))
        if self._policy.assigner.time == "processing" or isinstance(self._policy.assigner, GlobalWindows):
            raise self._never_late("allowed_lateness")
        return self._with(lateness_ms=lateness_ms)

    def late_output(self, tag: OutputTag[T]) -> WindowedStream[K, T]:
        """Puts late records out under a tag, as they came: `result.side_output(tag)`. Else they are dropped and
        counted.

        >>> late = OutputTag[Payment]("late")
        >>> counts = minutes.late_output(late).count()
        >>> emitted(counts.side_output(late))
        []
        """
        if not isinstance(tag, OutputTag):
            raise JobDefinitionError(
                f"{self._line()}: late_output takes an OutputTag, not {tag!r:.80}",
                remedy='give a tag: LATE = OutputTag[Click]("late"); then result.side_output(LATE)',
            )
        # Records can be late for global windows: a trigger of one's own may close them.
        if self._policy.assigner.time == "processing" or isinstance(self._policy.assigner, CountWindows):
            raise self._never_late("late_output")
        return self._with(late=(tag,))

    def accumulating(self) -> WindowedStream[K, T]:
        """A window that is put out again has all its records in the result: the way it is unless told.

        >>> [one.value for one in emitted(minutes.trigger(EveryRecords(1)).accumulating().count())]
        [1, 1, 1]
        """
        if isinstance(self._policy.assigner, CountWindows):
            raise self._no_choice("accumulating()")
        return self._with(is_accumulating=True)

    def discarding(self) -> WindowedStream[K, T]:
        """A window that is put out again has only its records since the last time in the result.

        >>> every = by_user.window(GlobalWindows()).trigger(EveryRecords(1))
        >>> [one.value for one in emitted(every.discarding().count())]
        [1, 1, 1]
        """
        return self._with(is_accumulating=False)

    def reduce(
        self,
        function: Callable[[T, T], T],
        *,
        type: type[Any] | Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[WindowResult[K, T]]:
        """Emits, per key and window, what `function(so far, value)` makes of its values; one alone is its own result.

        `type` is the type of the values, by which they are stored; needed unless they are numbers or str.

        >>> whole = numbers.key_by(lambda n: n % 2).window(GlobalWindows())
        >>> [one.value for one in emitted(whole.reduce(lambda so_far, n: so_far + n))]
        [6, 4]
        """
        return self._then(
            "reduce",
            lambda: Folded(Reduce(function, type), None, Reduce.made_by),
            function,
            uid_of(uid, renamed_from),
            parallelism,
            on_error,
        )

    @overload
    def aggregate(
        self,
        one: AggregateFunction[T, Any, A1],
        /,
        *,
        result: None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[WindowResult[K, A1]]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T, Any, A1],
        /,
        *,
        result: Callable[[K, Window, A1], R],
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T, Any, A1],
        two: AggregateFunction[T, Any, A2],
        /,
        *,
        result: None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[WindowResult[K, tuple[A1, A2]]]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T, Any, A1],
        two: AggregateFunction[T, Any, A2],
        /,
        *,
        result: Callable[[K, Window, A1, A2], R],
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T, Any, Any],
        two: AggregateFunction[T, Any, Any],
        three: AggregateFunction[T, Any, Any],
        /,
        *more: AggregateFunction[T, Any, Any],
        result: None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[WindowResult[K, tuple[Any, ...]]]: ...
    @overload
    def aggregate(
        self,
        one: AggregateFunction[T, Any, Any],
        two: AggregateFunction[T, Any, Any],
        three: AggregateFunction[T, Any, Any],
        /,
        *more: AggregateFunction[T, Any, Any],
        result: Callable[..., R],
        **options: Unpack[StepOptions],
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
        **named: AggregateFunction[T, Any, Any],
    ) -> Stream[WindowResult[K, R]]: ...
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
        **named: AggregateFunction[T, Any, Any],
    ) -> Stream[WindowResult[K, dict[str, Any]]]: ...
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
        """Emits, per key and window, a `WindowResult` of the aggregate, or of a tuple of several.

        `result(key, window, *results)` makes what is emitted instead.  Functions that are given by name make a dict of
        their results, or `into(name=result, ...)`, as the value of the `WindowResult`; see `Composed`.

        >>> emitted(minutes.aggregate(Count(), result=lambda user, window, count: (user, window.start, count)))
        [('ann', 0, 1), ('bob', 0, 1), ('ann', 60000, 1)]
        """
        functions = checked_functions(functions, named, into, result, self._line())
        if result is not None:
            check_arguments(result, ["key", "window", *map(kind_of, functions)], "result=", self._line())
        made_by, schema = names_of(functions), schema_of_functions(functions)
        if named:
            (composed,) = functions
            assert isinstance(composed, Composed), "functions by name are one"
            functions, result = tuple(composed.parts.values()), partial(_finished, composed)

        def make() -> Contents:
            return Folded(folding_of(functions), result, made_by, schema)

        return self._then(
            "aggregate", make, make if result is None else result, uid_of(uid, renamed_from), parallelism, on_error
        )

    def process(
        self,
        function: WindowProcessFunction[K, T, R],
        *,
        type: type[Any] | Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Runs the user's own function on all values of a key and window; see `WindowProcessFunction`.

        `type` is the type of the values, by which they are stored; needed unless they are numbers, str or bytes.

        >>> class Users(WindowProcessFunction[str, Payment, str]):
        ...     def process(self, key, window, values, ctx):
        ...         yield f"{key} paid {len(values)} times from {window.start}"
        >>> emitted(minutes.process(Users(), type=Payment))
        ['ann paid 1 times from 0', 'bob paid 1 times from 0', 'ann paid 1 times from 60000']
        """
        if not isinstance(function, WindowProcessFunction):
            raise JobDefinitionError(
                f"{self._line()}: process takes a WindowProcessFunction, not {function!r:.80}",
                remedy="derive a class from WindowProcessFunction and give an instance",
            )
        check_methods(function, self._line())
        return self._then(
            "process",
            lambda: Elements(function, type),
            function.process,
            uid_of(uid, renamed_from),
            parallelism,
            on_error,
        )

    def _windowed(
        self,
        function: AggregateFunction[Any, Any, Any],
        *,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[WindowResult[K, Any]]:
        return self.aggregate(function, on_error=on_error, uid=uid_of(uid, renamed_from), parallelism=parallelism)

    def _then(
        self,
        kind: str,
        make: Callable[[], Contents],
        function: object,
        uid: str | None,
        parallelism: int | None,
        on_error: OnError,
    ) -> Stream[Any]:
        operator = partial(windows_of, self._policy, make)
        return self._stream._then(f"window_{kind}", operator, function, uid, parallelism, on_error)

    def _with(self, **changes: Any) -> WindowedStream[K, T]:
        return WindowedStream(self._stream, replace(self._policy, **changes))

    def _no_choice(self, what: str) -> JobDefinitionError:
        return JobDefinitionError(
            f"{self._line()}: {what} on count windows, which are put out when they are full, once",
            remedy="use GlobalWindows() with EveryRecords(n) or a trigger of your own",
        )

    def _never_late(self, what: str) -> JobDefinitionError:
        return JobDefinitionError(
            f"{self._line()}: {what} on windows for which nothing is ever late",
            remedy="leave it out, or use windows of event time",
        )

    def _line(self) -> str:
        return self._stream._job.line()


def _finished(composed: Composed[Any, Any], key: Any, window: Window, *results: Any) -> Any:
    return WindowResult(key, window, composed.finish(*results))


def windowed(stream: KeyedStream[K, T], windows: Any) -> WindowedStream[K, T]:
    """Cuts a keyed stream into windows; refuses what is no assigner."""
    if not isinstance(windows, WindowAssigner):
        raise JobDefinitionError(
            f"{stream._job.line()}: window takes windows, not {windows!r:.80}",
            remedy="give TumblingWindows(timedelta(minutes=1)), SlidingWindows(...), SessionWindows(...), "
            "CountWindows(100), GlobalWindows() or an instance of your own WindowAssigner",
        )
    check_methods(windows, stream._job.line())
    if isinstance(windows, CountWindows):
        return WindowedStream(stream, WindowPolicy(windows, EveryRecords(windows.size), is_accumulating=False))
    return WindowedStream(stream, WindowPolicy(windows))


def windows_of(policy: WindowPolicy, make: Callable[[], Contents]) -> Operator:
    """The operator of a policy over new contents."""
    return window_operator(policy, make())


def window_operator(policy: WindowPolicy, contents: Contents) -> Operator:
    """The operator that does what the policy says with the least work per record."""
    assigner, is_plain = policy.assigner, type(policy.trigger) is AtEnd
    if isinstance(assigner, SessionWindows):
        return Sessions(policy, contents)
    if is_plain and type(assigner) is TumblingWindows:
        return Tumbling(policy, contents)
    if is_plain and type(assigner) is SlidingWindows and (policy.is_accumulating or not policy.lateness_ms):
        return SlidingPanes(policy, contents)
    return TriggeredWindows(policy, contents)
