"""What a CSV record says."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from streamlet.connect import DecodeError
from streamlet_connectors.files.csv_types import Columns

T = TypeVar("T")

LONGEST_FIELD = 1 << 30
"""Of the csv module, which has one limit for the whole process: what bounds a record is `max_record_bytes`."""
_QUOTES = "correct it; quote=None if quotes are characters like others in this file"
_SAID = {
    "unexpected end of data": (
        "a quoted field begins in this line, and no quote ends it as it should (before the end of the file, or within "
        "max_record_bytes, or before other text): this line is left out alone",
        _QUOTES,
    ),
    "new-line character seen in unquoted field": (
        "a carriage return stands in an unquoted field: do lines end in CR only?",
        "say line_end='\\r' if they do",
    ),
}


def wrong(error: csv.Error, data: bytes) -> tuple[str, str]:
    """Says what the csv module means, and what to do."""
    said = str(error)
    for start, text in _SAID.items():
        if said.startswith(start):
            return text
    if b"\\" in data:
        return said, "escape='\\\\' if a backslash stands before quotes that are meant; else correct it"
    return said, _QUOTES


class CsvRecords(Generic[T]):
    """One CSV record per element."""

    def __init__(self, columns: Columns, encoding: str, dialect: Mapping[str, Any]) -> None:
        self._columns = columns
        self._encoding = encoding
        self._dialect = dialect
        self._end = "" if dialect["escapechar"] is None else "\n"  # a line's end that is escaped does not end it

    def decode_batch(self, column: Sequence[bytes]) -> list[T]:
        rows, unreadable = self._rows(column)
        out: list[Any] = []
        try:
            out.extend(map(self._columns.value, rows))
        except (msgspec.ValidationError, ValueError, TypeError, OverflowError) as error:
            index = len(out)
            what, remedy = self._columns.why_not(rows[index], error)
            raise DecodeError(f"not a CSV record as declared: {what}", index=index, remedy=remedy) from error
        if unreadable is not None:
            raise unreadable
        return out

    def encode_batch(self, column: Sequence[T]) -> list[bytes]:
        raise NotImplementedError("CSV is read only")

    def _rows(self, column: Sequence[bytes]) -> tuple[list[list[str]], DecodeError | None]:
        """Gives the cells of the records before the first that cannot be read, and what is wrong with that one."""
        encoding = self._encoding
        csv.field_size_limit(LONGEST_FIELD)
        try:
            texts = [str(data, encoding) for data in column]
            if self._end:
                texts = [text + self._end for text in texts]
            rows = list(csv.reader(texts, **self._dialect))
            if len(rows) == len(column):
                return rows, None
        except (csv.Error, UnicodeDecodeError):
            pass
        rows = []
        try:
            for index, data in enumerate(column):
                rows.append(self._row(data, index))
        except DecodeError as error:
            return rows, error
        return rows, None

    def _row(self, data: bytes, index: int) -> list[str]:
        try:
            return next(csv.reader([str(data, self._encoding) + self._end], **self._dialect))
        except UnicodeDecodeError as error:
            what = f"byte 0x{data[error.start]:02x} at byte {error.start} of it is not {self._encoding}"
            remedy = 'say which encoding it is: encoding="cp1252" and "latin-1" are frequent ones'
        except csv.Error as error:
            what, remedy = wrong(error, data)
        except StopIteration:
            what, remedy = "it is empty", None
        raise DecodeError(f"not CSV: {what}", index=index, remedy=remedy)
