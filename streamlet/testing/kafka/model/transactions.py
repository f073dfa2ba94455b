"""The transaction coordinator, by the rules of Kafka 3.x and 4.x for EndTxn versions 0 to 4.

```text
            AddPartitions            EndTxn, time-out, fencing           markers written
EMPTY -----------------> ONGOING --------------------------> PREPARE_* ----------------> COMPLETE_*
                            ^                                                                |
                            +------------------------- AddPartitions ------------------------+
InitProducerId: EMPTY and COMPLETE_* -> EMPTY with the next epoch; ONGOING is aborted first.
```

A producer is fenced when its epoch is not the current one.  The codes here are those of new request versions; older
ones hear INVALID_PRODUCER_EPOCH where new ones hear PRODUCER_FENCED.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.settings import BrokerSettings

_LAST_EPOCH = 32766
Place = tuple[str, int]
"""(topic, partition)."""


class State(enum.Enum):
    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"


_PREPARED = (State.PREPARE_COMMIT, State.PREPARE_ABORT)


class Identity(NamedTuple):
    """The answer to InitProducerId."""

    error: int
    producer_id: int = -1
    epoch: int = -1


@dataclass(slots=True)
class TransactionalId:
    """A transactional id and its current transaction."""

    id: str
    producer_id: int
    timeout_ms: int
    changed_ms: int
    epoch: int = 0
    last_epoch: int = -1
    """The epoch before, for a producer that repeats InitProducerId with it."""
    state: State = State.EMPTY
    start_ms: int = -1
    partitions: set[Place] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    markers_due_ms: int | None = None

    @property
    def is_prepared(self) -> bool:
        return self.state in _PREPARED

    @property
    def is_committing(self) -> bool:
        return self.state is State.PREPARE_COMMIT


class TransactionCoordinator:
    """All transactional ids. Whoever owns it writes the markers that are `due`, then says `complete`."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._ids: dict[str, TransactionalId] = {}
        self._next_producer_id = 1000
        self._last_sweep_ms: int | None = None
        self.loads_until_ms = 0
        """Until then it answers that it still reads its log, as after a restart; nothing happens by itself either."""

    def get(self, id: str) -> TransactionalId | None:
        return self._ids.get(id)

    def all(self) -> Iterable[TransactionalId]:
        return self._ids.values()

    # -- requests

    def init_producer_id(
        self, id: str | None, timeout_ms: int, now_ms: int, expected: tuple[int, int] | None = None
    ) -> Identity:
        """Gives a new epoch; over an open transaction it aborts that one and asks to be asked again.

        A producer that names its identity gets the next epoch, and the same again when it repeats the request.
        """
        if id is None:
            return Identity(codes.NONE, self._new_producer_id(), 0)
        if not 0 < timeout_ms <= self._settings.transaction_max_timeout_ms:
            return Identity(codes.INVALID_TRANSACTION_TIMEOUT)
        if now_ms < self.loads_until_ms:
            return Identity(codes.COORDINATOR_LOAD_IN_PROGRESS)
        known = self._ids.get(id)
        if known is None:
            known = self._ids[id] = TransactionalId(id, self._new_producer_id(), timeout_ms, now_ms)
            return Identity(codes.NONE, known.producer_id, known.epoch)
        if expected is not None and expected[0] != known.producer_id:
            return Identity(codes.PRODUCER_FENCED)
        if known.is_prepared:
            return Identity(codes.CONCURRENT_TRANSACTIONS)
        if known.state is State.ONGOING:
            self._fence(known, now_ms)
            return Identity(codes.CONCURRENT_TRANSACTIONS)
        if expected is not None and expected[1] not in (known.epoch, known.last_epoch):
            return Identity(codes.PRODUCER_FENCED)
        if expected is None or expected[1] == known.epoch:
            self._bump(known, remember=expected is not None)
        known.state, known.timeout_ms, known.changed_ms, known.start_ms = State.EMPTY, timeout_ms, now_ms, -1
        return Identity(codes.NONE, known.producer_id, known.epoch)

    def add(
        self,
        id: str,
        producer_id: int,
        epoch: int,
        now_ms: int,
        *,
        partitions: Iterable[Place] = (),
        groups: Iterable[str] = (),
    ) -> int:
        """Joins partitions and groups to the transaction, which it opens if need be; gives an error code."""
        if now_ms < self.loads_until_ms:
            return codes.COORDINATOR_LOAD_IN_PROGRESS
        known, error = self._holder(id, producer_id, epoch)
        if known is None or error:
            return error
        if known.is_prepared:
            return codes.CONCURRENT_TRANSACTIONS
        if known.state is not State.ONGOING:
            known.state, known.start_ms = State.ONGOING, now_ms
        known.partitions.update(partitions)
        known.groups.update(groups)
        known.changed_ms = now_ms
        return codes.NONE

    def verify(self, id: str, producer_id: int, epoch: int, place: Place) -> int:
        """An error code unless the partition belongs to this producer's open transaction."""
        known, error = self._holder(id, producer_id, epoch)
        if known is None or error:
            return error
        if known.is_prepared:
            return codes.CONCURRENT_TRANSACTIONS
        is_open = known.state is State.ONGOING and place in known.partitions
        return codes.NONE if is_open else codes.INVALID_TXN_STATE

    def has_group(self, id: str, producer_id: int, epoch: int, group: str) -> int:
        """An error code unless the group belongs to this producer's open transaction."""
        known, error = self._holder(id, producer_id, epoch)
        if known is None or error:
            return error
        is_open = known.state is State.ONGOING and group in known.groups
        return codes.NONE if is_open else codes.INVALID_TXN_STATE

    def end(self, id: str, producer_id: int, epoch: int, now_ms: int, *, commit: bool) -> int:
        """Decides a transaction; gives an error code. The same decision may be repeated, the other one is refused."""
        if now_ms < self.loads_until_ms:
            return codes.COORDINATOR_LOAD_IN_PROGRESS
        known, error = self._holder(id, producer_id, epoch)
        if known is None or error:
            return error
        if known.is_prepared:
            return codes.CONCURRENT_TRANSACTIONS
        if known.state is State.ONGOING:
            self._prepare(known, now_ms, commit=commit)
            return codes.NONE
        repeated = State.COMPLETE_COMMIT if commit else State.COMPLETE_ABORT
        return codes.NONE if known.state is repeated else codes.INVALID_TXN_STATE

    def _holder(self, id: str, producer_id: int, epoch: int) -> tuple[TransactionalId | None, int]:
        known = self._ids.get(id)
        if known is None or known.producer_id != producer_id:
            return None, codes.INVALID_PRODUCER_ID_MAPPING
        return known, codes.NONE if known.epoch == epoch else codes.PRODUCER_FENCED

    # -- time

    def due(self, now_ms: int) -> list[TransactionalId]:
        """Transactions whose markers are to be written now."""
        if now_ms < self.loads_until_ms:
            return []
        return [one for one in self._ids.values() if one.markers_due_ms is not None and one.markers_due_ms <= now_ms]

    def complete(self, known: TransactionalId, now_ms: int) -> None:
        """Says that every marker is written."""
        known.state = State.COMPLETE_COMMIT if known.is_committing else State.COMPLETE_ABORT
        known.markers_due_ms = None
        known.changed_ms = now_ms
        known.partitions.clear()
        known.groups.clear()

    def sweep(self, now_ms: int) -> None:
        """Aborts what timed out and forgets what expired; does so once per sweep interval."""
        last = self._last_sweep_ms
        if now_ms < self.loads_until_ms or (last is not None and now_ms - last < self._settings.sweep_interval_ms):
            return
        self._last_sweep_ms = now_ms
        for known in list(self._ids.values()):
            if known.state is State.ONGOING:
                if known.start_ms + known.timeout_ms < now_ms:
                    self._fence(known, now_ms)
            elif not known.is_prepared and known.changed_ms + self._settings.transactional_id_expiration_ms <= now_ms:
                del self._ids[known.id]

    def next_event_ms(self) -> int | None:
        """When something is to happen by itself next."""
        times = [one.markers_due_ms for one in self._ids.values() if one.markers_due_ms is not None]
        if self._ids and self._last_sweep_ms is not None:
            times.append(self._last_sweep_ms + self._settings.sweep_interval_ms)
        return max(min(times), self.loads_until_ms) if times else None

    # -- steps

    def _fence(self, known: TransactionalId, now_ms: int) -> None:
        known.last_epoch, known.epoch = known.epoch, known.epoch + 1
        self._prepare(known, now_ms, commit=False)

    def _prepare(self, known: TransactionalId, now_ms: int, *, commit: bool) -> None:
        known.state = State.PREPARE_COMMIT if commit else State.PREPARE_ABORT
        known.changed_ms = now_ms
        known.markers_due_ms = now_ms + self._settings.marker_delay_ms

    def _bump(self, known: TransactionalId, *, remember: bool) -> None:
        if known.epoch >= _LAST_EPOCH:
            known.producer_id, known.epoch, known.last_epoch = self._new_producer_id(), 0, -1
            return
        known.last_epoch = known.epoch if remember else -1
        known.epoch += 1

    def _new_producer_id(self) -> int:
        self._next_producer_id += 1
        return self._next_producer_id
