"""What the tests of operators share: an operator opened as the engine opens it, fed with batches, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamlet.connect import Batch
from streamlet.operators.keying import SlotLookup
from streamlet.operators.operator import Operator, OperatorContext
from streamlet.operators.user_code.place import Place
from streamlet.state.declaration import StateDeclaration
from tests.unit.state_kit import checkpoint, make_store

PLACE = Place(__file__, 1, "operator", "op")


class Origin:
    """Names rows by their number in the batch that the source cut."""

    def describe(self, row: int) -> str:
        return f"record {row}"


def open_operator(operator: Operator, store: Any = None, *, show_records: bool = False) -> Operator:
    """Opens an operator that remembers in `store`, if it is given."""
    specs = {} if store is None else {one.spec.name: one.spec for one in store.states.values()}
    operator.open(OperatorContext(PLACE, 2, 3, store, specs, show_records))
    return operator


def feed(operator: Operator, *batches: Batch[Any]) -> list[Batch[Any]]:
    """Gives what an open operator emits for these batches."""
    out: list[Batch[Any]] = []
    for batch in batches:
        operator.process(batch, out.append)
    return out


def emitted(operator: Operator, *columns: list[Any]) -> list[list[Any]]:
    """Opens a stateless operator and gives the columns of values that it makes of these columns."""
    open_operator(operator)
    return [batch.values for batch in feed(operator, *(Batch(column) for column in columns))]


class Keyed:
    """An operator behind a `key_by`, with its own store of one of the kinds; restored from `snapshot` if given."""

    def __init__(self, kind: type[Any], root: Path, operator: Operator, snapshot: Any = None) -> None:
        declared: list[StateDeclaration] = [
            one.declare(id, "op", name) for id, (name, one) in enumerate(operator.declared_states().items(), 1)
        ]
        self.store = make_store(kind, root, declared)
        self.store.open([] if snapshot is None else [snapshot])
        self.operator = open_operator(operator, self.store)
        self.lookup = open_operator(SlotLookup(), self.store)

    def feed(self, values: list[Any], key: Callable[[Any], Any], **columns: Any) -> list[Batch[Any]]:
        """Gives the batches that come out for one batch of values."""
        batch = Batch(values, keys=[key(value) for value in values], **columns)
        return feed(self.operator, *feed(self.lookup, batch))

    def values(self, values: Sequence[Any], key: Callable[[Any], Any]) -> list[Any]:
        """Gives the values that come out for one batch of values."""
        return [value for batch in self.feed(list(values), key) for value in batch.values]

    def checkpoint(self) -> Any:
        """Takes the next checkpoint of the store and closes it."""
        snapshot = checkpoint(self.store, self.store.cut + 1)
        self.operator.close()
        self.store.close()
        return snapshot
