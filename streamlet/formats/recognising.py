"""What bytes are that are not what was expected, told by how they begin."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple


class Recognised(NamedTuple):
    """What bytes are: `what` completes the sentence "it is ..."."""

    what: str
    remedy: str
    is_text: bool = False
    """True for text of another kind: nothing is wrong with it where any text is right."""
    is_hole: bool = False
    """True for zero bytes that nobody wrote: what comes behind the next line end is not touched by it."""


_UNPACK = (
    "unpack it first; for records, by a format of your own whose decode_batch gives "
    "Json().decode_batch([{} for data in column])"
)
_EXPORT = "write it as JSON lines, CSV or text"
_RECODE = "say encoding={!r}, or write it in UTF-8: iconv -f {} -t UTF-8"

_BEGINNINGS: tuple[tuple[bytes, Recognised], ...] = (
    (b"\x1f\x8b", Recognised("compressed (gzip)", _UNPACK.format("gzip.decompress(data)"))),
    (b"\x28\xb5\x2f\xfd", Recognised("compressed (zstd)", _UNPACK.format("zstd.decompress(data)"))),
    (b"\xfd7zXZ\x00", Recognised("compressed (xz)", _UNPACK.format("lzma.decompress(data)"))),
    (b"\x04\x22\x4d\x18", Recognised("compressed (lz4)", _UNPACK.format("lz4.frame.decompress(data)"))),
    (b"\xff\x06\x00\x00sNaPpY", Recognised("compressed (snappy)", _UNPACK.format("snappy.decompress(data)"))),
    (b"PK\x03\x04", Recognised("a zip archive (an .xlsx is one, too)", "unpack it, or save the sheet as CSV")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Recognised("an old Office document (.xls)", "save the sheet as CSV")),
    (b"Obj\x01", Recognised("an Avro file", _EXPORT)),
    (b"ARROW1\x00\x00", Recognised("an Arrow file", _EXPORT)),
    (b"SQLite format 3\x00", Recognised("an SQLite database", _EXPORT)),
    (b"%PDF-", Recognised("a PDF document", _EXPORT)),
    (b"\x7fELF", Recognised("a program", "name another file")),
    (b"\xff\xfe\x00\x00", Recognised("UTF-32 (little endian)", _RECODE.format("utf-32", "UTF-32"))),
    (b"\x00\x00\xfe\xff", Recognised("UTF-32 (big endian)", _RECODE.format("utf-32", "UTF-32"))),
    (codecs.BOM_UTF16_LE, Recognised("UTF-16 (little endian)", _RECODE.format("utf-16", "UTF-16"))),
    (codecs.BOM_UTF16_BE, Recognised("UTF-16 (big endian)", _RECODE.format("utf-16", "UTF-16"))),
)
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
_PARQUET = re.compile(rb"PAR1[\x00-\x1f]")
_ORC = re.compile(rb"ORC[\x00-\x1f]")
_UTF16_LE = re.compile(rb"(?:[\t\n\r -~]\x00){4}")
_UTF16_BE = re.compile(rb"(?:\x00[\t\n\r -~]){4}")
_MOST_ZEROS_OF_REGISTERED = 4
"""A byte 0 and an id below 256 with three bytes 0 before it."""
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<\?xml\b")
_LATER: tuple[tuple[re.Pattern[bytes], Recognised], ...] = (
    (_BZIP2, Recognised("compressed (bzip2)", _UNPACK.format("bz2.decompress(data)"))),
    (_PARQUET, Recognised("a Parquet file", _EXPORT)),
    (_ORC, Recognised("an ORC file", _EXPORT)),
    (_UTF16_LE, Recognised("UTF-16 (little endian) without its mark", _RECODE.format("utf-16-le", "UTF-16LE"))),
    (_UTF16_BE, Recognised("UTF-16 (big endian) without its mark", _RECODE.format("utf-16-be", "UTF-16BE"))),
    (_HTML, Recognised("an HTML page", "what a server answers with an error, or to a login? Fetch it anew", True)),
    (_XML, Recognised("XML", _EXPORT, True)),
)


def recognise(data: bytes) -> Recognised | None:
    """Tells what `data` is by its first bytes; None where they say nothing."""
    for beginning, found in _BEGINNINGS:
        if data.startswith(beginning):
            return found
    for pattern, found in _LATER:
        if pattern.match(data):
            return found
    return _hole(data) or _registered(data)


def _hole(data: bytes) -> Recognised | None:
    """What a writer leaves that goes on at its old place in a file that was cut meanwhile: zero bytes before a line."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    if not _MOST_ZEROS_OF_REGISTERED < zeros < len(data):
        return None
    return Recognised(
        f"a hole of {zeros} zero bytes before text: a file that was cut (copytruncate, or > file) while its writer "
        "went on at its old place has them",
        "have the writer append (open mode 'a', >>), or rotate the file by renaming it",
        is_hole=True,
    )


def _registered(data: bytes) -> Recognised | None:
    """What serializers of a schema registry write: a byte 0, the schema's id in four bytes, then the value."""
    if len(data) < 6 or data[:2] != b"\0\0" or not (number := int.from_bytes(data[1:5], "big")):
        return None
    rest = data[5:].lstrip(b"\0")[:1]
    kind = "JSON" if rest in (b"{", b"[", b'"') else "Avro or Protobuf"
    remedy = (
        "strip them by a format of your own whose decode_batch gives Json().decode_batch([data[5:] for data in column])"
        if kind == "JSON"
        else "read it as Bytes() and decode it with the registry's library, or have JSON written"
    )
    what = f"a record of a schema registry: a byte 0 and the id of schema {number} in four bytes, then {kind}"
    return Recognised(what, remedy)
