"""One aggregate by one word: methods of KeyedStream, for the values so far, and of WindowedStream."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from streamlet.dsl.policies import StepOptions
from streamlet.operators.aggregates.collecting import Collect, Distinct, TopK
from streamlet.operators.aggregates.functions import AggregateFunction, Count, Max, Mean, Min, Sum
from streamlet.operators.windows.assigners import WindowResult

if TYPE_CHECKING:
    from streamlet.dsl.stream import Stream

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
N = TypeVar("N")
R = TypeVar("R")

Select = Callable[[T], N]
_PLAIN = int | float | str


class RunningShorthands(Generic[K, T_co]):
    """Each emits, per value, one aggregate of the key's values so far, or `result(key, aggregate)`.

    `type` is as in the function of that name, and options are those of every step: `on_error`, `uid`,
    `renamed_from`, `parallelism`.
    """

    @overload
    def count(self, *, result: None = None, **options: Unpack[StepOptions]) -> Stream[int]: ...
    @overload
    def count(self, *, result: Callable[[K, int], R], **options: Unpack[StepOptions]) -> Stream[R]: ...
    def count(self, *, result: Any = None, **options: Unpack[StepOptions]) -> Stream[Any]:
        """Emits, per value, how many the key has had: `aggregate(Count())`.

        >>> emitted(by_user.count())
        [1, 1, 2]
        """
        return self._running(Count(), result, **options)

    @overload
    def sum(
        self, select: Select[T_co, N], *, type: Any = None, result: None = None, **options: Unpack[StepOptions]
    ) -> Stream[N]: ...
    @overload
    def sum(
        self, select: Select[T_co, N], *, type: Any = None, result: Callable[[K, N], R], **options: Unpack[StepOptions]
    ) -> Stream[R]: ...
    def sum(
        self, select: Select[T_co, N], *, type: Any = None, result: Any = None, **options: Unpack[StepOptions]
    ) -> Stream[Any]:
        """Emits, per value, the sum of what `select` gave for the key: `aggregate(Sum(select))`.

        >>> emitted(by_user.sum(lambda payment: payment.amount))
        [5, 7, 14]
        """
        return self._running(Sum(select, type=type), result, **options)

    @overload
    def min(
        self, select: Select[T_co, N], *, type: Any = None, result: None = None, **options: Unpack[StepOptions]
    ) -> Stream[N]: ...
    @overload
    def min(
        self, select: Select[T_co, N], *, type: Any = None, result: Callable[[K, N], R], **options: Unpack[StepOptions]
    ) -> Stream[R]: ...
    def min(
        self, select: Select[T_co, N], *, type: Any = None, result: Any = None, **options: Unpack[StepOptions]
    ) -> Stream[Any]:
        """Emits, per value, the smallest that `select` gave for the key: `aggregate(Min(select))`.

        >>> emitted(by_user.min(lambda payment: payment.amount))
        [5, 7, 5]
        """
        return self._running(Min(select, type=type), result, **options)

    @overload
    def max(
        self, select: Select[T_co, N], *, type: Any = None, result: None = None, **options: Unpack[StepOptions]
    ) -> Stream[N]: ...
    @overload
    def max(
        self, select: Select[T_co, N], *, type: Any = None, result: Callable[[K, N], R], **options: Unpack[StepOptions]
    ) -> Stream[R]: ...
    def max(
        self, select: Select[T_co, N], *, type: Any = None, result: Any = None, **options: Unpack[StepOptions]
    ) -> Stream[Any]:
        """Emits, per value, the largest that `select` gave for the key: `aggregate(Max(select))`.

        >>> emitted(by_user.max(lambda payment: payment.amount))
        [5, 7, 9]
        """
        return self._running(Max(select, type=type), result, **options)

    @overload
    def mean(
        self, select: Select[T_co, float], *, result: None = None, **options: Unpack[StepOptions]
    ) -> Stream[float]: ...
    @overload
    def mean(
        self, select: Select[T_co, float], *, result: Callable[[K, float], R], **options: Unpack[StepOptions]
    ) -> Stream[R]: ...
    def mean(self, select: Select[T_co, float], *, result: Any = None, **options: Unpack[StepOptions]) -> Stream[Any]:
        """Emits, per value, the mean of what `select` gave for the key: `aggregate(Mean(select))`.

        >>> emitted(by_user.mean(lambda payment: payment.amount))
        [5.0, 7.0, 7.0]
        """
        return self._running(Mean(select), result, **options)

    @overload
    def top_k(
        self,
        k: int,
        by: Select[T_co, Any] | None = None,
        *,
        type: Any = _PLAIN,
        result: None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[list[T_co]]: ...
    @overload
    def top_k(
        self,
        k: int,
        by: Select[T_co, Any] | None = None,
        *,
        type: Any = _PLAIN,
        result: Callable[[K, list[T_co]], R],
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    def top_k(
        self,
        k: int,
        by: Select[T_co, Any] | None = None,
        *,
        type: Any = _PLAIN,
        result: Any = None,
        **options: Unpack[StepOptions],
    ) -> Stream[Any]:
        """Emits, per value, the `k` values of the key with the largest `by`: `aggregate(TopK(k, by))`.

        >>> emitted(numbers.key_by(lambda n: n % 2).top_k(2))
        [[1], [2], [3, 1], [4, 2]]
        """
        return self._running(TopK(k, by, type=type), result, **options)

    @overload
    def distinct(
        self,
        select: Select[T_co, Hashable] | None = None,
        *,
        type: Any = _PLAIN,
        result: None = None,
        **options: Unpack[StepOptions],
    ) -> Stream[int]: ...
    @overload
    def distinct(
        self,
        select: Select[T_co, Hashable] | None = None,
        *,
        type: Any = _PLAIN,
        result: Callable[[K, int], R],
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    def distinct(
        self,
        select: Select[T_co, Hashable] | None = None,
        *,
        type: Any = _PLAIN,
        result: Any = None,
        **options: Unpack[StepOptions],
    ) -> Stream[Any]:
        """Emits, per value, how many different values of `select` the key has had: `aggregate(Distinct(select))`.

        >>> emitted(by_user.distinct(lambda payment: payment.amount))
        [1, 1, 2]
        """
        return self._running(Distinct(select, type=type), result, **options)

    @overload
    def collect(
        self, *, limit: int | None = None, type: Any = _PLAIN, result: None = None, **options: Unpack[StepOptions]
    ) -> Stream[list[T_co]]: ...
    @overload
    def collect(
        self,
        *,
        limit: int | None = None,
        type: Any = _PLAIN,
        result: Callable[[K, list[T_co]], R],
        **options: Unpack[StepOptions],
    ) -> Stream[R]: ...
    def collect(
        self, *, limit: int | None = None, type: Any = _PLAIN, result: Any = None, **options: Unpack[StepOptions]
    ) -> Stream[Any]:
        """Emits, per value, the first `limit` (1000) values of the key: `aggregate(Collect(limit=limit))`.

        >>> emitted(numbers.key_by(lambda n: n % 2).collect(limit=10))
        [[1], [2], [1, 3], [2, 4]]
        """
        return self._running(Collect(limit=limit, type=type), result, **options)

    def _running(
        self, function: AggregateFunction[Any, Any, Any], result: Any, **options: Unpack[StepOptions]
    ) -> Stream[Any]:
        raise NotImplementedError


class WindowShorthands(Generic[K, T]):
    """Each emits, per key and window, a `WindowResult` of one aggregate.

    `type` is as in the function of that name, and options are those of every step: `on_error`, `uid`, `parallelism`.
    """

    def count(self, **options: Unpack[StepOptions]) -> Stream[WindowResult[K, int]]:
        """How many values: `aggregate(Count())`.

        >>> [(one.key, one.value) for one in emitted(minutes.count())]
        [('ann', 1), ('bob', 1), ('ann', 1)]
        """
        return self._windowed(Count(), **options)

    def sum(
        self, select: Select[T, N], *, type: Any = None, **options: Unpack[StepOptions]
    ) -> Stream[WindowResult[K, N]]:
        """The sum of what `select` gives: `aggregate(Sum(select))`.

        >>> [one.value for one in emitted(minutes.sum(lambda payment: payment.amount))]
        [5, 7, 9]
        """
        return self._windowed(Sum(select, type=type), **options)

    def min(
        self, select: Select[T, N], *, type: Any = None, **options: Unpack[StepOptions]
    ) -> Stream[WindowResult[K, N]]:
        """The smallest that `select` gives: `aggregate(Min(select))`.

        >>> [one.value for one in emitted(minutes.min(lambda payment: payment.amount))]
        [5, 7, 9]
        """
        return self._windowed(Min(select, type=type), **options)

    def max(
        self, select: Select[T, N], *, type: Any = None, **options: Unpack[StepOptions]
    ) -> Stream[WindowResult[K, N]]:
        """The largest that `select` gives: `aggregate(Max(select))`.

        >>> [one.value for one in emitted(minutes.max(lambda payment: payment.amount))]
        [5, 7, 9]
        """
        return self._windowed(Max(select, type=type), **options)

    def mean(self, select: Select[T, float], **options: Unpack[StepOptions]) -> Stream[WindowResult[K, float]]:
        """The mean of what `select` gives: `aggregate(Mean(select))`.

        >>> [one.value for one in emitted(minutes.mean(lambda payment: payment.amount))]
        [5.0, 7.0, 9.0]
        """
        return self._windowed(Mean(select), **options)

    def top_k(
        self, k: int, by: Select[T, Any] | None = None, *, type: Any = _PLAIN, **options: Unpack[StepOptions]
    ) -> Stream[WindowResult[K, list[T]]]:
        """The `k` values with the largest `by`, in that order: `aggregate(TopK(k, by))`.

        >>> largest = minutes.top_k(3, lambda payment: payment.amount, type=Payment)
        >>> [len(one.value) for one in emitted(largest)]
        [1, 1, 1]
        """
        return self._windowed(TopK(k, by, type=type), **options)

    def distinct(
        self, select: Select[T, Hashable] | None = None, *, type: Any = _PLAIN, **options: Unpack[StepOptions]
    ) -> Stream[WindowResult[K, int]]:
        """The exact number of different values of `select`: `aggregate(Distinct(select))`.

        >>> [one.value for one in emitted(minutes.distinct(lambda payment: payment.amount))]
        [1, 1, 1]
        """
        return self._windowed(Distinct(select, type=type), **options)

    def collect(
        self, *, limit: int | None = None, type: Any = _PLAIN, **options: Unpack[StepOptions]
    ) -> Stream[WindowResult[K, list[T]]]:
        """The first `limit` (1000) values: `aggregate(Collect(limit=limit))`.

        >>> [len(one.value) for one in emitted(minutes.collect(limit=10, type=Payment))]
        [1, 1, 1]
        """
        return self._windowed(Collect(limit=limit, type=type), **options)

    def _windowed(
        self, function: AggregateFunction[Any, Any, Any], **options: Unpack[StepOptions]
    ) -> Stream[WindowResult[K, Any]]:
        raise NotImplementedError
