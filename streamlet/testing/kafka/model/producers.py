"""What a partition remembers of each producer: its epoch, its last batches, and its open transaction."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.batches import RecordBatch

REMEMBERED_BATCHES = 5
_LAST_SEQUENCE = 2**31 - 1


class Written(NamedTuple):
    """A batch that a repeated Produce is recognised by."""

    epoch: int
    first_sequence: int
    last_sequence: int
    base_offset: int


@dataclass(slots=True)
class ProducerState:
    """One producer in one partition. `first_offset` is where its open transaction starts, None when none is open."""

    epoch: int = -1
    written: deque[Written] = field(default_factory=lambda: deque(maxlen=REMEMBERED_BATCHES))
    first_offset: int | None = None
    last_timestamp: int = -1

    @property
    def last_sequence(self) -> int:
        return self.written[-1].last_sequence if self.written else -1

    def duplicate_of(self, batch: RecordBatch) -> Written | None:
        """The earlier batch that this one repeats."""
        if batch.epoch != self.epoch:
            return None
        for one in self.written:
            if (one.first_sequence, one.last_sequence) == (batch.base_sequence, batch.last_sequence):
                return one
        return None

    def refusal(self, batch: RecordBatch) -> int:
        """An error code when the batch does not follow the last one.

        The first batch of a producer that the partition does not know may have any sequence: a lost first batch is
        not noticed.
        """
        if self.epoch == -1:
            return codes.NONE
        if batch.epoch < self.epoch:
            return codes.INVALID_PRODUCER_EPOCH
        if batch.epoch > self.epoch:
            return codes.OUT_OF_ORDER_SEQUENCE if batch.base_sequence else codes.NONE
        last = self.last_sequence
        follows = batch.base_sequence == (0 if last == _LAST_SEQUENCE else last + 1)
        return codes.NONE if follows else codes.OUT_OF_ORDER_SEQUENCE

    def appended(self, batch: RecordBatch) -> None:
        """Takes a batch that was written at its offset."""
        self.take_epoch(batch.epoch)
        self.written.append(Written(batch.epoch, batch.base_sequence, batch.last_sequence, batch.base_offset))
        self.last_timestamp = batch.max_timestamp
        if batch.is_transactional and self.first_offset is None:
            self.first_offset = batch.base_offset

    def take_epoch(self, epoch: int) -> None:
        """A new epoch starts its sequences at 0."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.written.clear()
