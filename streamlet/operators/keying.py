"""The step behind a keyed edge: swaps each key for the slot of this subtask. The only dictionary lookup per record."""

from __future__ import annotations

from typing import Any

from streamlet.elements import Batch
from streamlet.errors import KeyTypeError, RecordError, UserFunctionError
from streamlet.operators.error_policy import LeavingOut
from streamlet.operators.operator import Emit, Operator, OperatorContext
from streamlet.operators.user_code.place import Place, describe_record, function_error
from streamlet.operators.user_code.raised import spot_of
from streamlet.state.memory.cells import Slot


class SlotLookup(Operator):
    """Gives every row its slot. What it remembers is the slot table, which is the store's.

    Rows whose key is none go where the operator behind it puts those for which it fails.
    """

    def __init__(self, behind: LeavingOut | None = None) -> None:
        """`behind` is the operator that the rows are for, where it has an error policy."""
        self._behind = behind

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed edge a store"
        self.lookup = context.store.lookup

    def process(self, batch: Batch[Any], out: Emit) -> None:
        try:
            slots = self.lookup(batch.keys or ())
        except KeyTypeError as error:
            if self._behind is None:
                raise bad_key(error, self.context.place, batch) from error
            batch, slots = self._sifted(batch, self._behind)
            if not slots:
                return
        except Exception as error:
            if spot_of(error) is None:
                raise
            raise self._of_key(error, batch) from None
        out(batch.with_keys(slots))

    def _of_key(self, error: Exception, batch: Batch[Any]) -> UserFunctionError:
        """The error of the first row whose key's own `__hash__` or `__eq__` fails."""
        keys, row = batch.keys or (), 0
        try:
            while row < len(keys):
                self.lookup([keys[row]])
                row += 1
        except Exception as again:
            error = again
        row = min(row, len(keys) - 1)  # one by one they may pass
        context = self.context
        return function_error(
            error, context.place, batch, row, subtask=context.subtask, show_record=context.show_records
        )

    def _sifted(self, batch: Batch[Any], behind: LeavingOut) -> tuple[Batch[Any], list[Slot]]:
        """The rows that have a key, and their slots; the others are left out."""
        context, keys = self.context, list(batch.keys or ())
        kept: list[int] = []
        slots: list[Slot] = []
        start = 0
        while start < len(keys):
            try:
                slots += self.lookup(keys[start:])
                kept += range(start, len(keys))
                break
            except KeyTypeError as error:
                row = start + error.index
                slots += self.lookup(keys[start:row])
                kept += range(start, row)
                behind.leave_out(
                    function_error(
                        error, context.place, batch, row, subtask=context.subtask, show_record=context.show_records
                    )
                )
                start = row + 1
        return batch.take(kept), slots


def bad_key(error: KeyTypeError, place: Place, batch: Batch[Any]) -> RecordError:
    """Makes the error of a row whose key cannot be used by the operator at `place`."""
    return RecordError(
        f"{place}: {error.message}\n  in {place.operator}\n  record: {describe_record(batch, error.index)}",
        remedy=f"{error.remedy}; or leave such records out, or put them aside, by on_error= of key_by",
    )
