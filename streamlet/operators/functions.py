"""How user functions are called: once per record, and an error names the user's line and the record.

`call_each` and `call_most` call a function for the rows of a batch, `whole` takes in what a function emits, and
`CallingOperator` is the base of the operators that use them.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from types import GeneratorType
from typing import Any

from streamlet.elements import Batch
from streamlet.errors import UserFunctionError
from streamlet.operators.operator import Operator
from streamlet.operators.selectors import Selector
from streamlet.operators.user_code.misuse import check_results, not_iterable
from streamlet.operators.user_code.pausing import Pause
from streamlet.operators.user_code.place import function_error
from streamlet.operators.user_code.raised import RAISED

_WHOLE = (list, tuple, GeneratorType)
"""These cannot end early without an error: a generator turns a StopIteration inside it into one (PEP 479)."""


class CallingOperator(Operator):
    """Calls user functions on batches."""

    def call(self, function: Callable[..., Any], batch: Batch[Any], *columns: Sequence[Any]) -> list[Any]:
        """Calls `function` per row; a failure names the user's line, this operator and the record."""
        return call_each(function, batch, *columns, fail=self.failure)

    def call_some(self, function: Callable[..., Any], batch: Batch[Any]) -> tuple[Batch[Any], list[Any]]:
        """The same on the values, but it may be stopped after any of them: gives the rows that were done, and results.
        The engine comes with the others again."""
        pause = self.context.pause
        if pause is None:
            return batch, self.call(function, batch)
        ahead = pause.begin(batch.values)
        results = self.call(function, batch, ahead) or self.call(function, batch.part(0, 1))
        pause.end(len(batch), len(results))
        return (batch if len(results) == len(batch) else batch.part(0, len(results))), results

    def pluck(self, function: Callable[[Any], Any], selector: Selector | None, batch: Batch[Any]) -> list[Any]:
        """Like `call`, by the function's `selector`, where it has one."""
        if selector is not None:
            with contextlib.suppress(Exception):
                return selector(batch.values)
        return self.call(function, batch)  # what fails does so again, at the user's line

    def call_most(
        self, function: Callable[..., Any], batch: Batch[Any], *columns: Sequence[Any], is_told: bool = True
    ) -> tuple[Batch[Any], list[Any]]:
        """The same, but rows that fail are left out where the error policy says so. Gives the others, and results."""
        results, gone = call_most(
            function, columns or (batch.values,), lambda error, row: self.leave_out(error, batch, row, is_told=is_told)
        )
        return batch.without(gone), results

    def failure(self, error: BaseException, batch: Batch[Any], row: int) -> UserFunctionError:
        """Makes the error of the row that failed."""
        context = self.context
        return function_error(
            error, context.place, batch, row, subtask=context.subtask, show_record=context.show_records
        )

    def leave_out_alone(self, error: BaseException, batch: Batch[Any]) -> None:
        """Leaves out what a function was called for that is no record in hand: a timer, or a window.  The batch names
        it in one row.  What the function changed since `context.undo_log.restart()` is undone."""
        if self.context.undo_log is not None:
            self.context.undo_log.undo()
        self.leave_out(error, batch, 0)

    def leave_out(self, error: BaseException, batch: Batch[Any], row: int, *, is_told: bool = True) -> None:
        """Leaves out the row that failed, or raises its error, as the error policy says."""
        failure = self.failure(error, batch, row)
        failure.__cause__ = error
        self.context.leave_out(failure, is_told)


class FunctionOperator(CallingOperator):
    """An operator that is one user function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function


def is_asynchronous(function: object) -> bool:
    """True for what is made by `async def`."""
    call = getattr(function, "__call__", None)  # noqa: B004 - an object may have an asynchronous one
    found = (function, call)
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in found)


def call_each(
    function: Callable[..., Any],
    batch: Batch[Any],
    *columns: Sequence[Any],
    fail: Callable[[BaseException, Batch[Any], int], BaseException],
) -> list[Any]:
    """Calls `function` once per row over the columns (default: the values), at the cost of a bare `map`.

    The number of results tells which row failed.  A function that raises StopIteration would end the list quietly;
    that shows as a list that is too short, and is its error.
    """
    first = columns[0] if columns else batch.values
    results: list[Any] = []
    try:
        results.extend(map(function, first, *columns[1:]))
    except RAISED as error:
        raise fail(error, batch, len(results)) from error
    if len(results) != len(batch.values) and first is not Pause.stopped:
        raise fail(RuntimeError("the function raised StopIteration"), batch, len(results))
    if (wrong := check_results(results)) is not None:
        raise fail(wrong, batch, 0) from wrong
    return results


def call_most(
    function: Callable[..., Any],
    columns: Sequence[Sequence[Any]],
    leave_out: Callable[[BaseException, int], None],
) -> tuple[list[Any], list[int]]:
    """The same, but a row that fails goes to `leave_out`, which raises where it must not be left out.

    Gives the results of the others, and which rows were left out.
    """
    results: list[Any] = []
    gone: list[int] = []
    ahead = columns
    while True:
        failure: BaseException | None = None
        try:
            results.extend(map(function, *ahead))
        except RAISED as error:
            failure = error
        row = len(results) + len(gone)
        if row == len(columns[0]):
            if (wrong := check_results(results)) is not None:
                for each in sorted(set(range(row)).difference(gone)):
                    leave_out(wrong, each)
                return [], list(range(row))
            return results, gone
        leave_out(failure or RuntimeError("the function raised StopIteration"), row)
        gone.append(row)
        ahead = [column[row + 1 :] for column in columns]


def whole(emitted: Iterable[Any], *, is_any: bool = False) -> Iterable[Any]:
    """Gives everything that `emitted` holds; raises `RecordError` for what is no iterable, and, unless any one will do
    (`is_any`), for text and mappings.

    A lazy iterable (`map`, `filter`, ...) whose function raises StopIteration looks as if it had ended, and the rest
    would be lost.  Only a `__next__` may say that it has ended: raised by any other function it is that one's error,
    a `RuntimeError` here.  What another iterator has taken in (`itertools.chain` over such a map) cannot be told apart.
    """
    if isinstance(emitted, _WHOLE):
        return emitted
    if (error := not_iterable(emitted, is_any=is_any)) is not None:
        raise error
    return _drained(emitted)


def _drained(emitted: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    following = iter(emitted).__next__
    try:
        while True:
            found.append(following())
    except StopIteration as end:
        below = end.__traceback__.tb_next if end.__traceback__ is not None else None
        if below is not None and below.tb_frame.f_code.co_name != "__next__":
            raise RuntimeError("the function raised StopIteration").with_traceback(below) from end
    return found
