"""The shared part of operators that call user functions: one call per record, errors that name line and record."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from streamlet.elements import Batch
from streamlet.errors import UserFunctionError
from streamlet.operators.operator import Operator
from streamlet.operators.selectors import Selector
from streamlet.operators.user_code.place import call_each, call_most, function_error


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
        results = self.call(function, batch, ahead)
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
        it in one row.  What the function changed since `context.journal.restart()` is undone."""
        if self.context.journal is not None:
            self.context.journal.undo()
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
