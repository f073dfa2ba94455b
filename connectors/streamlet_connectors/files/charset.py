"""How the characters of a file lie in its bytes: their encoding, what ends a line, and the mark at the beginning."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple

from streamlet.connect import DecodeError, JobDefinitionError, recognise

_UTF8 = "utf-8"
_MARKS = {
    "utf-8": ((codecs.BOM_UTF8, "utf-8"),),
    "utf-16": ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    "utf-16-le": ((codecs.BOM_UTF16_LE, "utf-16-le"),),
    "utf-16-be": ((codecs.BOM_UTF16_BE, "utf-16-be"),),
    "utf-32": ((codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
    "utf-32-le": ((codecs.BOM_UTF32_LE, "utf-32-le"),),
    "utf-32-be": ((codecs.BOM_UTF32_BE, "utf-32-be"),),
}
_WITHOUT_MARK = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}


class Charset(NamedTuple):
    """The characters of one file."""

    encoding: str
    """Of its records: no mark belongs to it any more."""
    feed: bytes = b"\n"
    """What ends a line."""
    mark_length: int = 0
    """Bytes before the first line."""

    @property
    def is_wide(self) -> bool:
        """True when a character is never one byte, so that a line feed is one only in its place."""
        return len(self.feed) > 1

    def split(self, data: bytes) -> list[bytes]:
        """Gives the lines of `data` and what is behind its last line feed."""
        if not self.is_wide:
            return data.split(self.feed)
        lines, start = [], 0
        at = data.find(self.feed)
        while at >= 0:
            if at % len(self.feed):  # the end of one character and the beginning of the next
                at = data.find(self.feed, at + 1)
                continue
            lines.append(data[start:at])
            start = at + len(self.feed)
            at = data.find(self.feed, start)
        lines.append(data[start:])
        return lines

    def has_marks(self, records: Sequence[bytes]) -> bool:
        """Tells whether a mark of UTF-8 is among records, as where files with one each were put together."""
        return self.encoding == _UTF8 and codecs.BOM_UTF8 in b"\n".join(records)

    def feeds_in(self, *records: bytes) -> int:
        """Counts the line feeds inside of records."""
        if not self.is_wide:
            return b"".join(records).count(self.feed)
        return sum(len(self.split(record)) - 1 for record in records)


UTF8 = Charset(_UTF8)


def without_marks(records: Sequence[bytes]) -> list[bytes]:
    """Gives records without the mark of UTF-8 that some begin with."""
    return [record.removeprefix(codecs.BOM_UTF8) for record in records]


def has_cr_only(head: bytes, feed: bytes) -> bool:
    """Tells whether the first lines of a file seem to end in carriage returns, where line feeds are looked for."""
    return feed == b"\n" and b"\n" not in head and b"\r" in head[:-1]


def strange(head: bytes, charset: Charset) -> list[str]:
    """Says what of the characters of a file can be read, and is most likely not meant."""
    if has_cr_only(head, charset.feed):
        return ["its lines seem to end in CR only, as old Macs write: line_end='\\r' reads them one by one"]
    if charset.encoding == _UTF8 or charset.is_wide or head.isascii():
        return []
    try:
        codecs.getincrementaldecoder(_UTF8)().decode(head)
    except UnicodeDecodeError:
        return []
    return [f"it is read as {charset.encoding}, and its beginning is right in UTF-8, too: is encoding= meant?"]


class Encoding:
    """What a source says of the characters of its files."""

    def __init__(self, name: str, line_end: str, *, is_any_text: bool = False) -> None:
        """`is_any_text` where text of every kind is right, also that of a page or with bare carriage returns."""
        self._is_any_text = is_any_text
        if line_end not in ("\n", "\r"):
            raise JobDefinitionError(
                f"line_end={line_end!r} of a file source",
                remedy="say '\\n' (which takes '\\r\\n', too), or '\\r' for files of old Macs",
            )
        self._line_end = line_end
        try:
            self._name = codecs.lookup(name).name.removesuffix("-sig")
            feed = line_end.encode(self._plain_name)
            if not self._name.startswith(("utf-16", "utf-32")) and feed != line_end.encode():
                raise LookupError(name)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise JobDefinitionError(
                f"a file source cannot cut lines in encoding {name!r}",
                remedy="name one that Python knows and that extends ASCII (cp1252, latin-1, shift_jis ...), or utf-16",
            ) from error

    @property
    def _plain_name(self) -> str:
        return _WITHOUT_MARK.get(self._name, self._name)

    def of(self, path: str, head: bytes) -> Charset:
        """Tells the characters of a file that begins with `head`; raises `DecodeError` for a file of another kind."""
        for mark, encoding in _MARKS.get(self._name, ()):
            if head.startswith(mark):
                return Charset(encoding, self._line_end.encode(encoding), len(mark))
        charset = Charset(self._plain_name, self._line_end.encode(self._plain_name))
        if not charset.is_wide:
            self._require_text(path, head)
        elif head and b"\0" not in head and self._name.endswith(("16", "32")):
            raise DecodeError(
                f"file {path} is not {self._name}: it has no mark, and no byte of its beginning is zero",
                remedy="leave encoding= out, or name the one it is in",
            )
        return charset

    def _require_text(self, path: str, head: bytes) -> None:
        found = recognise(head)
        if found is not None and not found.is_hole and not (found.is_text and self._is_any_text):
            raise DecodeError(f"file {path} is {found.what}", remedy=found.remedy)
        if head.startswith(codecs.BOM_UTF8):  # in UTF-8 it was seen before
            raise DecodeError(
                f"file {path} begins with the mark of UTF-8, and encoding={self._name!r} was said",
                remedy="leave encoding= out",
            )
        if not self._is_any_text and has_cr_only(head, self._line_end.encode()):
            raise DecodeError(
                f"the lines of file {path} end in CR only, as Excel for Mac and old Macs write",
                remedy="say line_end='\\r', or turn them: tr '\\r' '\\n' < old > new",
            )
