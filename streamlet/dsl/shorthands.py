"""One aggregate per window by one word: methods of WindowedStream."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streamlet.operators.aggregates import AggregateFunction, Count, Max, Mean, Min, Sum
from streamlet.operators.collecting import Collect, Distinct, TopK
from streamlet.operators.windows import WindowResult

if TYPE_CHECKING:
    from streamlet.dsl.stream import Stream

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
N = TypeVar("N")


class WindowShorthands(Generic[K, T]):
    """Each emits, per key and window, a `WindowResult` of one aggregate. `type` is as in the function of that name."""

    def count(self, *, uid: str | None = None, parallelism: int | None = None) -> Stream[WindowResult[K, int]]:
        """How many values: `aggregate(Count())`."""
        return self._one(Count(), uid, parallelism)

    def sum(
        self, select: Callable[[T], N], *, type: Any = None, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[WindowResult[K, N]]:
        """The sum of what `select` gives: `aggregate(Sum(select))`."""
        return self._one(Sum(select, type=type), uid, parallelism)

    def min(
        self, select: Callable[[T], N], *, type: Any = None, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[WindowResult[K, N]]:
        """The smallest that `select` gives: `aggregate(Min(select))`."""
        return self._one(Min(select, type=type), uid, parallelism)

    def max(
        self, select: Callable[[T], N], *, type: Any = None, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[WindowResult[K, N]]:
        """The largest that `select` gives: `aggregate(Max(select))`."""
        return self._one(Max(select, type=type), uid, parallelism)

    def mean(
        self, select: Callable[[T], float], *, uid: str | None = None, parallelism: int | None = None
    ) -> Stream[WindowResult[K, float]]:
        """The mean of what `select` gives: `aggregate(Mean(select))`."""
        return self._one(Mean(select), uid, parallelism)

    def top_k(
        self,
        k: int,
        by: Callable[[T], Any] | None = None,
        *,
        type: Any = int | float | str,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[WindowResult[K, list[T]]]:
        """The `k` values with the largest `by`, in that order: `aggregate(TopK(k, by))`."""
        return self._one(TopK(k, by, type=type), uid, parallelism)

    def distinct(
        self,
        select: Callable[[T], Hashable] | None = None,
        *,
        type: Any = int | float | str,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[WindowResult[K, int]]:
        """The exact number of different values of `select`: `aggregate(Distinct(select))`."""
        return self._one(Distinct(select, type=type), uid, parallelism)

    def collect(
        self,
        *,
        limit: int = 1000,
        type: Any = int | float | str,
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[WindowResult[K, list[T]]]:
        """The first `limit` values, in the order of their coming: `aggregate(Collect(limit=limit))`."""
        return self._one(Collect(limit=limit, type=type), uid, parallelism)

    def _one(
        self, function: AggregateFunction[Any, Any, Any], uid: str | None, parallelism: int | None
    ) -> Stream[WindowResult[K, Any]]:
        raise NotImplementedError
