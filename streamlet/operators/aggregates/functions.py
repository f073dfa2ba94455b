"""Aggregate functions: Sum, Count, Min, Max, Mean, several of them by name, and the contract for one's own.

The four functions are those of the field (create an accumulator, add, give the result, merge).  An accumulator is
never changed in place: `add` returns the next one.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import msgspec

from streamlet.calling import calling_line
from streamlet.errors import JobDefinitionError
from streamlet.operators.aggregates.identity import identity_of
from streamlet.operators.functions import is_asynchronous
from streamlet.state.evolution.describing import as_plain, part_of
from streamlet.state.evolution.schema import NO_DEFAULT, Accumulators, Part

T = TypeVar("T")
A = TypeVar("A")
R = TypeVar("R")

Number = int | float


class AggregateFunction(Generic[T, A, R]):
    """Folds values of type T into an accumulator A and gives a result R.

    `accumulator_type` is the declared type of A, by which it is stored: any type that msgspec knows.

    Values are added in the order in which they came.  Where accumulators are merged, in sliding windows and in sessions
    that join, the values of each come as one: see `merge`.

    >>> class Product(AggregateFunction[int, int, int]):
    ...     accumulator_type = int
    ...     def create_accumulator(self):
    ...         return 1
    ...     def add(self, accumulator, value):
    ...         return accumulator * value
    ...     def result(self, accumulator):
    ...         return accumulator
    >>> emitted(numbers.key_by(lambda n: n % 2).aggregate(Product()))
    [1, 2, 3, 8]
    """

    accumulator_type: Any = Any
    renamed: Mapping[str, str] | None = None
    """Of an accumulator with fields: old name -> new name, for checkpoints that have the old one."""
    upgrade: Callable[[Any], A] | None = None
    """Makes an accumulator of this type of one of an earlier type; see `ValueState`. Write it as a `staticmethod`."""
    type_option = "accumulator_type="
    """How its type is said, for messages."""

    @property
    def described(self) -> str:
        """What a checkpoint notes of the function, so that another one does not take its accumulators for its own."""
        return type(self).__name__

    @property
    def takes(self) -> str:
        """What it takes from values, as `function_identity` says it."""
        return identity_of(getattr(self, "select", None))

    @property
    def settings(self) -> dict[str, Any]:
        """What else decides what is in an accumulator: of a class of your own, its public attributes that are plain
        data. Accumulators that were made under others are refused."""
        if type(self).__module__.startswith("streamlet."):
            return {}
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and type(value) in (bool, int, float, str)
        }

    @property
    def schema(self) -> Accumulators:
        """What a checkpoint says of its accumulators."""
        return Accumulators((self.part(),), in_row=False)

    def part(self, name: str = "") -> Part:
        """What a checkpoint says of it where it is one of several."""
        kept = self.schema if isinstance(self, Composed) else self.accumulator_type
        try:
            empty = as_plain(self.create_accumulator())
        except Exception:  # of the user's, who is told when it is first called for a value
            empty = NO_DEFAULT
        made = part_of(name, type(self).__name__, self.takes, kept, self.settings)
        return msgspec.structs.replace(made, empty=empty)

    def create_accumulator(self) -> A:
        """Gives the accumulator of no values."""
        raise NotImplementedError

    def add(self, accumulator: A, value: T) -> A:
        """Gives the accumulator with one more value. It must not change the old one."""
        raise NotImplementedError

    def result(self, accumulator: A) -> R:
        """Gives what is emitted for an accumulator."""
        raise NotImplementedError

    def merge(self, one: A, other: A) -> A:
        """Gives the accumulator of both sets of values. Those of `one` are earlier by time, pane by pane or session by
        session, whichever came first."""
        raise NotImplementedError(f"{type(self).__name__} has no merge")


class SelectingAggregate(AggregateFunction[T, A, R]):
    """An aggregate over what `select` takes from each value; None for the value itself.

    The engine calls `select` for a whole column and then `fold` per value: both may be C functions.
    """

    type_option = "type="
    fold: Callable[[Any, Any], Any]

    def __init__(self, select: Callable[[T], Any] | None = None, *, type: Any = None) -> None:
        self.select = None if select is None else selecting(self, select)
        if type is not None:
            self.accumulator_type = type

    def add(self, accumulator: A, value: T) -> A:
        chosen = value if self.select is None else self.select(value)
        return self.fold(accumulator, chosen)  # type: ignore[no-any-return]

    def result(self, accumulator: A) -> R:
        return accumulator  # type: ignore[return-value]


class Count(SelectingAggregate[Any, int, int]):
    """The number of values.

    >>> emitted(by_user.aggregate(Count()))
    [1, 1, 2]
    """

    accumulator_type = int

    def __init__(self) -> None:
        super().__init__(None)

    def create_accumulator(self) -> int:
        return 0

    @staticmethod
    def fold(accumulator: int, _: Any) -> int:
        return accumulator + 1

    def merge(self, one: int, other: int) -> int:
        return one + other


class Sum(SelectingAggregate[T, Any, Any]):
    """The sum of what `select` gives, starting from 0; `type=` for other numbers than int and float.

    Integers are exact, of any size.  A sum with NaN in it is NaN.

    >>> emitted(by_user.aggregate(Sum(lambda payment: payment.amount)))
    [5, 7, 14]
    """

    accumulator_type = Number
    fold = staticmethod(operator.add)

    def create_accumulator(self) -> Any:
        return 0

    def merge(self, one: Any, other: Any) -> Any:
        return one + other


class _Extreme(SelectingAggregate[T, Any, Any]):
    accumulator_type = int | float | str | None

    def __init__(self, select: Callable[[T], Any] | None = None, *, type: Any = None) -> None:
        super().__init__(select, type=None if type is None else type | None)

    def create_accumulator(self) -> Any:
        return None

    def merge(self, one: Any, other: Any) -> Any:
        return one if other is None else self.fold(one, other)


def _comparable(value: Any) -> Any:
    """The first value.  What cannot be compared is refused here: else those behind it would be, which are sound."""
    _ = value < value
    return value


class Min(_Extreme[T]):
    """The smallest of what `select` gives, the first one of equals; `type=` for other than int, float and str.

    NaN is larger than every number, as in PostgreSQL and DuckDB: the result is NaN only where all are.

    >>> emitted(by_user.aggregate(Min(lambda payment: payment.amount)))
    [5, 7, 5]
    """

    @staticmethod
    def fold(accumulator: Any, value: Any) -> Any:
        if accumulator is None:
            return _comparable(value)
        is_less = value < accumulator or accumulator != accumulator
        return value if is_less else accumulator


class Max(_Extreme[T]):
    """The largest of what `select` gives, the first one of equals; `type=` for other than int, float and str.

    NaN is larger than every number, as in PostgreSQL and DuckDB: the result is NaN where any is.

    >>> emitted(by_user.aggregate(Max(lambda payment: payment.amount)))
    [5, 7, 9]
    """

    @staticmethod
    def fold(accumulator: Any, value: Any) -> Any:
        if accumulator is None:
            return _comparable(value)
        is_more = value > accumulator or (value != value and accumulator == accumulator)
        return value if is_more else accumulator


class Mean(SelectingAggregate[T, tuple[Number, int], float]):
    """The arithmetic mean of what `select` gives; NaN of nothing, as where it was added to an open window.

    >>> emitted(by_user.aggregate(Mean(lambda payment: payment.amount)))
    [5.0, 7.0, 7.0]
    """

    accumulator_type = tuple[Number, int]

    def create_accumulator(self) -> tuple[Number, int]:
        return (0, 0)

    @staticmethod
    def fold(accumulator: tuple[Number, int], value: Number) -> tuple[Number, int]:
        return (accumulator[0] + value, accumulator[1] + 1)

    def result(self, accumulator: tuple[Number, int]) -> float:
        return accumulator[0] / accumulator[1] if accumulator[1] else math.nan

    def merge(self, one: tuple[Number, int], other: tuple[Number, int]) -> tuple[Number, int]:
        return (one[0] + other[0], one[1] + other[1])


class Composed(AggregateFunction[T, tuple[Any, ...], R]):
    """Several aggregate functions as one, each under a name: `Composed(Spend, total=Sum(amount_of), count=Count())`.

    Its result is `Spend(total=..., count=...)`, or without a class a dict of the results by name.  It is itself a
    function like any other, for windows too.

    >>> emitted(by_user.aggregate(Composed(dict, total=Sum(lambda payment: payment.amount), count=Count())))[-1]
    {'total': 14, 'count': 2}
    """

    @overload
    def __init__(self: Composed[T, dict[str, Any]], /, **parts: AggregateFunction[T, Any, Any]) -> None: ...
    @overload
    def __init__(self, into: Callable[..., R], /, **parts: AggregateFunction[T, Any, Any]) -> None: ...
    def __init__(self, into: Callable[..., Any] = dict, /, **parts: AggregateFunction[T, Any, Any]) -> None:
        if not callable(into) or is_asynchronous(into):
            raise _refused(f"the results of aggregate functions cannot be put into {into!r:.80}", "give a class")
        if into is not dict:
            _check_takes(into, parts)
        if not parts:
            raise _refused("no aggregate function has a name", "name them: Composed(total=Sum(...), count=Count())")
        for name, part in parts.items():
            if not isinstance(part, AggregateFunction):
                raise _refused(f"{name} is no aggregate function but {part!r:.80}", "give Sum(...), Count(), ...")
            if part.accumulator_type is Any:
                raise _refused(
                    f"the aggregate function {name} has no accumulator_type",
                    "set accumulator_type in its class, or give type= to Sum, Min and Max",
                )
        self.into = into
        # By name, not as they are written: the accumulators of a restored job are found whatever their order is now.
        self.parts = {name: parts[name] for name in sorted(parts)}
        self._functions = list(self.parts.values())
        self._places = {name: list(self.parts).index(name) for name in parts}
        types = tuple(part.accumulator_type for part in self._functions)
        self.accumulator_type = tuple[types]  # type: ignore[valid-type]

    @property
    def described(self) -> str:
        return f"({', '.join(f'{name}={part.described}' for name, part in self.parts.items())})"

    @property
    def schema(self) -> Accumulators:
        return Accumulators(tuple(part.part(name) for name, part in self.parts.items()))

    def create_accumulator(self) -> tuple[Any, ...]:
        return tuple([part.create_accumulator() for part in self._functions])

    def add(self, accumulator: tuple[Any, ...], value: T) -> tuple[Any, ...]:
        return tuple([part.add(one, value) for part, one in zip(self._functions, accumulator, strict=True)])

    def result(self, accumulator: tuple[Any, ...]) -> R:
        return self.finish(*[part.result(one) for part, one in zip(self._functions, accumulator, strict=True)])

    def finish(self, *results: Any) -> R:
        """Puts the results of `parts` together, in the order in which they were written."""
        return self.into(**{name: results[place] for name, place in self._places.items()})  # type: ignore[no-any-return]

    def merge(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([part.merge(*both) for part, *both in zip(self._functions, one, other, strict=True)])


def schema_of_functions(functions: Sequence[AggregateFunction[Any, Any, Any]]) -> Accumulators:
    """What a checkpoint says of the accumulators of these functions."""
    if len(functions) == 1:
        return functions[0].schema
    return Accumulators(tuple(function.part() for function in functions))


def names_of(functions: Iterable[AggregateFunction[Any, Any, Any]]) -> str:
    """What a checkpoint notes of the functions whose accumulators it has."""
    return ", ".join(function.described for function in functions)


def selecting(aggregate: AggregateFunction[Any, Any, Any], function: Callable[[T], R]) -> Callable[[T], R]:
    """A function that takes something from values for an aggregate; refuses what cannot, at the user's line."""
    name = type(aggregate).__name__
    if is_asynchronous(function):
        raise _refused(
            f"{name} takes a plain function, not an async one",
            "call asynchronous services in a map_async before it",
        )
    if not callable(function):
        raise _refused(f"{name} takes a function, not {function!r:.80}", "give a function or a lambda")
    return function


def _check_takes(into: Callable[..., Any], parts: Mapping[str, Any]) -> None:
    try:
        inspect.signature(into).bind(**parts)
    except TypeError as error:
        name = getattr(into, "__qualname__", repr(into))
        raise _refused(f"{name} does not take the results {', '.join(parts)}: {error}", "give the same names") from None
    except ValueError:
        return  # its signature is not known


def _refused(what: str, remedy: str) -> JobDefinitionError:
    file, line = calling_line()
    return JobDefinitionError(f"{file}:{line}: {what}", remedy=remedy)
