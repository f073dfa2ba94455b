"""How bytes of a file become records: where one ends (`cut`), and what it says (a `Format`).

Both sources and replays depend on one law: `cut` looks at nothing but the bytes from a record's start on, so that
cutting again from any record's start gives the same records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from streamlet import Text
from streamlet.connect import Format
from streamlet_connectors.files.charset import Charset, Encoding, strange

T = TypeVar("T")


class Layout(Protocol[T]):
    """How the files of one source are written."""

    encoding: Encoding
    """Of their characters."""
    has_header: bool
    """True when the first record of each file names the fields of the others."""
    skip_lines: int
    """How many lines of each file come before the first record, or its header."""

    def cut(self, data: bytes, charset: Charset, *, is_last: bool, is_full: bool = False) -> list[bytes]:
        """Gives the whole records at the start of `data`, without the line feeds that end them.  A record that is not
        closed by a line feed is given only if `is_last`: nothing follows `data` then.  `is_full` says that no record
        may be longer than `data`."""
        ...

    def rows(self, records: Sequence[bytes], charset: Charset) -> list[int] | None:
        """Tells which of what was cut are records, and not blank lines; None for all."""
        ...

    def format(self, header: bytes | None, charset: Charset) -> Format[T]:
        """Gives what decodes the records of a file with this header."""
        ...

    def notes(self, header: bytes | None, head: bytes, charset: Charset) -> list[str]:
        """Says what is strange about a file that can be read, by its header and its first bytes."""
        ...


def cut_lines(data: bytes, charset: Charset, *, is_last: bool, is_full: bool = False) -> list[bytes]:
    """Cuts at line feeds."""
    lines = charset.split(data)
    rest = lines.pop()
    if rest and is_last:
        lines.append(rest)
    return lines


class Lines(Generic[T]):
    """One record per line, in any format that does not write line feeds."""

    has_header = False
    skip_lines = 0

    def __init__(self, make: Callable[[str], Format[T]], encoding: Encoding, *, skips_blank: bool) -> None:
        """`make` gives the format of records in an encoding."""
        self._make = make
        self.encoding = encoding
        self._skips_blank = skips_blank

    def cut(self, data: bytes, charset: Charset, *, is_last: bool, is_full: bool = False) -> list[bytes]:
        return cut_lines(data, charset, is_last=is_last)

    def rows(self, records: Sequence[bytes], charset: Charset) -> list[int] | None:
        if not self._skips_blank:
            return None
        if charset.is_wide:
            return [row for row, record in enumerate(records) if str(record, charset.encoding, "replace").strip()]
        if all(records) and not any(map(bytes.isspace, records)):
            return None
        return [row for row, record in enumerate(records) if record and not record.isspace()]

    def format(self, header: bytes | None, charset: Charset) -> Format[T]:
        return self._make(charset.encoding)

    def notes(self, header: bytes | None, head: bytes, charset: Charset) -> list[str]:
        return strange(head, charset)


class LineText(Text):
    """Text whose carriage return, if it is the last character, belongs to the line's end."""

    def decode_batch(self, column: Sequence[bytes]) -> list[str]:
        values = super().decode_batch(column)
        return [value[:-1] if value.endswith("\r") else value for value in values]
