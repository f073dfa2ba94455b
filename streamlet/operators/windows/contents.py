"""What a window keeps of its records, and what it gives when it is put out: an accumulator, or the records."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, repeat
from typing import Any, Generic, TypeVar

from streamlet.elements import Batch, OutputTag
from streamlet.errors import JobDefinitionError, UserFunctionError
from streamlet.operators.aggregates.functions import AggregateFunction
from streamlet.operators.aggregates.rolling import Aggregate, AggregateSeveral, Reduce
from streamlet.operators.functions import call_each, whole
from streamlet.operators.operator import Emit, OperatorContext
from streamlet.operators.user_code.misuse import begin_side
from streamlet.operators.user_code.place import function_error
from streamlet.operators.user_code.raised import RAISED
from streamlet.operators.windows.assigners import Window, WindowResult
from streamlet.state.descriptor import Descriptor
from streamlet.state.descriptors import WindowState
from streamlet.state.evolution.schema import Schema
from streamlet.state.memory.cells import ABSENT, Slot

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R")
V = TypeVar("V")

Folding = Aggregate | AggregateSeveral | Reduce


class Contents:
    """The half of a window operator that does not depend on how records come into windows."""

    kept_type: Any
    """The type of what is kept per key and window."""
    schema: Schema | None = None
    """What a checkpoint says of what is kept, where that is more than its type."""
    renamed: Mapping[str, str] | None = None
    upgrade: Callable[[Any], Any] | None = None
    made_by = ""
    """The functions whose accumulators are kept; see `StateSpec.made_by`."""
    type_option = "type="
    """What says the type of values."""
    is_trusted = False
    """True when what is kept is known to be of that type."""
    fold: Callable[[Any, Any], Any] | None = None
    """`fold(kept, input)`, where that is all there is to `add`."""
    merge: Callable[[Any, Any], Any] | None = None
    """`merge(earlier, later)`; None where it cannot be done."""
    merge_remedy = ""
    input = 0
    """Of which input the records are that are taken in now."""
    late_remedy = ".late_output(tag) keeps them, .allowed_lateness(...) waits for them"

    def declared_states(self) -> Mapping[str, Descriptor]:
        """The states beside that of the windows."""
        return {}

    def open(self, context: OperatorContext) -> None:
        """Gets ready."""
        self.context = context

    def failure(self, error: BaseException, fired: Batch[Any], row: int) -> UserFunctionError:
        """Makes the error of a window for which a user's function failed."""
        return function_error(error, self.context.place, fired, row, subtask=self.context.subtask)

    def close(self) -> None:
        """Ends what `open` began."""

    def inputs(self, batch: Batch[Any]) -> Iterable[Any]:
        """What is taken in, one per row."""
        return batch.values

    def first(self, slot: Slot, bucket: bytes, value: Any) -> Any:
        """What is kept of a first record. `bucket` is one no other window of the key has."""
        raise NotImplementedError

    def add(self, slot: Slot, kept: Any, value: Any) -> Any:
        """What is kept with one more record."""
        raise NotImplementedError

    def free(self, slot: Slot, kept: Any) -> None:
        """Forgets what lies beside."""

    def shown(self, slot: Slot, kept: Any) -> Any:
        """What was kept, for somebody who must see what was lost."""
        return kept

    def put_out(self, fired: Batch[Any], windows: list[Window], out: Emit) -> None:
        """Emits results. `fired` has what was kept, the time of each window, and slots.  Nothing has been emitted when
        it raises for one of them."""
        raise NotImplementedError


class Folded(Contents):
    """An accumulator per window, of aggregate functions or of reduce."""

    def __init__(
        self,
        folding: Folding,
        result: Callable[..., Any] | None,
        made_by: str = "",
        schema: Schema | None = None,
    ) -> None:
        self.folding = folding
        self.made_by = made_by
        self.schema = schema
        self.result = result
        self.kept_type = folding.accumulator_type
        self.type_option = folding.type_option
        self.is_trusted = folding.is_trusted
        self.fold = folding.fold
        if isinstance(folding, AggregateSeveral):
            if len(folding.parts) == 2:
                self.fold = _both(folding.parts[0].fold, folding.parts[1].fold)
            merges = [self._merge_of(part.function) for part in folding.parts]
            self.merge = _each(merges)
        elif isinstance(folding, Aggregate):
            self.merge = self._merge_of(folding.function)
        else:
            self.merge = folding.fold
        if self.merge_remedy:
            self.merge = None

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        for part in (self.folding, *(self.folding.parts if isinstance(self.folding, AggregateSeveral) else ())):
            part.context = context

    def inputs(self, batch: Batch[Any]) -> Iterable[Any]:
        return self.folding.inputs(batch)

    def first(self, slot: Slot, bucket: bytes, value: Any) -> Any:
        return self.folding.first(value)

    def add(self, slot: Slot, kept: Any, value: Any) -> Any:
        return self.fold(kept, value)  # type: ignore[misc]

    def put_out(self, fired: Batch[Any], windows: list[Window], out: Emit) -> None:
        values = self.folding.results(fired, fired.values)
        keys = [slot.key for slot in fired.keys or ()]
        if self.result is None:
            results: list[Any] = list(map(WindowResult, keys, windows, values))
        else:
            columns = zip(*values, strict=True) if isinstance(self.folding, AggregateSeveral) else (values,)
            results = call_each(self.result, fired, keys, windows, *columns, fail=self.failure)
        out(fired.with_values(results))

    def _merge_of(self, function: AggregateFunction[Any, Any, Any]) -> Callable[[Any, Any], Any]:
        if type(function).merge is AggregateFunction.merge:
            self.merge_remedy = f"define merge(self, one, other) in {type(function).__name__}"
        return function.merge


class WindowContext(Generic[K]):
    """What a `WindowProcessFunction` knows beside the records.

    >>> class Early(WindowProcessFunction[str, Payment, bool]):
    ...     def process(self, key, window, values, ctx):
    ...         yield ctx.current_watermark < window.end - 1
    >>> emitted(minutes.process(Early(), type=Payment))
    [False, False, False]
    """

    __slots__ = ("_context", "_row", "_sides")

    def __init__(self, context: OperatorContext) -> None:
        self._context = context
        self._row = 0
        self._sides: dict[OutputTag[Any], tuple[list[Any], list[int]]] = {}

    @property
    def current_watermark(self) -> int:
        """How far event time has come here, epoch ms."""
        return self._context.current_watermark

    def output(self, tag: OutputTag[V], value: V) -> None:
        """Puts a value out under a tag, with the time of the window's end; see `Stream.side_output`."""
        values, rows = self._sides.get(tag) or begin_side(self._sides, tag)
        values.append(value)
        rows.append(self._row)


class WindowProcessFunction(Generic[K, T, R]):
    """A function of all records of a key and a window; every subtask works on its own copy of the instance.

    All records are kept until then: an aggregate keeps far less.

    >>> class Largest(WindowProcessFunction[str, Payment, int]):
    ...     def process(self, key, window, values, ctx):
    ...         yield max(payment.amount for payment in values)
    >>> emitted(minutes.process(Largest(), type=Payment))
    [5, 7, 9]
    """

    def open(self) -> None:
        """Called once per subtask before the first window."""

    def process(self, key: K, window: Window, values: list[T], ctx: WindowContext[K]) -> Iterable[R] | None:
        """Handles a window; gives what it emits, or None.

        Its values are in the order in which they came, with two exceptions.  Those of a sliding window are so within
        each pane (a stretch as long as the greatest common divisor of size and slide), and panes follow each other by
        time.  Where a record has joined two sessions, all values of the earlier one stand before those of the later
        one, and the record behind both.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Called once per subtask at the end, also after a failure."""


class Elements(Contents):
    """All records of a window, one entry of state each; what is kept is how many lie in which bucket."""

    kept_type = tuple[tuple[bytes, int], ...]
    is_trusted = True
    merge = staticmethod(lambda one, other: (*one, *other))

    def __init__(self, function: WindowProcessFunction[Any, Any, Any], type: Any) -> None:
        self.function = function
        self.type = type
        self._running: WindowProcessFunction[Any, Any, Any] | None = None

    def declared_states(self) -> Mapping[str, Descriptor]:
        return {"elements": WindowState(self.type).told_by(self.type_option)}

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed operator a store"
        self.cells = context.store.value_cells(context.states["elements"])
        running = copy.deepcopy(self.function)
        try:
            running.open()
        except RAISED as error:
            raise function_error(error, context.place, subtask=context.subtask) from error
        self._running = running

    def first(self, slot: Slot, bucket: bytes, value: Any) -> Any:
        self.cells.update(slot, value, bucket + bytes(4))
        return ((bucket, 1),)

    def add(self, slot: Slot, kept: Any, value: Any) -> Any:
        *others, (bucket, count) = kept
        self.cells.update(slot, value, bucket + count.to_bytes(4, "big"))
        return (*others, (bucket, count + 1))

    def free(self, slot: Slot, kept: Any) -> None:
        cells = self.cells
        for bucket, count in kept:
            for index in range(count):
                cells.change(cells.cell(slot, bucket + index.to_bytes(4, "big")), ABSENT)

    def put_out(self, fired: Batch[Any], windows: list[Window], out: Emit) -> None:
        assert self._running is not None
        process, record = self._running.process, WindowContext[Any](self.context)
        groups: list[list[Any]] = []
        slots = fired.keys or ()
        try:
            for row, (slot, kept, window) in enumerate(zip(slots, fired.values, windows, strict=True)):
                record._row = row
                emitted = process(slot.key, window, self._values(slot, kept), record)
                groups.append([] if emitted is None else list(whole(emitted)))
        except RAISED as error:
            raise self.failure(error, fired, len(groups)) from error
        rows = list(chain.from_iterable(repeat(row, len(group)) for row, group in enumerate(groups)))
        if rows:
            out(fired.take(rows, list(chain.from_iterable(groups))))
        for tag, (values, rows) in record._sides.items():
            self.context.side(tag, fired.take(rows, values))

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None

    def shown(self, slot: Slot, kept: Any) -> Any:
        return self._values(slot, kept)

    def _values(self, slot: Slot, kept: Any) -> list[Any]:
        cells = self.cells
        found = [
            cells.cell(slot, bucket + index.to_bytes(4, "big")) for bucket, count in kept for index in range(count)
        ]
        cells.load_all(found)
        return [cells.decode(cell.value) for cell in found]


def folding_of(functions: tuple[AggregateFunction[Any, Any, Any], ...]) -> Folding:
    """The fold of one or several aggregate functions."""
    if len(functions) == 1:
        if functions[0].accumulator_type is Any:
            raise JobDefinitionError(
                f"{type(functions[0]).__name__} has no accumulator_type",
                remedy="set accumulator_type in the class, or give type= to Sum, Min and Max",
            )
        return Aggregate(functions[0], None)
    return AggregateSeveral(functions, None)


def _both(one: Callable[[Any, Any], Any], other: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda kept, value: (one(kept[0], value[0]), other(kept[1], value[1]))


def _each(merges: list[Callable[[Any, Any], Any]]) -> Callable[[Any, Any], Any]:
    return lambda one, other: tuple([merge(a, b) for merge, a, b in zip(merges, one, other, strict=True)])
