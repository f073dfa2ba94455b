"""The column of event times that a source's batches get, and the errors of functions that tell times."""

from __future__ import annotations

import linecache
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from streamlet.clock import RisingClock
from streamlet.elements import MAX_TIMESTAMP, Batch
from streamlet.errors import JobDefinitionError, RecordError
from streamlet.operators.functions import call_each
from streamlet.operators.user_code.place import Place, describe_record, function_error
from streamlet.operators.watermark_strategy import WatermarkStrategy

log = logging.getLogger("streamlet.operators")

_INTS = frozenset({int})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND, _LAST_SECOND = 300_000_000, 10_000_000_000
"""From 1979 to 2286 in seconds; in milliseconds that is some weeks of 1970."""
_UNITS = (
    ("seconds", 1, "give int(seconds * 1000)"),
    ("microseconds", 1_000_000, "give microseconds // 1000"),
    ("nanoseconds", 1_000_000_000, "give nanoseconds // 1_000_000"),
)
_LEAST = -(1 << 62)
"""The earliest time that a function may give: long before 1970, and far enough from the end that windows fit before."""
_SOURCES_LEAST = 0
"""The earliest time of a source's own: what is below stands for none, such as the -1 of old Kafka producers."""


class Timestamps:
    """Gives each batch its event times, by the strategy of its source; refuses what is no time."""

    def __init__(
        self,
        strategy: WatermarkStrategy[Any],
        place: Place,
        subtask: int,
        now_ms: Callable[[], int],
        *,
        show_records: bool = False,
    ) -> None:
        self._strategy = strategy
        self._place = place
        self._subtask = subtask
        self._clock = RisingClock(now_ms)
        self._show_records = show_records
        self._has_looked = False

    def assign(self, batch: Batch[Any]) -> Batch[Any]:
        """The batch with its event times; raises `RecordError` or `UserFunctionError` naming the first bad record."""
        function = self._strategy.timestamps
        if self._strategy.kind == "processing_time":
            return _timed(batch, [self.clock_ms()] * len(batch))
        least = _LEAST
        if function is not None:
            column: Sequence[Any] = self.call(function, batch)
        elif batch.timestamps is not None:
            column, least = batch.timestamps, _SOURCES_LEAST
        else:
            raise JobDefinitionError(
                f"{self._place}: the records of {self._place.operator} have no time of their own",
                remedy="say where it is in the value: watermarks=....with_timestamps(lambda value: value.time_ms)",
            )
        if not _INTS.issuperset(map(type, column)) or min(column) < least or max(column) >= MAX_TIMESTAMP:
            raise self._no_time(function, batch, column)
        if not self._has_looked:
            self._has_looked = True
            self._look_at_unit(batch, column[0])
        return batch if column is batch.timestamps else _timed(batch, column)

    def watermarks(self, batch: Batch[Any]) -> Sequence[int | None]:
        """The watermarks that the strategy's own function gives behind the records of a batch."""
        function = self._strategy.function
        assert function is not None, "only strategies of that kind are asked"
        column: list[Any] = self.call(function, batch, batch.values, batch.timestamps or ())
        for row, one in enumerate(column):
            if one is not None and type(one) is not int:
                raise self._refused(function, batch, row, f"the watermark function gave {one!r:.80}")
        return column

    def not_before(self, time_ms: int) -> None:
        """Takes up the clock where it stood before a restart: one that was set back meanwhile makes nothing late."""
        self._clock.not_before(time_ms)

    def clock_ms(self) -> int:
        """The wall clock, but never going back."""
        return self._clock.now_ms()

    def call(self, function: Callable[..., Any], batch: Batch[Any], *columns: Sequence[Any]) -> list[Any]:
        """Calls a function of the user per row; a failure names its line, this source and the record."""
        return call_each(function, batch, *columns, fail=self._failure)

    def _look_at_unit(self, batch: Batch[Any], time: int) -> None:
        """Tells of a time that is hardly one in milliseconds, but one of these days in another unit."""
        for unit, in_a_second, remedy in _UNITS:
            if _FIRST_SECOND * in_a_second <= time < _LAST_SECOND * in_a_second:
                log.warning(
                    "%s: %s gives %d as the time of its first record (%s): in %s that is %s, in milliseconds it is far "
                    "away. If it is in %s, %s",
                    self._place,
                    self._place.operator,
                    time,
                    describe_record(batch, 0),
                    unit,
                    (_EPOCH + timedelta(seconds=time // in_a_second)).date(),
                    unit,
                    remedy,
                )

    def _failure(self, error: BaseException, batch: Batch[Any], row: int) -> BaseException:
        return function_error(error, self._place, batch, row, subtask=self._subtask, show_record=self._show_records)

    def _no_time(self, function: Callable[..., Any] | None, batch: Batch[Any], column: Sequence[Any]) -> RecordError:
        least = _SOURCES_LEAST if function is None else _LEAST
        bad = (row for row, one in enumerate(column) if type(one) is not int or not least <= one < MAX_TIMESTAMP)
        row = next(bad)
        gave = "the source gave" if function is None else "the timestamp function gave"
        return self._refused(function, batch, row, f"{gave} {column[row]!r:.80} as the time of a record")

    def _refused(self, function: Callable[..., Any] | None, batch: Batch[Any], row: int, what: str) -> RecordError:
        code = getattr(function, "__code__", None)
        file, line = (
            (code.co_filename, code.co_firstlineno) if code is not None else (self._place.file, self._place.line)
        )
        lines = [f"{file}:{line}: {what}"]
        if text := linecache.getline(file, line).strip():
            lines.append(f"    {text}")
        lines.append(f"  in {self._place.operator}, subtask {self._subtask}, made at {self._place}")
        lines.append(f"  record: {describe_record(batch, row)}")
        if self._show_records:
            lines.append(f"  value: {batch.values[row]!r:.2000}")
        return RecordError(
            "\n".join(lines),
            remedy="give whole epoch milliseconds, as an int: int(moment.timestamp() * 1000) of a datetime, "
            "int(seconds * 1000) of seconds"
            + ("" if function is not None else "; or take the time from the value by .with_timestamps(...)")
            + "; job.source(..., on_error=...) leaves such records out, or puts them aside",
        )


def _timed(batch: Batch[Any], timestamps: Sequence[int]) -> Batch[Any]:
    return Batch(
        batch.values,
        timestamps,
        batch.keys,
        split=batch.split,
        next_position=batch.next_position,
        origin=batch.origin,
        rows=batch.rows,
    )
