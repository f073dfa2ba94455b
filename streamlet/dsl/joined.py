"""Joins of two keyed streams: methods of KeyedStream."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, overload

from streamlet.dsl.naming import uid_of
from streamlet.dsl.policies import OnError, StepOptions, add_dead_letter_sink, guarded
from streamlet.dsl.windowed import windows_of
from streamlet.elements import OutputTag
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Edge
from streamlet.operators.functions import is_asynchronous
from streamlet.operators.joins.as_of import AsOfJoin
from streamlet.operators.joins.interval import IntervalJoin
from streamlet.operators.joins.operator import HOWS, How, Join
from streamlet.operators.joins.window import BothSides
from streamlet.operators.operator import Operator
from streamlet.operators.user_code.misuse import check_methods
from streamlet.operators.windows.assigners import GlobalWindows, Window, WindowAssigner, milliseconds
from streamlet.operators.windows.operator import WindowPolicy

if TYPE_CHECKING:
    from streamlet.dsl.job import Job
    from streamlet.dsl.keyed import KeyedStream
    from streamlet.dsl.stream import Stream

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)


class Joins(Generic[K, T_co]):
    """What a keyed stream can be joined by. Both streams are of one job and have keys of one type.

    `left_type` and `right_type` are the types of the values, by which they are stored; needed unless they are numbers,
    str or bytes.  A record that is late joins nothing: it goes to the side output `left_late` or `right_late`, or is
    dropped and counted.  Late is one whose time is not after the watermark, but for windows, which say it themselves.

    `on_error` says what becomes of a pair for which `function` raises; the value of its dead letter is `(left, right)`.
    Both have met then, and meet others as if nothing had happened.  A value that is not of the declared type is a
    letter of its own.
    """

    _job: Job

    @overload
    def interval_join(
        self,
        right: KeyedStream[K, U],
        function: Callable[[T_co, U], R],
        *,
        lower: timedelta,
        upper: timedelta,
        how: Literal["inner"] = "inner",
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def interval_join(
        self,
        right: KeyedStream[K, U],
        function: Callable[[T_co, U | None], R],
        *,
        lower: timedelta,
        upper: timedelta,
        how: Literal["left"],
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def interval_join(
        self,
        right: KeyedStream[K, U],
        function: Callable[[T_co | None, U], R],
        *,
        lower: timedelta,
        upper: timedelta,
        how: Literal["right"],
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def interval_join(
        self,
        right: KeyedStream[K, U],
        function: Callable[[T_co | None, U | None], R],
        *,
        lower: timedelta,
        upper: timedelta,
        how: Literal["full"],
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    def interval_join(
        self,
        right: KeyedStream[K, Any],
        function: Callable[..., R],
        *,
        lower: timedelta,
        upper: timedelta,
        how: How = "inner",
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Emits `function(left, right)` for each two values of a key whose times are near each other: that of `right`
        from `lower` to `upper` after that of `left`, both included; a negative time means before.

        A pair is put out at once, with the later time of both.  An outer join (`how`) also gives each value without
        a partner, once, with None for the other, when the watermark says that none can come; its time is then the last
        one at which a partner could have come.  Rows are kept until that moment and no longer.

        >>> emitted(by_user.interval_join(
        ...     refunds, lambda payment, refund: (payment.amount, refund.at - payment.at),
        ...     lower=timedelta(0), upper=timedelta(seconds=10), left_type=Payment, right_type=Payment,
        ... ))
        [(5, 2000)]
        """
        lowest = milliseconds(lower, "lower of interval_join", least=timedelta.min)
        highest = milliseconds(upper, "upper of interval_join", least=timedelta.min)
        if lowest > highest:
            raise JobDefinitionError(
                f"{self._job.line()}: interval_join from {lower} to {upper} holds no time",
                remedy="make lower at most upper: lower=-timedelta(minutes=5), upper=timedelta(minutes=5)",
            )
        join = Join(function, how, (left_type, right_type), (left_late, right_late))
        make = partial(IntervalJoin, join, lowest, highest)
        return self._join("interval_join", right, join, make, uid_of(uid, renamed_from), parallelism, on_error)

    @overload
    def as_of_join(
        self,
        right: KeyedStream[K, U],
        function: Callable[[T_co, U], R],
        *,
        tolerance: timedelta | None = None,
        how: Literal["inner"] = "inner",
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def as_of_join(
        self,
        right: KeyedStream[K, U],
        function: Callable[[T_co, U | None], R],
        *,
        tolerance: timedelta | None = None,
        how: Literal["left"],
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    def as_of_join(
        self,
        right: KeyedStream[K, Any],
        function: Callable[..., R],
        *,
        tolerance: timedelta | None = None,
        how: Literal["inner", "left"] = "inner",
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Emits `function(left, version)` for each value, where `right` is a table of versions: the last one of the key
        whose time is not after the value's, and at most `tolerance` before it.

        Each value waits until the watermark has come to its time, and keeps that time.  With `how="left"` it comes out
        with None where there is no such version.  The latest version of a key is kept for ever, unless there is a
        tolerance; older ones only as long as they are needed.

        >>> emitted(by_user.as_of_join(
        ...     refunds, lambda payment, refund: (payment.amount, refund.amount), left_type=Payment, right_type=Payment,
        ... ))
        [(9, 5)]
        """
        age = None
        if tolerance is not None:
            age = milliseconds(tolerance, "tolerance of as_of_join", least=timedelta(0))
        join = Join(function, how, (left_type, right_type), (left_late, right_late))
        if how not in ("inner", "left"):
            raise JobDefinitionError(
                f"{self._job.line()}: as_of_join with how={how!r:.80}", remedy='give how="inner" or how="left"'
            )
        return self._join(
            "as_of_join", right, join, partial(AsOfJoin, join, age), uid_of(uid, renamed_from), parallelism, on_error
        )

    @overload
    def window_join(
        self,
        right: KeyedStream[K, U],
        windows: WindowAssigner[Any],
        function: Callable[[T_co, U, Window], R],
        *,
        how: Literal["inner"] = "inner",
        allowed_lateness: timedelta = timedelta(0),
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def window_join(
        self,
        right: KeyedStream[K, U],
        windows: WindowAssigner[Any],
        function: Callable[[T_co, U | None, Window], R],
        *,
        how: Literal["left"],
        allowed_lateness: timedelta = timedelta(0),
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def window_join(
        self,
        right: KeyedStream[K, U],
        windows: WindowAssigner[Any],
        function: Callable[[T_co | None, U, Window], R],
        *,
        how: Literal["right"],
        allowed_lateness: timedelta = timedelta(0),
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    @overload
    def window_join(
        self,
        right: KeyedStream[K, U],
        windows: WindowAssigner[Any],
        function: Callable[[T_co | None, U | None, Window], R],
        *,
        how: Literal["full"],
        allowed_lateness: timedelta = timedelta(0),
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    def window_join(
        self,
        right: KeyedStream[K, Any],
        windows: WindowAssigner[Any],
        function: Callable[..., R],
        *,
        how: How = "inner",
        allowed_lateness: timedelta = timedelta(0),
        left_type: Any = Any,
        right_type: Any = Any,
        left_late: OutputTag[Any] | None = None,
        right_late: OutputTag[Any] | None = None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Emits `function(left, right, window)` for each two values of a key that lie in one window, when it ends, with
        the last millisecond of the window as time: tumbling, sliding, session windows, or your own.

        An outer join (`how`) also gives each value whose window has none of the other side, with None for it.  Values
        are kept until their window closes.  That is `allowed_lateness` behind its end; meanwhile each record that comes
        puts the window out again, whole.  A record whose windows have all closed is late.

        >>> emitted(
        ...     by_user.window_join(
        ...         refunds, TumblingWindows(timedelta(minutes=1)), lambda payment, refund, window: payment.at,
        ...         left_type=Payment, right_type=Payment,
        ...     )
        ... )
        [1000]
        """
        line = self._job.line()
        if not isinstance(windows, WindowAssigner) or isinstance(windows, GlobalWindows):
            raise JobDefinitionError(
                f"{line}: window_join takes windows of time, not {windows!r:.80}",
                remedy="give TumblingWindows(timedelta(minutes=1)), SlidingWindows(...), SessionWindows(...), or an "
                "instance of your own WindowAssigner",
            )
        check_methods(windows, line)
        lateness_ms = milliseconds(allowed_lateness, "allowed_lateness of window_join", least=timedelta(0))
        if windows.time == "processing" and (lateness_ms or left_late is not None or right_late is not None):
            raise JobDefinitionError(
                f"{line}: window_join with allowed_lateness, left_late or right_late, by processing time, for which "
                "nothing is ever late",
                remedy="leave them out, or use windows of event time",
            )
        join = Join(function, how, (left_type, right_type), (left_late, right_late))
        policy = WindowPolicy(windows, lateness_ms=lateness_ms, late=join.late)
        make = partial(windows_of, policy, partial(BothSides, join))
        return self._join("window_join", right, join, make, uid_of(uid, renamed_from), parallelism, on_error)

    def _edge(self) -> Edge:
        raise NotImplementedError

    def _join(
        self,
        kind: str,
        right: object,
        join: Join,
        make: Callable[[], Operator],
        uid: str | None,
        parallelism: int | None,
        on_error: OnError,
    ) -> Stream[Any]:
        from streamlet.dsl.stream import Stream

        job = self._job
        if not isinstance(right, Joins) or right._job is not job:
            raise JobDefinitionError(
                f"{job.line()}: {kind} takes a keyed stream of the same job, not {right!r:.80}",
                remedy=f"write left.{kind}(right.key_by(lambda value: ...), ...), with keys of the same type",
            )
        _check(kind, join, job.line())
        node = job.add(kind, guarded(make, on_error, job.line()), [self._edge(), right._edge()], uid, parallelism)
        add_dead_letter_sink(job, node, on_error)
        return Stream(job, node)


def _check(kind: str, join: Join, line: str) -> None:
    if not callable(join.function) or is_asynchronous(join.function):
        raise JobDefinitionError(
            f"{line}: {kind} takes a plain function of left and right, not {join.function!r:.80}",
            remedy=f"give it after the stream: left.{kind}(right, lambda one, other: (one, other), ...)",
        )
    if join.how not in HOWS:
        raise JobDefinitionError(
            f"{line}: {kind} with how={join.how!r:.80}", remedy='give how="inner", "left", "right" or "full"'
        )
    for tag in join.late:
        if tag is not None and not isinstance(tag, OutputTag):
            raise JobDefinitionError(
                f"{line}: left_late and right_late take an OutputTag, not {tag!r:.80}",
                remedy='give a tag: LATE = OutputTag[Order]("late"); then joined.side_output(LATE)',
            )
