"""aggregate and reduce over a keyed stream: one accumulator per key, one result per record.

What is in the state: the accumulator of each key, for ever (until the job says otherwise).  The loop works on slots:
one attribute read where a dictionary would be asked, and nothing else per record but the fold itself.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from streamlet.elements import Batch
from streamlet.errors import JobDefinitionError
from streamlet.operators.aggregates.functions import (
    AggregateFunction,
    Composed,
    Count,
    Mean,
    SelectingAggregate,
    Sum,
    names_of,
    schema_of_functions,
)
from streamlet.operators.functions import CallingOperator
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.selectors import Selector, selector
from streamlet.operators.user_code.raised import RAISED
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import ValueState
from streamlet.state.evolution.schema import Schema
from streamlet.state.memory.cells import ABSENT, NOT_LOADED, content

STATE = "accumulator"
_OWN_AGGREGATES = (Count, Sum, Mean)
_NUMBERS = frozenset({int, float, bool})


REDUCED = "reduce"
"""What a checkpoint notes of accumulators that a function of `reduce` makes."""


class RollingFold(CallingOperator):
    """The loop that aggregate and reduce share: `fold(accumulator, input)` per record, the new one is emitted."""

    accumulator_type: Any = Any
    made_by = ""
    """The functions whose accumulators are kept; see `StateSpec.made_by`."""
    schema: Schema | None = None
    """What a checkpoint says of accumulators, where that is more than their type."""
    renamed: Mapping[str, str] | None = None
    upgrade: Callable[[Any], Any] | None = None
    type_option = "type="
    """What says the type of accumulators."""
    fold: Callable[[Any, Any], Any]
    """`fold(accumulator, input)`: the accumulator after one more input."""
    is_trusted = False
    """True when accumulators are known to be of their declared type; else each new one is checked."""

    def declared_states(self) -> Mapping[str, Descriptor]:
        kept = ValueState(self.accumulator_type, renamed=self.renamed, upgrade=self.upgrade)
        return {STATE: kept.told_by(self.type_option).made_by(self.made_by).keeping(self.schema)}

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.store = context.store
        self.cells = context.store.value_cells(context.states[STATE])

    def first(self, value: Any) -> Any:
        """The accumulator after the first input of a key."""
        raise NotImplementedError

    def inputs(self, batch: Batch[Any]) -> Iterable[Any]:
        """What is folded, one per row."""
        return batch.values

    def results(self, batch: Batch[Any], accumulators: list[Any]) -> list[Any]:
        """What is emitted, one per row."""
        return accumulators

    def process(self, batch: Batch[Any], out: Emit) -> None:
        values = self.folded(batch)
        out(batch.with_values(values))

    def folded(self, batch: Batch[Any]) -> list[Any]:
        """Folds every row; gives what is emitted for each."""
        accumulators: list[Any] = []
        inputs = self.inputs(batch)
        try:
            if self.cells.holds_bytes:
                self._fold_packed(batch, inputs, accumulators)
            else:
                self._fold_live(batch, inputs, accumulators)
        except RAISED as error:
            raise self.failure(error, batch, len(accumulators)) from error
        return self.results(batch, accumulators)

    def _fold_live(self, batch: Batch[Any], inputs: Iterable[Any], accumulators: list[Any]) -> None:
        store, cells = self.store, self.cells
        interval, mark_dirty, load, keeps_old = store.interval, store.dirty.append, cells.load, store.is_packing
        first, fold, emit = self.first, self.fold, accumulators.append
        is_checked, plain, encode = not self.is_trusted, cells.plain, cells.encode
        slots: Sequence[Any] = batch.keys or ()
        for cell, value in zip(slots if cells.inline else map(cells.cell, slots), inputs, strict=False):
            old = cell.value
            if old is NOT_LOADED:
                load(cell)
                old = cell.value
            new = first(value) if old is ABSENT else fold(old, value)
            if is_checked and new is not old and type(new) not in plain:
                new = encode(new)
            if cell.interval != interval:
                if keeps_old:
                    cell.old = old
                cell.interval = interval
                mark_dirty(cell)
            cell.value = new
            emit(new)

    def _fold_packed(self, batch: Batch[Any], inputs: Iterable[Any], accumulators: list[Any]) -> None:
        """The same where the accumulator is mutable and so is kept packed: a snapshot never aliases live data."""
        store, cells = self.store, self.cells
        for slot, value in zip(batch.keys or (), inputs, strict=False):
            cell = cells.cell(slot)
            if cell.value is NOT_LOADED:
                cells.load(cell)
            old = cell.value
            new = self.first(value) if old is ABSENT else self.fold(cells.decode(old), value)
            packed = cells.encode(new)
            if cell.interval != store.interval:
                if store.is_packing:
                    cell.old = old
                cell.interval = store.interval
                store.dirty.append(cell)
            cell.value = packed
            accumulators.append(new)


class Reduce(RollingFold):
    """`function(so far, value)` per key; the first value of a key is its own result."""

    made_by = REDUCED

    def __init__(self, function: Callable[[Any, Any], Any], type: Any = Any) -> None:
        self.fold = function
        self.accumulator_type = type

    def first(self, value: Any) -> Any:
        return value


class Aggregate(RollingFold):
    """One aggregate function per key; `result(key, value)` makes what is emitted, where given."""

    def __init__(self, function: AggregateFunction[Any, Any, Any], result: Callable[..., Any] | None) -> None:
        self.function = function
        self.result = result
        self.accumulator_type = function.accumulator_type
        self.type_option = function.type_option
        self.select: Callable[[Any], Any] | None = None
        self._selector: Selector | None = None
        self._takes_numbers = False
        if isinstance(function, SelectingAggregate):
            # Count makes its accumulator itself; what Sum and Mean make is a number because their inputs are.
            self.is_trusted = _is_own(function)
            self._takes_numbers = self.is_trusted and type(function) is not Count
            self.select = function.select
            self._selector = None if self.select is None else selector(self.select)
            self.fold = operator.add if type(function) is Count else function.fold
        else:
            self.fold = function.add
        self.finishes = getattr(type(function), "result", None) is not SelectingAggregate.result

    def first(self, value: Any) -> Any:
        return self.fold(self.function.create_accumulator(), value)

    def inputs(self, batch: Batch[Any]) -> Iterable[Any]:
        if type(self.function) is Count:
            return repeat(1, len(batch))
        column = batch.values if self.select is None else self.pluck(self.select, self._selector, batch)
        if self._takes_numbers and not _are_numbers(column):
            row = next(row for row, value in enumerate(column) if type(value) not in _NUMBERS)
            name, got = type(self.function).__name__, type(column[row]).__qualname__
            error = TypeError(
                f"{name} takes int and float, not {got}: convert it, or say what to add up by {name}(type=)"
            )
            raise self.failure(error, batch, row)
        return column

    def results(self, batch: Batch[Any], accumulators: list[Any]) -> list[Any]:
        column = self.call(self.function.result, batch, accumulators) if self.finishes else accumulators
        if self.result is None:
            return column
        return self.call(self.result, batch, [slot.key for slot in batch.keys or ()], column)


class AggregateSeveral(RollingFold):
    """Several aggregate functions per key in one accumulator; emits a tuple, or `result(key, *values)`."""

    def __init__(
        self, functions: Sequence[AggregateFunction[Any, Any, Any]], result: Callable[..., Any] | None
    ) -> None:
        self.parts = [Aggregate(function, None) for function in functions]
        self.result = result
        if any(part.accumulator_type is Any for part in self.parts):
            raise JobDefinitionError(
                "an aggregate function has no accumulator_type",
                remedy="set accumulator_type in the class, or give type= to Sum, Min and Max",
            )
        self.is_trusted = all(part.is_trusted for part in self.parts)
        types = tuple(part.accumulator_type for part in self.parts)
        self.accumulator_type = tuple[types]  # type: ignore[valid-type]
        self.fold = _each([part.fold for part in self.parts])

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        for part in self.parts:
            part.context = context

    def first(self, value: Any) -> Any:
        return tuple([part.first(piece) for part, piece in zip(self.parts, value, strict=False)])

    def inputs(self, batch: Batch[Any]) -> Iterable[Any]:
        # One tuple for each row, made anew only if somebody keeps it.
        return zip(*(part.inputs(batch) for part in self.parts), strict=False)

    def results(self, batch: Batch[Any], accumulators: list[Any]) -> list[Any]:
        columns = [
            part.results(batch, list(column)) if part.finishes else column
            for part, column in zip(self.parts, zip(*accumulators, strict=True), strict=False)
        ]
        if self.result is None:
            return list(zip(*columns, strict=True))
        return self.call(self.result, batch, [slot.key for slot in batch.keys or ()], *columns)


class AddTwo(AggregateSeveral):
    """Two numbers that only add up, in one loop without a call, and without an object for both of them."""

    def folded(self, batch: Batch[Any]) -> list[Any]:
        one, other = [part.inputs(batch) for part in self.parts]
        results: list[Any] = []
        try:
            self._add(batch, one, other, results.append)
        except RAISED as error:
            raise self.failure(error, batch, len(results)) from error
        return results

    def _add(self, batch: Batch[Any], one: Iterable[Any], other: Iterable[Any], emit: Callable[[Any], object]) -> None:
        store, cells, result = self.store, self.cells, self.result
        interval, mark_dirty, load, keeps_old = store.interval, store.dirty.append, cells.load, store.is_packing
        slots: Sequence[Any] = batch.keys or ()
        for cell, left, right in zip(slots if cells.inline else map(cells.cell, slots), one, other, strict=False):
            first, second = cell.value, cell.second
            if second is None:  # in one piece: just loaded, or nothing yet
                if first is NOT_LOADED:
                    load(cell)
                    first = cell.value
                first, second = (0, 0) if first is ABSENT else first
            left += first
            right += second
            if cell.interval != interval:
                if keeps_old:
                    cell.old = content(cell)
                cell.interval = interval
                mark_dirty(cell)
            cell.value, cell.second = left, right
            emit((left, right) if result is None else result(cell.key, left, right))


def aggregating(
    functions: Sequence[AggregateFunction[Any, Any, Any]], result: Callable[..., Any] | None
) -> Aggregate | AggregateSeveral:
    """The operator of one or several aggregate functions; the parts of a composed one are folded side by side."""
    made = _aggregating(functions, result)
    made.made_by, made.schema = names_of(functions), schema_of_functions(functions)
    if len(functions) == 1:
        made.renamed, made.upgrade = functions[0].renamed, functions[0].upgrade
    return made


def _aggregating(
    functions: Sequence[AggregateFunction[Any, Any, Any]], result: Callable[..., Any] | None
) -> Aggregate | AggregateSeveral:
    if len(functions) > 1:
        return _several(functions, result)
    (one,) = functions
    if not isinstance(one, Composed):
        return Aggregate(one, result)
    finish = one.finish
    if result is None:
        return _several(tuple(one.parts.values()), lambda _, *results: finish(*results))
    return _several(tuple(one.parts.values()), lambda key, *results: result(key, finish(*results)))


def _several(
    functions: Sequence[AggregateFunction[Any, Any, Any]], result: Callable[..., Any] | None
) -> AggregateSeveral:
    adds_two = len(functions) == 2 and all(_is_own(one) and type(one) is not Mean for one in functions)
    return (AddTwo if adds_two else AggregateSeveral)(functions, result)


def _are_numbers(column: Sequence[Any]) -> bool:
    """True when adding them up gives a plain number: a third of what a look at each of their types costs."""
    try:
        return type(sum(column)) in _NUMBERS
    except Exception:  # of whatever adds up as it likes, or an int that no float can be
        return _NUMBERS.issuperset(map(type, column))


def _is_own(function: AggregateFunction[Any, Any, Any]) -> bool:
    """True for one whose accumulators are known to be of its type."""
    return type(function) in _OWN_AGGREGATES and "accumulator_type" not in vars(function)


def _each(folds: Sequence[Callable[[Any, Any], Any]]) -> Callable[[Any, Any], Any]:
    if len(folds) == 2:
        first, second = folds
        return lambda accumulator, value: (first(accumulator[0], value[0]), second(accumulator[1], value[1]))

    def fold(accumulator: Any, value: Any) -> Any:
        return tuple([one(old, new) for one, old, new in zip(folds, accumulator, value, strict=True)])

    return fold
