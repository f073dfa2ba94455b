"""Where a CSV record ends, and which columns a file has."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Generic, Literal, TypedDict, TypeVar

from streamlet.connect import DecodeError, JobDefinitionError
from streamlet_connectors.files.charset import Charset, Encoding, strange
from streamlet_connectors.files.csv_records import LONGEST_FIELD, CsvRecords, wrong
from streamlet_connectors.files.csv_types import Columns
from streamlet_connectors.files.records import cut_lines

T = TypeVar("T")

_OTHER_DELIMITERS = ",;\t|"


class Dialect(TypedDict):
    """How records of CSV are written: what Python's csv module calls a dialect."""

    delimiter: str
    quotechar: str | None
    escapechar: str | None
    doublequote: bool
    skipinitialspace: bool
    quoting: Literal[0, 3]
    strict: bool


def dialect(delimiter: str, quote: str | None, escape: str | None, doublequote: bool, skip_spaces: bool) -> Dialect:
    """Checks what a source says of its dialect."""
    given = {"delimiter": delimiter, "quote": quote, "escape": escape}
    for name, value in given.items():
        if value is None and name != "delimiter":
            continue
        if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in "\r\n\0":
            or_none = " or None" if name != "delimiter" else ""
            raise JobDefinitionError(f"{name}={value!r} of Csv", remedy=f"say one ASCII character{or_none}")
    said = [value for value in given.values() if value is not None]
    if len(set(said)) < len(said) or (skip_spaces and " " in said):
        raise JobDefinitionError(
            f"one character has two meanings in Csv({', '.join(f'{name}={value!r}' for name, value in given.items())})",
            remedy="say different characters; quote=None where quotes are characters like others",
        )
    return Dialect(
        delimiter=delimiter,
        quotechar=quote,
        escapechar=escape,
        doublequote=doublequote,
        skipinitialspace=skip_spaces,
        quoting=csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL,
        strict=True,
    )


class CsvLayout(Generic[T]):
    """Comma separated values (RFC 4180): a quoted field may hold delimiters, quotes and line feeds.

    A record whose quotes are wrong (one that never closes, or that more text follows) is the one line where it begins;
    reading goes on behind that line.
    """

    def __init__(
        self,
        encoding: Encoding,
        dialect: Dialect,
        *,
        header: bool,
        fields: Sequence[str] | None,
        skip_lines: int = 0,
        type: Any = None,
    ) -> None:
        self.encoding = encoding
        self.has_header = header
        self.skip_lines = skip_lines
        self._fields = list(fields) if fields is not None else None
        self._dialect = dialect
        self._type = type
        self._special = [one.encode() for one in (dialect["quotechar"], dialect["escapechar"]) if one is not None]

    def cut(self, data: bytes, charset: Charset, *, is_last: bool, is_full: bool = False) -> list[bytes]:
        lines = cut_lines(data, charset, is_last=is_last)
        if not any(one in data for one in self._special):
            return lines
        return self._joined(lines, charset, is_last=is_last, is_full=is_full)

    def _joined(self, lines: list[bytes], charset: Charset, *, is_last: bool, is_full: bool) -> list[bytes]:
        """Asks the csv module itself how many lines each record takes, so that cutting and parsing cannot disagree."""
        csv.field_size_limit(LONGEST_FIELD)
        texts = _texts(lines, charset)
        records: list[bytes] = []
        start = 0
        while start < len(lines):
            rest: Any = iter(texts)
            rest.__setstate__(start)  # of a list's iterator: what lies before is not gone through again
            ends = _Ends()
            rows, first = csv.reader(chain(rest, ends), **self._dialect), start
            try:
                for _ in rows:
                    end = first + rows.line_num
                    records.append(lines[start] if end == start + 1 else charset.feed.join(lines[start:end]))
                    start = end
            except csv.Error:
                if ends.were_met and not is_last:  # its closing quote has not come yet
                    return [lines[0]] if is_full and start == 0 else records
                records.append(lines[start])
                start += 1
        return records

    def rows(self, records: Sequence[bytes], charset: Charset) -> list[int] | None:
        blank = (b"", "\r".encode(charset.encoding))
        if all(records) and blank[1] not in records:
            return None
        return [row for row, record in enumerate(records) if record not in blank]

    def format(self, header: bytes | None, charset: Charset) -> CsvRecords[T]:
        fields = self._fields if header is None else self._named(header, charset)
        try:
            columns = Columns(self._type, fields)
        except DecodeError as error:
            raise DecodeError(error.message, remedy=self._other_delimiter(fields) or error.remedy) from error
        return CsvRecords(columns, charset.encoding, self._dialect)

    def notes(self, header: bytes | None, head: bytes, charset: Charset) -> list[str]:
        notes = strange(head, charset)
        if header is None:
            return notes
        fields = self._named(header, charset)
        if all(name.strip().replace(".", "", 1).isdecimal() for name in fields):
            notes.append("its header holds nothing but numbers: header=False if the file has none")
        if self._type is None and (other := self._other_delimiter(fields)) is not None:
            notes.append(f"its header is one field, {fields[0]!r:.80}: {other}")
        notes += [f"its header has no name for column {row + 1}" for row, name in enumerate(fields) if not name.strip()]
        spaced = [name for name in fields if name != name.strip() and name.strip()]
        if spaced and self._type is None:
            names = ", ".join(map(repr, spaced[:3]))
            notes.append(f"its header has spaces around names, which belong to them: {names}; {self._rename(fields)}")
        return notes

    def _named(self, header: bytes, charset: Charset) -> list[str]:
        """Gives the names in a header; raises `DecodeError` where they are none."""
        try:
            text = str(header, charset.encoding)
        except UnicodeDecodeError as error:
            raise DecodeError(
                f"its header is not {charset.encoding}: byte 0x{header[error.start]:02x} at byte {error.start}",
                remedy='say which encoding it is: encoding="cp1252" and "latin-1" are frequent ones',
            ) from error
        if text.startswith("sep=") and len(text.rstrip("\r")) == 5:
            raise DecodeError(
                f"its first line is {text.rstrip()!r}, which Excel takes for the delimiter",
                remedy=f"pass skip_lines={self.skip_lines + 1} and delimiter={text[4]!r}",
            )
        try:
            fields = next(csv.reader([text], **self._dialect), [])
        except csv.Error as error:
            what, remedy = wrong(error, header)
            raise DecodeError(
                f"its header cannot be read: {what}", remedy=f"{remedy}; or {self._rename(['user', 'amount'])}"
            ) from error
        if not any(name.strip() for name in fields):
            remedy = f"pass skip_lines={self.skip_lines + 1} if it comes below; {self._rename(['user', 'amount'])}"
            raise DecodeError("its header is empty", remedy=remedy)
        if twice := sorted({name for name in fields if fields.count(name) > 1}):
            named = [
                f"{name}{fields[:row].count(name) + 1}" if name in twice else name for row, name in enumerate(fields)
            ]
            raise DecodeError(f"its header names {', '.join(map(repr, twice))} twice", remedy=self._rename(named))
        return fields

    def _rename(self, fields: list[str]) -> str:
        names = ", ".join(f'"{name.strip()}"' for name in fields[:5]) + (", ..." if len(fields) > 5 else "")
        return f"name the fields in the source: header=[{names}], skip_lines={self.skip_lines + 1}"

    def _other_delimiter(self, fields: list[str] | None) -> str | None:
        if fields is None or len(fields) != 1:
            return None
        other = next((one for one in _OTHER_DELIMITERS if one != self._dialect["delimiter"] and one in fields[0]), None)
        return None if other is None else f"is delimiter={other!r} meant?"


class _Ends:
    """Comes behind the lines, and knows whether a reader asked for more than there were."""

    were_met = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.were_met = True
        raise StopIteration


def _texts(lines: list[bytes], charset: Charset) -> list[str]:
    """Gives the characters of lines, each with its end, as far as delimiters and quotes go."""
    feed = charset.feed.decode(charset.encoding)
    encoding = "latin-1" if _is_bytewise(charset.encoding) else charset.encoding
    return [str(line, encoding, "replace") + feed for line in lines]


def _is_bytewise(encoding: str) -> bool:
    """True where a byte of ASCII is that character, whatever stands before it: it need not be decoded to be found."""
    known = _bytewise.get(encoding)
    if known is None:
        known = not any(len(str(bytes([byte, 0x7C]), encoding, "replace")) == 1 for byte in range(256))
        _bytewise[encoding] = known
    return known


_bytewise: dict[str, bool] = {}
