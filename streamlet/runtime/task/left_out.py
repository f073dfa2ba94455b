"""Records that a source or a sink leaves out, as the policy at its line says; operators do so by themselves."""

from __future__ import annotations

import logging
from typing import Any

from streamlet.elements import Batch
from streamlet.errors import StreamletError
from streamlet.graph.job_graph import Node
from streamlet.operators.error_policy import is_the_records_fault, letter_of
from streamlet.operators.operator import EmitSide
from streamlet.tally import Counting

log = logging.getLogger("streamlet.runtime")


class LeftOut:
    """Takes the records that one subtask of a node leaves out: they become dead letters, or are counted."""

    def __init__(self, node: Node, side: EmitSide, count: Counting) -> None:
        self._node = node
        self._side = side
        self._count = count
        self._has_told = False

    def take(self, error: StreamletError, batch: Batch[Any], row: int) -> None:
        """Takes a row; raises `error` again where it is not the record's fault."""
        node = self._node
        if not is_the_records_fault(error):
            raise error
        if node.letters is not None:
            self._count("dead letters", 1)
            self._side(node.letters, letter_of(error, node.place, batch, row))
            return
        if not self._has_told:
            self._has_told = True
            log.warning("%s\n  -> left out, as will be others without a word (on_error='skip')", error.message)
        self._count("left out", 1)
