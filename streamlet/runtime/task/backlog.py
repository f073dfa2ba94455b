"""What is on its way to the subtasks of one task in one process, bounded by the time that it will take them.

```text
sender: may another batch begin? --has_room--> Backlog <--took-- receivers: so many records took so long
        batch > chain > channels  --add------>         <--remove-- a record was taken out
```

A barrier waits behind everything that was sent before it, so that must never be more than a moment's work, whatever the
job's functions do (the idea of FLIP-183).  All senders of a process share one backlog, and all its receivers too, for
they share one event loop.  Nobody waits with records in hand: who finds no room begins no batch, and barriers pass.

What was sent behind a barrier may have to wait until other senders have sent theirs.  So a sender counts only what
belongs to its own checkpoint or to earlier ones: nobody waits for room that only its own barrier could make.
"""

from __future__ import annotations

from collections.abc import Callable

from streamlet.runtime.task.pace import Pace

WORK_SECONDS = 0.1
"""How much work may be on the way."""


class Backlog:
    """Counts batches and records on the way, and says whether more may come.  One batch always may."""

    def __init__(self, most_records: int, work_seconds: float = WORK_SECONDS) -> None:
        """However fast they are, no more than `most_records` and what one batch of each sender makes."""
        self.records = 0
        self.on_pace: list[Callable[[], None]] = []
        """Called when the pace may have changed."""
        self.most_records = most_records
        self._work_seconds = work_seconds
        # As if records were slow, until one was measured.
        self._pace = Pace(work_seconds)
        self._batches = 0
        self._working = 0
        self._since = 0.0
        self._by_barrier: dict[int, tuple[int, int]] = {}
        self._waiting: dict[Callable[[], None], int] = {}
        """Whom to wake, and what the last barrier was that it has sent."""

    @property
    def seconds_per_record(self) -> float:
        """How long its receivers need for one."""
        return self._pace.per_record

    @property
    def seconds_per_batch(self) -> float:
        """What a batch takes them beside that, by waiting."""
        return self._pace.per_batch

    def has_room(self, barrier: int) -> bool:
        """True when a sender may begin a batch whose last barrier was that of checkpoint `barrier`."""
        if self._may_have(self._batches, self.records):
            return True
        before = [on_way for of, on_way in self._by_barrier.items() if of <= barrier]
        return self._may_have(sum(batches for batches, _ in before), sum(records for _, records in before))

    def wake_when_roomy(self, barrier: int, wake: Callable[[], None]) -> None:
        """Calls `wake` once as soon as there is room for a batch behind the barrier of checkpoint `barrier`."""
        self._waiting[wake] = barrier

    def add(self, barrier: int, records: int) -> None:
        """A batch was sent behind the barrier of checkpoint `barrier`."""
        self._batches += 1
        self.records += records
        batches, before = self._by_barrier.get(barrier, (0, 0))
        self._by_barrier[barrier] = batches + 1, before + records

    def remove(self, barrier: int, records: int) -> None:
        """It was taken out."""
        self._batches -= 1
        self.records -= records
        batches, before = self._by_barrier[barrier]
        if batches > 1:
            self._by_barrier[barrier] = batches - 1, before - records
        else:
            del self._by_barrier[barrier]
        if self._waiting:
            self._wake()

    def begin(self, now: float) -> None:
        """A receiver begins to work on a batch."""
        if not self._working:
            self._since = now
        self._working += 1

    def done(self, now: float, records: int, seconds: float) -> None:
        """It is ready for the next one, after so many of the seconds in which it worked itself, or waited for room
        behind it.  What several receivers do at once takes all of them only once; and the rest, in which others held
        the loop or sinks let it wait, may be the same for more records."""
        self._working -= 1
        took, self._since = now - self._since, now
        seconds = min(took, seconds)
        self._pace.took(records, seconds, took - seconds)
        self._paced()

    def told(self, seconds_per_batch: float, seconds_per_record: float) -> None:
        """Takes over what the receivers in another process tell."""
        self._pace.per_batch, self._pace.per_record = seconds_per_batch, seconds_per_record
        self._paced()

    def _paced(self) -> None:
        for changed in self.on_pace:
            changed()
        if self._waiting:
            self._wake()

    def _may_have(self, batches: int, records: int) -> bool:
        work_seconds = batches * self._pace.per_batch + records * self._pace.per_record
        return not batches or (records < self.most_records and work_seconds < self._work_seconds)

    def _wake(self) -> None:
        # Each by its own barrier: what lies here of later ones may be all there is, and wait for just this sender.
        has_room = {barrier: self.has_room(barrier) for barrier in set(self._waiting.values())}
        roomy = [wake for wake, barrier in self._waiting.items() if has_room[barrier]]
        for wake in roomy:
            del self._waiting[wake]
        for wake in roomy:
            wake()
