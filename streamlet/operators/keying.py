"""The step behind a keyed edge: swaps each key for the slot of this subtask. The only dictionary lookup per record."""

from __future__ import annotations

from typing import Any

from streamlet.elements import Batch
from streamlet.errors import KeyTypeError, RecordError
from streamlet.operators.operator import Emit, Operator, OperatorContext
from streamlet.operators.place import Place, describe_record


class SlotLookup(Operator):
    """Gives every row its slot. What it remembers is the slot table, which is the store's."""

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        assert context.store is not None, "the plan gives every keyed edge a store"
        self.lookup = context.store.lookup

    def process(self, batch: Batch[Any], out: Emit) -> None:
        try:
            slots = self.lookup(batch.keys or ())
        except KeyTypeError as error:
            raise bad_key(error, self.context.place, batch) from error
        out(Batch(batch.values, batch.timestamps, slots, split=batch.split, origin=batch.origin, rows=batch.rows))


def bad_key(error: KeyTypeError, place: Place, batch: Batch[Any]) -> RecordError:
    """Makes the error of a row whose key cannot be used by the operator at `place`."""
    return RecordError(
        f"{place}: {error.message}\n  in {place.operator}\n  record: {describe_record(batch, error.index)}",
        remedy=error.remedy,
    )
