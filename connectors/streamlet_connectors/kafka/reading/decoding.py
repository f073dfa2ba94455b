"""From Kafka's rows to a column of values, with the policies for rows that have no value or cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from streamlet import OutputTag
from streamlet.connect import DecodeError, Format
from streamlet_connectors.kafka.reading.records import Row

NullValues = Literal["fail", "skip", "pass"]
OnBadRecord = Literal["fail", "skip"] | OutputTag["BadRecord"]

_log = logging.getLogger("streamlet.kafka")
_SHOWN_BYTES = 200


class KafkaRecord(msgspec.Struct, frozen=True, gc=False):
    """A record with everything that Kafka holds of it; what `KafkaSource(record="full")` gives."""

    key: Any
    """Decoded by the source's key format; bytes without one."""
    value: Any
    headers: list[tuple[str, bytes | None]]
    timestamp: int
    topic: str
    partition: int
    offset: int


class BadRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be decoded, as it lies in the topic, and why; what `on_bad_record=OutputTag(...)` gives."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    error: str
    """The class of the exception."""
    message: str
    """Its text."""


class KafkaOrigin:
    """Names the rows of a batch. It keeps their offsets and not the rows, whose memory is then free for what follows:
    the next columns lie where the processor's cache still is."""

    __slots__ = ("_offsets", "_partition", "_topic")

    def __init__(self, topic: str, partition: int, rows: Sequence[Row]) -> None:
        self._topic = topic
        self._partition = partition
        first = rows[0].offset if rows else 0
        # Offsets only grow, so that the last one tells whether there are gaps.
        is_whole = not rows or rows[-1].offset - first == len(rows) - 1
        self._offsets = range(first, first + len(rows)) if is_whole else [row.offset for row in rows]

    def describe(self, row: int) -> str:
        return _place(self._topic, self._partition, self._offsets[row])


class Decoded(NamedTuple):
    """Values of equally many rows. After a bad row under "fail", `error` is set and nothing behind it is in."""

    rows: list[Row]
    values: list[Any]
    error: DecodeError | None = None
    bad: Sequence[BadRecord] = ()
    """Those that are given beside the values, in the order of their offsets."""


class Decoder:
    """Decodes rows column by column; one by one only when something is wrong with one of them."""

    def __init__(
        self,
        value: Format[Any],
        key: Format[Any] | None = None,
        *,
        full: bool = False,
        null_values: NullValues = "fail",
        on_bad_record: OnBadRecord = "fail",
        show_records: bool = False,
        count: Callable[[Literal["left out", "dead letters"], int], None] = lambda kind, number: None,
    ) -> None:
        self._value = value
        self._count = count
        self._key = key
        self._full = full
        self._null_values = null_values
        self._on_bad_record = on_bad_record
        self._show_records = show_records
        self.bad_tag = on_bad_record if isinstance(on_bad_record, OutputTag) else None
        """Under which tag bad records are given; None where they are not."""
        self.skipped = 0
        """How many records `null_values="skip"` and `on_bad_record="skip"` have left out."""

    def decode(self, topic: str, partition: int, rows: list[Row]) -> Decoded:
        raw = [row.value for row in rows]
        if all(raw):  # neither null nor empty: far the usual case, and the quickest way to see it
            try:
                return self._finished(topic, partition, rows, self._value.decode_batch(raw))  # type: ignore[arg-type]
            except DecodeError:
                return self._one_by_one(topic, partition, rows)
        if self._null_values == "skip":
            kept = [row for row in rows if row.value is not None]
            self.skipped += len(rows) - len(kept)
            rows = kept
        try:
            return self._finished(topic, partition, rows, self._values_and_nulls(rows))
        except DecodeError:
            return self._one_by_one(topic, partition, rows)

    def _values_and_nulls(self, rows: list[Row]) -> list[Any]:
        raw = [value for row in rows if (value := row.value) is not None]
        if len(raw) < len(rows) and self._null_values == "fail":
            raise DecodeError("it has no value")
        values = self._value.decode_batch(raw)
        if len(raw) == len(rows):
            return values
        following = iter(values)
        return [None if row.value is None else next(following) for row in rows]

    def _finished(self, topic: str, partition: int, rows: list[Row], values: list[Any]) -> Decoded:
        if self._full:
            keys = self._keys(rows)
            values = [
                KafkaRecord(key, value, row.headers, row.timestamp, topic, partition, row.offset)
                for key, value, row in zip(keys, values, rows, strict=True)
            ]
        return Decoded(rows, values)

    def _keys(self, rows: list[Row]) -> list[Any]:
        raw = [row.key for row in rows]
        if self._key is None:
            return raw
        try:
            following = iter(self._key.decode_batch([key for key in raw if key is not None]))
        except DecodeError as error:
            raise DecodeError(f"its key is {error.message}", index=error.index, remedy=error.remedy) from error
        return [None if key is None else next(following) for key in raw]

    def _one_by_one(self, topic: str, partition: int, rows: list[Row]) -> Decoded:
        good: list[Row] = []
        values: list[Any] = []
        bad: list[BadRecord] = []
        for row in rows:
            try:
                values += self._finished(topic, partition, [row], self._values_and_nulls([row])).values
            except DecodeError as error:
                explained = self._explain(topic, partition, row, error)
                if self._on_bad_record == "fail" or (row.value is None and self._null_values == "fail"):
                    return Decoded(good, values, explained, bad)
                if self._on_bad_record == "skip":
                    self._skip(explained, error.remedy)
                else:
                    bad.append(_bad(topic, partition, row, error))
                    self._count("dead letters", 1)
            else:
                good.append(row)
        return Decoded(good, values, None, bad)

    def _explain(self, topic: str, partition: int, row: Row, error: DecodeError) -> DecodeError:
        place = _place(topic, partition, row.offset)
        if row.value is None and self._null_values == "fail":
            return DecodeError(
                f"the record at {place} has no value (a tombstone)",
                remedy='null_values="skip" leaves such records out, null_values="pass" gives None as their value',
            )
        shown = ""
        if self._show_records:
            shown = f"; key {_shown(row.key)}, value {_shown(row.value)}"
        explained = DecodeError(
            f"the record at {place} cannot be read: {error.message}{shown}",
            remedy=f"{error.remedy or 'mend the format'}"
            ', or leave such records out with on_bad_record="skip", or put them aside with '
            'on_bad_record=OutputTag[BadRecord]("bad")'
            + ("" if self._show_records else "; show_records=True puts the record into this message"),
        )
        explained.__cause__ = error
        return explained

    def _skip(self, error: DecodeError, remedy: str | None) -> None:
        self.skipped += 1
        self._count("left out", 1)
        if self.skipped in (1, 10, 100) or self.skipped % 1000 == 0:
            _log.warning("left out (%d so far): %s%s", self.skipped, error.message, f" ({remedy})" if remedy else "")


def _bad(topic: str, partition: int, row: Row, error: DecodeError) -> BadRecord:
    name = type(error.__cause__ or error).__name__
    return BadRecord(
        topic, partition, row.offset, row.timestamp, row.key, row.value, list(row.headers), name, error.message
    )


def _place(topic: str, partition: int, offset: int) -> str:
    return f"topic {topic}, partition {partition}, offset {offset}"


def _shown(data: bytes | None) -> str:
    if data is None or len(data) <= _SHOWN_BYTES:
        return repr(data)
    return f"{data[:_SHOWN_BYTES]!r}... ({len(data)} bytes)"
