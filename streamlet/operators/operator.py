"""The contract of an operator: what happens to a batch.

An operator is synchronous: it takes a batch and emits batches by calling `out` before it returns.  It does no I/O and
knows nothing of channels, barriers or tasks; what it remembers is keyed state, which the engine snapshots for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from streamlet.elements import Batch
from streamlet.operators.place import Place
from streamlet.state.descriptors import Descriptor
from streamlet.state.snapshot import StateSpec
from streamlet.state.store import KeyedStore

Emit = Callable[[Batch[Any]], None]


class OperatorContext(msgspec.Struct, frozen=True):
    """What an operator is told about the place it runs in."""

    place: Place
    subtask: int
    parallelism: int
    store: KeyedStore | None
    """The state of this subtask's key groups; None where the stream is not keyed."""
    states: Mapping[str, StateSpec] = {}
    """The operator's declared states by name, numbered."""
    show_records: bool = False


class Operator:
    """One transformation. The engine makes one instance per subtask, opens it, and calls it from one task only."""

    def declared_states(self) -> Mapping[str, Descriptor]:
        """Gives every keyed state by name, without being opened: the plan numbers them."""
        return {}

    def open(self, context: OperatorContext) -> None:
        """Gets ready; state handles are bound from here on."""
        self.context = context

    def process(self, batch: Batch[Any], out: Emit) -> None:
        """Handles one batch. It must not change the batch's lists."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what `open` began; called once, also after a failure."""
