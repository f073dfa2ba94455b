"""The shared part of operators that call user functions: one call per record, errors that name line and record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamlet.elements import Batch
from streamlet.operators.operator import Operator
from streamlet.operators.place import call_each, function_error


class CallingOperator(Operator):
    """Calls user functions on batches."""

    def call(self, function: Callable[..., Any], batch: Batch[Any], *columns: Sequence[Any]) -> list[Any]:
        """Calls `function` per row; a failure names the user's line, this operator and the record."""
        return call_each(function, batch, *columns, fail=self.failure)

    def failure(self, error: BaseException, batch: Batch[Any], row: int) -> BaseException:
        """Makes the error of the row that failed."""
        context = self.context
        return function_error(
            error, context.place, batch, row, subtask=context.subtask, show_record=context.show_records
        )


class FunctionOperator(CallingOperator):
    """An operator that is one user function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
