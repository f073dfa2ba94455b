"""The event time of one source subtask: a watermark for each of its splits, and the lowest of them.

A split is idle when it had no records for the strategy's time-out.  Time during which the subtask was held up (a full
channel, a slow sink, full memory) is taken off: what was not read because nobody could take it is not missing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from streamlet.clock import Clock
from streamlet.elements import MIN_TIMESTAMP, Batch, Watermark
from streamlet.errors import RecordError, UserFunctionError
from streamlet.operators.timestamps import Timestamps
from streamlet.operators.user_code.place import Place, describe_record
from streamlet.operators.watermark_strategy import WatermarkStrategy
from streamlet.runtime.task.left_out import LeftOut
from streamlet.runtime.task.lowest_watermark import LowestWatermark
from streamlet.tally import Counting, uncounted

log = logging.getLogger("streamlet.runtime")

_MS = timedelta(milliseconds=1)
_SILENT_SECONDS = 10.0
"""After so long a split without records that holds others back is told of, where no idleness is set."""
_TICK_SECONDS = 0.2
"""How often event time follows the clock while no record comes, under `processing_time()`."""


class SplitWatermarks:
    """Gives batches their times and follows them. Its methods that give a bool say whether `current` has changed."""

    def __init__(
        self,
        strategy: WatermarkStrategy[Any],
        place: Place,
        subtask: int,
        clock: Clock,
        splits: Iterable[str],
        *,
        show_records: bool = False,
        count: Counting = uncounted,
    ) -> None:
        self.ahead = 0
        """Records that were too far ahead of the clock to move the watermark."""
        self._count = count
        self._strategy = strategy
        self._place = place
        self._clock = clock
        self._timestamps = Timestamps(strategy, place, subtask, clock.now_ms, show_records=show_records)
        self._delay_ms = strategy.delay // _MS + 1
        self._ahead_ms = None if strategy.max_ahead is None else strategy.max_ahead // _MS
        self._idle_seconds = None if strategy.idleness is None else strategy.idleness.total_seconds()
        self._heard: dict[str, float] = {}
        self._held_seconds = 0.0
        self._said: Sequence[int | None] = ()
        """What the strategy's own function said of the batch in hand."""
        self._look_at = clock.monotonic() + _SILENT_SECONDS
        """When to look next for a silent split; infinity once one was told of."""
        self._lowest: LowestWatermark[str] = LowestWatermark()
        for split in splits:
            self.add(split)
        self._lowest.settle()  # a subtask without splits is idle from the start

    @property
    def current(self) -> Watermark:
        """The watermark of the subtask."""
        return self._lowest.current

    def reached(self, split: str) -> int:
        """How far event time has come in a split."""
        return self._lowest.timestamps.get(split, MIN_TIMESTAMP)

    def is_silent(self, split: str) -> bool:
        """True for a split that is idle and holds nobody back."""
        return self._lowest.is_silent(split)

    def add(self, split: str) -> None:
        """Adds a split: it holds the others back until its first record, or until it is idle."""
        self._lowest.add(split)
        self._heard[split] = self._now()

    def hear(self, split: str) -> bool:
        """Notes that a split has records, before they are processed."""
        self._heard[split] = self._now()
        return self._lowest.advance(split, MIN_TIMESTAMP)

    def timed(self, batch: Batch[Any], left_out: LeftOut | None = None) -> Batch[Any]:
        """The batch with its event times.  Raises the error of the first record that has none, or gives that and the
        record to `left_out`, which raises what is not the record's fault; the others are in the batch then."""
        try:
            return self._assigned(batch)
        except (UserFunctionError, RecordError):
            if left_out is None:
                raise
        kept: list[int] = []
        for row in range(len(batch)):
            one = batch.part(row, row + 1)
            try:
                self._assigned(one)
                kept.append(row)
            except (UserFunctionError, RecordError) as error:
                left_out.take(error, one, 0)
        return self._assigned(batch.take(kept)) if kept else batch.take(kept)

    def _assigned(self, batch: Batch[Any]) -> Batch[Any]:
        timed = self._timestamps.assign(batch)
        if self._strategy.kind == "function":
            self._said = self._timestamps.watermarks(timed)
        return timed

    def follow(self, batch: Batch[Any]) -> bool:
        """Moves the split's watermark behind the records of a batch, which have been processed."""
        watermark = self._behind(batch)
        return watermark is not None and self._lowest.advance(batch.split, watermark)

    def held(self, seconds: float) -> None:
        """Notes that the subtask could not read for so long."""
        self._held_seconds += seconds

    def check(self) -> bool:
        """Does what is due without any record: finds splits that have fallen silent, or follows the clock."""
        before = self._lowest.current
        lowest, timeout = self._lowest, self._idle_seconds
        if self._strategy.kind == "processing_time":
            now = self._timestamps.clock_ms() - 1
            for split in lowest.timestamps:
                lowest.advance(split, now)
        elif timeout is not None:
            now_seconds = self._now()
            for split, heard in self._heard.items():
                if now_seconds - heard >= timeout and not lowest.is_silent(split):
                    lowest.advance(split, MIN_TIMESTAMP, is_idle=True)
        elif self._clock.monotonic() >= self._look_at:
            self._look_for_silent()
        lowest.settle()
        return lowest.current != before

    def next_check(self) -> float | None:
        """When `check` is due, by the clock's `monotonic`; None when only records can change anything."""
        if self._strategy.kind == "processing_time":
            return self._clock.monotonic() + _TICK_SECONDS
        if self._idle_seconds is None:
            return self._look_at if len(self._heard) > 1 and self._look_at < math.inf else None
        heard = [at for split, at in self._heard.items() if not self._lowest.is_silent(split)]
        return min(heard) + self._idle_seconds + self._held_seconds if heard else None

    def snapshot(self) -> dict[str, Any]:
        """How far event time has come, by split. Who is idle is not kept: nobody knows after a restart."""
        return {"watermark": self.current.timestamp, "splits": dict(self._lowest.timestamps)}

    def restore(self, snapshots: Sequence[Mapping[str, Any]]) -> None:
        """Takes up what the old subtasks knew of the splits that are here now."""
        for one in snapshots:
            for split in one["splits"].keys() & self._lowest.timestamps.keys():
                self._lowest.add(split, one["splits"][split])
                self._timestamps.not_before(one["splits"][split] + 1)
        # The lowest: a split may have moved here from a subtask whose event time was behind.
        told = [one["watermark"] for one in snapshots if one["splits"]]
        self._lowest.keep(min(told, default=MIN_TIMESTAMP))
        self._lowest.settle()

    def _now(self) -> float:
        return self._clock.monotonic() - self._held_seconds

    def _behind(self, batch: Batch[Any]) -> int | None:
        """The watermark behind the records of a batch; None when they say nothing."""
        kind, timestamps = self._strategy.kind, batch.timestamps or ()
        if kind == "processing_time":
            return timestamps[-1] - 1
        said = self._said if kind == "function" else timestamps
        known = [one for one in said if one is not None] if kind == "function" else timestamps
        newest = max(known, default=None)
        if newest is not None and self._ahead_ms is not None:
            limit = self._clock.now_ms() + self._ahead_ms
            if newest > limit:
                within = [one for one in known if one <= limit]
                self._too_far(batch, said.index(newest), len(known) - len(within))
                newest = max(within, default=None)
        return newest if newest is None or kind == "function" else newest - self._delay_ms

    def _look_for_silent(self) -> None:
        """Warns once of a split that has fallen silent, or never spoke, while others go on: event time waits for it."""
        self._look_at = self._clock.monotonic() + _SILENT_SECONDS
        last = max(self._heard.values(), default=0.0)
        for split, heard in self._heard.items():
            if last - heard >= _SILENT_SECONDS:
                self._look_at = math.inf
                log.warning(
                    "%s: split %s of %s has had no record for %.0f s though others go on, and event time waits for it: "
                    "no window closes; .with_idleness(timedelta(seconds=30)) goes on without a silent split",
                    self._place,
                    split,
                    self._place.operator,
                    last - heard,
                )
                return

    def _too_far(self, batch: Batch[Any], row: int, count: int) -> None:
        if not self.ahead:
            log.warning(
                "%s: a record is more than %s ahead of the clock, so it does not move event time (more are counted "
                "only): %s; .with_max_ahead(...) sets the limit, and where most records are ahead this machine's clock "
                "may be behind",
                self._place.operator,
                self._strategy.max_ahead,
                describe_record(batch, row),
            )
        self.ahead += count
        self._count("ahead of the clock", count)
