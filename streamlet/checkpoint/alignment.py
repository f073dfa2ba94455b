"""Barrier alignment of one task with several inputs, without I/O: facts in, decisions out.

```text
            barrier n on one input            barrier n on the last input
  FLOWING ------------------------> ALIGNING(n) ------------------------> FLOWING, barrier n goes on
                                     inputs that had it are blocked        all inputs unblocked
```

An input that had its barrier is blocked until every input had it: what comes behind the barrier belongs to the next
checkpoint and must not touch the state before the snapshot (Carbone et al., "Lightweight Asynchronous Snapshots for
Distributed Dataflows", 2015, section 4).  Barriers of an input rise, and every input gets every barrier, also after
its EndOfInput, so a barrier of another checkpoint during an alignment is a broken protocol and refused.
"""

from __future__ import annotations

from streamlet.errors import StreamletError


class BarrierAligner:
    """Decides which inputs of one subtask may be read, and when a barrier is complete."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._arrived: set[int] = set()
        self._ended: set[int] = set()
        self._last = -1
        self.checkpoint_id: int | None = None
        """The checkpoint that is being aligned; None while everything flows."""

    def is_blocked(self, index: int) -> bool:
        """True while nothing may be taken from this input."""
        return index in self._arrived

    def barrier(self, index: int, checkpoint_id: int) -> bool:
        """Notes a barrier; True when it was the last one missing: now snapshot, then send it on."""
        if index in self._arrived:
            raise StreamletError(f"barrier {checkpoint_id} came on input {index}, which is blocked by its last barrier")
        if self.checkpoint_id is None:
            if checkpoint_id <= self._last:
                raise StreamletError(f"barrier {checkpoint_id} came on input {index} after barrier {self._last}")
            self.checkpoint_id = checkpoint_id
        elif checkpoint_id != self.checkpoint_id:
            raise StreamletError(f"barrier {checkpoint_id} came on input {index} while {self.checkpoint_id} is aligned")
        self._arrived.add(index)
        if len(self._arrived) < self._inputs:
            return False
        self._arrived.clear()
        self._last, self.checkpoint_id = checkpoint_id, None
        return True

    def end(self, index: int) -> bool:
        """Notes the end of an input; True when it was the last one."""
        if index in self._ended:
            raise StreamletError(f"input {index} ended twice")
        self._ended.add(index)
        return len(self._ended) == self._inputs
