"""What is done about a value that JSON cannot hold: it is written another way where that was asked for, or where in the
value it stands is said.  What JSON holds only as text of another kind is told, once."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from types import NoneType
from typing import Any

import msgspec

from streamlet.calling import calling_line
from streamlet.errors import EncodeError

WRITE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError)

_log = logging.getLogger("streamlet.formats")
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""How msgpack writes NaN and the infinities (and some other bytes that are in a row by chance)."""
_HALVES = re.compile("[\ud800-\udfff]")
_LOOKED_THROUGH = 1000
"""So many values are looked through whole for what is told; after them one of each batch."""
_AS_TEXT = {
    Decimal: "as text",
    bytes: "as base64 text",
    bytearray: "as base64 text",
    memoryview: "as base64 text",
    set: "as an array in any order",
    frozenset: "as an array in any order",
}
_HOLDS_PLAIN = {dict, list, tuple, *_AS_TEXT}
"""What a value is that may hold such: fields of classes have types, which read back what was written."""
_packed = msgspec.msgpack.Encoder().encode
_encoded = msgspec.json.Encoder().encode
_encoded_lines = msgspec.json.Encoder().encode_lines


class JsonWriting:
    """Encodes, and looks after what the encoder refuses or gives another meaning."""

    def __init__(self, type: Any, nan: str, surrogates: str, encoding: str | None) -> None:
        self._nan = nan
        self._surrogates = surrogates
        self._encoding = encoding
        self._place = "{}:{}".format(*calling_line())
        self._to_look_through = _LOOKED_THROUGH
        self._turn = 0
        self._has_told = type is not Any  # a type that was named reads back what it wrote

    def write(self, values: Sequence[Any]) -> list[bytes]:
        """Gives the bytes of each value; raises `EncodeError`."""
        if not self._has_told and values:
            self._tell(values)
        if self._encoding is not None:
            return self._one_by_one(values)
        try:
            data = _encoded_lines(values)
        except WRITE_ERRORS:
            return self._one_by_one(values)
        lines = data.split(b"\n")  # it escapes line feeds, and one call for all takes half the time of one for each
        lines.pop()
        if len(lines) != len(values):
            return self._one_by_one(values)  # but what is written as it is (msgspec.Raw) may hold some
        # NaN and infinity come out as null.  (Looked for from the end, it is found, and found missing, twice as fast.)
        if self._nan != "null" and data.rfind(b"null") >= 0 and not _all_finite(values):
            for index, line in enumerate(lines):
                if b"null" in line and not _all_finite(values[index]):
                    lines[index] = self._with_nan(values[index], index)
        return lines

    def _one_by_one(self, values: Sequence[Any]) -> list[bytes]:
        lines: list[bytes] = []
        for index, value in enumerate(values):
            try:
                line = self._written(value)
            except WRITE_ERRORS as error:
                line = self._write_again(value, error, index)
            else:
                if self._nan != "null" and not _all_finite(value):
                    line = self._with_nan(value, index)
            lines.append(line)
        return lines

    def _written(self, value: Any) -> bytes:
        data = _encoded(value)
        return data if self._encoding is None else data.decode().encode(self._encoding)

    def _write_again(self, value: Any, error: Exception, index: int) -> bytes:
        """Writes what the encoder has refused by the other ways that are allowed; raises `EncodeError`."""
        if hasattr(value, "in_any_case"):  # a dead letter: it has a form that can be written
            return self._written(value.in_any_case())
        path, what, remedy = _unwritable(value, error, self._encoding)
        if remedy is _REPLACE and self._surrogates == "replace":
            if self._nan == "refuse":
                self._refuse_nan(value, index)
            return self._by_python(value)
        raise EncodeError(self._says(path, what), index=index, remedy=remedy) from error

    def _says(self, path: str, what: str) -> str:
        return f"cannot be written as JSON: {path} {what} (Json() of {self._place})"

    def _with_nan(self, value: Any, index: int) -> bytes:
        if self._nan == "refuse" and hasattr(value, "in_any_case"):
            return self._written(value.in_any_case())
        if self._nan == "refuse":
            self._refuse_nan(value, index)
        return self._by_python(value)

    def _refuse_nan(self, value: Any, index: int) -> None:
        for path, leaf in _leaves(value):
            if _is_nan(leaf):
                raise EncodeError(
                    self._says(path, f"is {leaf}, which JSON does not have"),
                    index=index,
                    remedy='give the sink Json(nan="null") to write null, or Json(nan="literal") to write what '
                    "Python's json writes; or leave it out before the sink",
                )

    def _by_python(self, value: Any) -> bytes:
        plain = msgspec.to_builtins(value, str_keys=True)
        text = json.dumps(_as_asked(plain, self._nan), ensure_ascii=False, separators=(",", ":"))
        return _HALVES.sub("\ufffd", text).encode(self._encoding or "utf-8")

    def _tell(self, values: Sequence[Any]) -> None:
        """Warns of the first value that comes back as something else, as far as it looks: first all, then one each."""
        if self._to_look_through > 0:
            looked: Sequence[Any] = list(islice(values, self._to_look_through))
            self._to_look_through -= len(looked)
        else:
            self._turn += 1
            looked = [values[self._turn % len(values)]]
        found = next(filter(None, map(_as_text, looked)), None)
        if found is not None:
            self._has_told = True
            _log.warning(
                "%s: JSON output: %s, which JSON writes %s: readers do not get it back. Name the type, Json(Payment), "
                "where that is meant, or make it a number or a text before the sink",
                *(self._place, *found),
            )


def _as_text(value: Any) -> tuple[str, str] | None:
    """Says what in a value is written as text of another kind, and how."""
    if type(value) not in _HOLDS_PLAIN:
        return None
    try:
        for path, leaf in _leaves(value, into_classes=False):
            if (how := _AS_TEXT.get(type(leaf))) is not None:
                return f"{path} is {_a(type(leaf))}", how
    except RecursionError:
        pass  # the encoder says so
    return None


def _all_finite(value: Any) -> bool:
    try:
        if _NOT_FINITE.search(_packed(value)) is None:
            return True
    except WRITE_ERRORS:
        pass  # msgpack holds less than JSON: whole numbers of 64 bits
    return not any(_is_nan(leaf) for _, leaf in _leaves(value))


def _is_nan(leaf: Any) -> bool:
    return type(leaf) is float and not math.isfinite(leaf)


def _as_asked(plain: Any, nan: str) -> Any:
    """Puts None in the place of NaN and infinity, unless they are to be written."""
    if nan == "literal":
        return plain
    if isinstance(plain, dict):
        return {key: _as_asked(one, nan) for key, one in plain.items()}
    if isinstance(plain, list | tuple):
        return [_as_asked(one, nan) for one in plain]
    return None if _is_nan(plain) else plain


def _leaves(value: Any, path: str = "$", *, into_classes: bool = True, above: tuple[int, ...] = ()) -> Iterator[Any]:
    """Gives path and value of all that holds nothing else; sets and containers that hold themselves are such, too."""
    entries: Iterator[tuple[str, Any]]
    if isinstance(value, dict):
        entries = ((f"{path}.{key}" if type(key) is str else f"{path}[{key!r:.40}]", one) for key, one in value.items())
    elif isinstance(value, list | tuple):
        names = getattr(value, "_fields", None) if into_classes else None
        entries = ((f"{path}[{row}]", one) for row, one in enumerate(value))
        if names is not None:
            entries = ((f"{path}.{name}", one) for name, one in zip(names, value, strict=True))
    elif into_classes and isinstance(value, set | frozenset):
        entries = ((f"{path}[...]", one) for one in value)
    elif into_classes and (names := _field_names(value)) is not None:
        entries = ((f"{path}.{name}", getattr(value, name)) for name in names if hasattr(value, name))
    else:
        yield path, value
        return
    if id(value) in above:
        yield path, value
        return
    for inner, one in entries:
        yield from _leaves(one, inner, into_classes=into_classes, above=(*above, id(value)))


def _field_names(value: Any) -> Sequence[str] | None:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value)]
    attributes = getattr(type(value), "__attrs_attrs__", None)
    return None if attributes is None else [attribute.name for attribute in attributes]


def _unwritable(value: Any, error: Exception, encoding: str | None) -> tuple[str, str, str]:
    """Gives the path of what JSON cannot hold, what it is, and what to do."""
    try:
        for path, leaf in _leaves(value):
            if isinstance(leaf, dict | list | tuple):
                return path, "is the same object as one that holds it: it has no end", "give the sink a copy without it"
            try:
                _encoded(leaf)
            except WRITE_ERRORS as refused:
                return (path, *_why(leaf, refused))
        for path, key in _keys(value):
            try:
                _encoded({key: None})
            except WRITE_ERRORS as refused:
                if isinstance(key, str):
                    what, remedy = _why(key, refused)
                else:
                    what = f"is {_a(type(key))}"
                    remedy = "make keys texts or numbers before the sink, or write a list of pairs"
                return path, f"has a key that {what}", remedy
    except RecursionError:
        return "$", "is nested too deeply", "give the sink values of less depth"
    if isinstance(error, UnicodeEncodeError):
        return "$", f"has characters that {encoding} does not have", "write UTF-8, which has all"
    return "$", f"is refused: {error}", _REMEDY


def _keys(value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((path, key) for key in value)
        for key, one in value.items():
            yield from _keys(one, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for row, one in enumerate(value):
            yield from _keys(one, f"{path}[{row}]")
    elif (names := _field_names(value)) is not None:
        for name in names:
            yield from _keys(getattr(value, name, None), f"{path}.{name}")


_REPLACE = 'give the sink Json(surrogates="replace") to write U+FFFD in its place'
_REMEDY = "give the sink values made of dict, list, str, numbers, dataclasses or msgspec.Structs"


def _why(leaf: Any, error: Exception) -> tuple[str, str]:
    kind = type(leaf)
    if isinstance(error, UnicodeEncodeError):
        return (
            "is a text with half a surrogate pair (half an emoji, most likely), which is no character",
            _REPLACE,
        )
    if kind.__module__.partition(".")[0] == "numpy":
        return f"is {_a(kind)} of numpy", "turn it into a number of Python by .item(), an array by .tolist()"
    if isinstance(leaf, str | int | float):
        base = next(base for base in (str, int, float) if isinstance(leaf, base))
        return f"is {_a(kind)}, a class made from {base.__name__}", f"turn it by {base.__name__}(...) before the sink"
    if isinstance(leaf, Iterator | range):
        return f"is {_a(kind)}", "make a list of it before the sink"
    return f"is {_a(kind)}", _REMEDY


def _a(kind: type) -> str:
    """Names a class with its article."""
    if kind is NoneType:
        return "None"
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "decimal", "__main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
