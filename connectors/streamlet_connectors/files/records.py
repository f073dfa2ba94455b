"""How bytes of a file become records: where one ends (`cut`), and what it says (a `Format`).

Both sources and replays depend on one law: `cut` looks at nothing but the bytes from a record's start on, so that
cutting again from any record's start gives the same records.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from streamlet import DecodeError, Format, Text

T = TypeVar("T")


class Layout(Protocol[T]):
    """How the files of one source are written."""

    has_header: bool
    """True when the first record of each file names the fields of the others."""
    skips_blank: bool
    """True when a line without content is no record."""

    def cut(self, data: bytes, *, is_last: bool) -> list[bytes]:
        """Gives the whole records at the start of `data`, without their line feeds.  A record that is not closed by
        a line feed is given only if `is_last`: nothing follows `data` then."""
        ...

    def format(self, header: bytes | None) -> Format[T]:
        """Gives what decodes the records of a file with this header."""
        ...


def cut_lines(data: bytes, *, is_last: bool) -> list[bytes]:
    """Cuts at line feeds."""
    lines = data.split(b"\n")
    rest = lines.pop()
    if rest and is_last:
        lines.append(rest)
    return lines


class Lines(Generic[T]):
    """One record per line, in any format that does not write line feeds."""

    has_header = False

    def __init__(self, format: Format[T], *, skips_blank: bool) -> None:
        self._format = format
        self.skips_blank = skips_blank

    def cut(self, data: bytes, *, is_last: bool) -> list[bytes]:
        return cut_lines(data, is_last=is_last)

    def format(self, header: bytes | None) -> Format[T]:
        return self._format


class LineText(Text):
    """Text whose carriage return, if it is the last character, belongs to the line's end."""

    def decode_batch(self, column: Sequence[bytes]) -> list[str]:
        values = super().decode_batch(column)
        return [value[:-1] if value.endswith("\r") else value for value in values]


class CsvLayout(Generic[T]):
    """Comma separated values (RFC 4180): a quoted field may hold delimiters, quotes and line feeds."""

    skips_blank = True

    def __init__(self, *, header: bool, fields: Sequence[str] | None, delimiter: str, type: Any) -> None:
        self.has_header = header
        self._fields = list(fields) if fields is not None else None
        self._delimiter = delimiter
        self._type = type

    def cut(self, data: bytes, *, is_last: bool) -> list[bytes]:
        lines = cut_lines(data, is_last=is_last)
        if b'"' not in data:
            return lines
        return list(self._join_quoted(lines, is_last=is_last))

    def _join_quoted(self, lines: list[bytes], *, is_last: bool) -> Iterator[bytes]:
        """Asks the csv module itself how many lines each record takes, so that cutting and parsing cannot disagree."""
        start = 0
        while start < len(lines):
            feed = _Feed(lines, start)
            rows = csv.reader(feed, delimiter=self._delimiter)
            try:
                for _ in rows:
                    if feed.ran_dry and not is_last:
                        return  # its closing quote has not come yet
                    yield b"\n".join(lines[start : feed.next])
                    start = feed.next
            except csv.Error:
                # A quote that never closes, most likely: this line is a bad record, and the next one starts afresh.
                yield lines[start]
                start += 1

    def format(self, header: bytes | None) -> Format[T]:
        fields = self._fields
        if header is not None:
            fields = _header_fields(header, self._delimiter)
        return CsvRecords(fields, self._delimiter, self._type)


class _Feed:
    """Gives lines to a csv reader and knows whether the reader asked for more than there were."""

    def __init__(self, lines: list[bytes], start: int) -> None:
        self._lines = lines
        self.next = start
        self.ran_dry = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.next >= len(self._lines):
            self.ran_dry = True
            raise StopIteration
        line = self._lines[self.next]
        self.next += 1
        return str(line, "latin-1") + "\n"  # the structure is ASCII; this keeps every byte


def _header_fields(header: bytes, delimiter: str) -> list[str]:
    try:
        fields = next(csv.reader([str(header, "utf-8")], delimiter=delimiter, strict=True), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise DecodeError(f"its header cannot be read: {error}") from error
    twice = {name for name in fields if fields.count(name) > 1}
    if twice or not fields:
        what = f"names {', '.join(sorted(map(repr, twice)))} twice" if twice else "is empty"
        raise DecodeError(f"its header {what}", remedy='name the fields in the source: header=["user", "amount"]')
    return fields


class CsvRecords(Generic[T]):
    """One CSV record per element: dicts by field, values of a type converted from them, or lists without fields."""

    def __init__(self, fields: list[str] | None, delimiter: str, type: Any) -> None:
        self._fields = fields
        self._delimiter = delimiter
        self._type = type

    def decode_batch(self, column: Sequence[bytes]) -> list[T]:
        rows = self._rows(column)
        out: list[Any] = []
        try:
            out.extend(map(self._value, rows))
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise DecodeError(f"not a CSV record as declared: {error}", index=len(out)) from error
        return out

    def encode_batch(self, column: Sequence[T]) -> list[bytes]:
        raise NotImplementedError("CSV is read only")

    def _rows(self, column: Sequence[bytes]) -> list[list[str]]:
        try:
            rows = list(csv.reader([str(data, "utf-8") for data in column], delimiter=self._delimiter, strict=True))
            if len(rows) == len(column):
                return rows
        except (csv.Error, UnicodeDecodeError):
            pass
        return [self._row(data, index) for index, data in enumerate(column)]

    def _row(self, data: bytes, index: int) -> list[str]:
        try:
            return next(csv.reader([str(data, "utf-8")], delimiter=self._delimiter, strict=True))
        except (csv.Error, UnicodeDecodeError, StopIteration) as error:
            raise DecodeError(f"not CSV: {error}", index=index) from error

    def _value(self, row: list[str]) -> Any:
        if self._fields is None:
            return row if self._type is None else msgspec.convert(row, self._type, strict=False)
        if len(row) != len(self._fields):
            raise ValueError(f"{len(row)} fields where {len(self._fields)} are named ({', '.join(self._fields)})")
        record = dict(zip(self._fields, row, strict=True))
        return record if self._type is None else msgspec.convert(record, self._type, strict=False)
