"""What is done about a record that is no JSON: it is read another way where that was asked for, or what it is is said.

Nothing here shows what is in a record; only where in it something is.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

from streamlet.errors import DecodeError
from streamlet.formats.plain import no_text
from streamlet.formats.recognising import recognise

READ_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)

_SHOWN = re.compile(r"(Invalid (?:enum )?value) (?:'.*'|-?\d+)", re.DOTALL)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
_OUTSIDE_OF_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"?|(-?\b(?:NaN|Infinity)\b)|(\b(?:True|False|None)\b|\')', re.DOTALL)
"""A text, or a number that JSON does not have, or what only Python writes."""
_ONE_LINE = "write one document per line (jq -c . in.json; for an array jq -c '.[]' in.json)"


class JsonReading:
    """Decodes, and reads a second time what the decoder refuses."""

    def __init__(self, type: Any, nan: str, surrogates: str, encoding: str | None) -> None:
        self._type = type
        self._nan = nan
        self._surrogates = surrogates
        self._encoding = encoding
        self._plain: Callable[[Any], Any] = msgspec.json.Decoder(type).decode
        self.decode: Callable[[Any], Any] = self._plain if encoding is None else self._recoded

    def _recoded(self, data: bytes) -> Any:
        return self._plain(str(data, self._encoding or ""))

    def read_again(self, data: bytes, error: Exception, index: int) -> Any:
        """Reads what `decode` has refused by the other ways that are allowed; raises `DecodeError`."""
        if self._encoding is not None:
            data, error = self._in_utf8(data, error, index)
        if isinstance(data, bytes) and data.startswith(codecs.BOM_UTF8):  # of files that were put together
            data = data.removeprefix(codecs.BOM_UTF8)
            try:
                return self._plain(data)
            except READ_ERRORS as again:
                error = again
        if isinstance(data, bytes) and self._surrogates == "replace":
            data = _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], data)
            try:
                return self._plain(data)
            except READ_ERRORS as again:
                error = again
        if isinstance(data, bytes) and self._nan != "refuse" and _first_nan(data) and not _first_half(data):
            try:
                return self._with_nan(data)
            except READ_ERRORS as again:
                error = again
        raise self._explained(data, error, index) from None

    def _in_utf8(self, data: bytes, error: Exception, index: int) -> tuple[bytes, Exception]:
        try:
            return str(data, self._encoding or "").encode(), error
        except (UnicodeError, TypeError) as undecodable:
            what, remedy = no_text(data, self._encoding or "", undecodable)
            raise DecodeError(f"not JSON in {self._encoding}: {what}", index=index, remedy=remedy) from None

    def _with_nan(self, data: bytes) -> Any:
        """Reads as Python's json does, which knows NaN and the infinities."""
        constant = (lambda _: None) if self._nan == "null" else float
        value = json.loads(str(data, "utf-8"), parse_constant=constant, parse_float=_finite)
        return value if self._type is Any else msgspec.convert(value, self._type, str_keys=True)

    def _explained(self, data: Any, error: Exception, index: int) -> DecodeError:
        what, remedy = _what_it_is(data)
        if what is None and isinstance(error, msgspec.ValidationError) and self._type is not Any:
            error = _untyped_error(data) or error
        if what is None and isinstance(error, msgspec.ValidationError):
            what = _without_values(error)
            if "got `array`" in what and what.endswith("`array`"):
                remedy = f"is it an array of records? {_ONE_LINE}"
            if "out of range" in what:
                what = what.replace("Number out of range", "a number is beyond the range of a float")
                remedy = "a float holds up to 1.8e308: write it as text, or as a whole number without exponent"
        elif what is None and isinstance(error, RecursionError):
            what = "it is nested too deeply"
        elif what is None:
            what, remedy = _where_it_breaks(data, _without_values(error))
        name = "JSON" if self._type is Any else f"JSON of {getattr(self._type, '__name__', self._type)}"
        return DecodeError(f"not {name}: {what}", index=index, remedy=remedy)


def _untyped_error(data: bytes) -> Exception | None:
    """Gives what is wrong with it as JSON of any type: this comes first."""
    try:
        msgspec.json.decode(data)
    except READ_ERRORS as error:
        return error
    return None


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise msgspec.ValidationError("Number out of range")
    return value


def _without_values(error: Exception) -> str:
    """Gives what is wrong with a record without what is in it: msgspec quotes values of enumerations and tags."""
    return _SHOWN.sub(r"\1 (its value is not shown)", str(error))


def _first_half(data: bytes) -> re.Match[bytes] | None:
    return next((found for found in _ESCAPE.finditer(data) if found[1]), None)


def _first_nan(data: bytes) -> re.Match[bytes] | None:
    return next((found for found in _OUTSIDE_OF_TEXTS.finditer(data) if found[1]), None)


def _what_it_is(data: Any) -> tuple[str | None, str | None]:
    """Names what is no JSON by its nature: how it begins, its bytes, its escapes."""
    if not isinstance(data, bytes):
        return f"it is {type(data).__name__}, not bytes", None
    if not data.strip():
        return ("it is empty" if not data else "it holds nothing but blanks"), None
    if (found := recognise(data)) is not None:
        return f"it is {found.what}", found.remedy
    if data[:1] == b"\0":
        return "it begins with a zero byte", None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        what, remedy = no_text(data, "utf-8", error)
        return f"it is not UTF-8: {what}", remedy
    if (half := _first_half(data)) is not None:
        return (
            f"the text at byte {half.start()} has half a surrogate pair alone (\\uD800 to \\uDFFF: half an emoji, "
            "most likely), which is no character",
            'say surrogates="replace" to read U+FFFD in its place, or have the writer cut texts between characters',
        )
    return None, None


def _where_it_breaks(data: bytes, said: str) -> tuple[str, str | None]:
    """Says what a document of good characters has that JSON does not have."""
    if (nan := _first_nan(data)) is not None:
        return (
            f"{nan[1].decode()} at byte {nan.start()} is no JSON, though Python's json.dumps writes it",
            'say nan="literal" to read it as a float, or nan="null" to read None',
        )
    if any(found[2] for found in _OUTSIDE_OF_TEXTS.finditer(data)):
        return f"it looks like str() of a Python value ({said})", "have it written by json.dumps"
    if said == "Input data was truncated":
        if data.strip() in (b"[", b"{") or data.rstrip().endswith((b",", b"{", b"[")):
            return "it ends before its document does: a document over several lines?", _ONE_LINE
        return "it ends before its document does: it was cut off, or goes on in the next line", _ONE_LINE
    if "trailing characters" in said:
        return f"something follows its document ({said}): a part of a document over several lines?", _ONE_LINE
    return said, None
