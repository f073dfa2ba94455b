"""JSON, one document per record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar, overload

from streamlet.errors import ConfigError
from streamlet.formats.json_reading import READ_ERRORS, JsonReading
from streamlet.formats.json_writing import JsonWriting
from streamlet.formats.plain import checked_encoding

T = TypeVar("T")

Nan = Literal["refuse", "null", "literal"]
Surrogates = Literal["refuse", "replace"]


class Json(Generic[T]):
    """JSON, one document per record: `Json(Payment)` gives Payments (a dataclass, msgspec.Struct, TypedDict ...),
    `Json()` gives dicts and lists.  Fields that the type does not name are ignored.  Whole numbers of any size are
    exact, both ways.

    `nan` is about NaN and the infinities, which JSON does not have: `"refuse"` (default) refuses the record, `"null"`
    reads them as None and writes them as null, `"literal"` reads and writes `NaN` and `Infinity` as Python's json does.
    `surrogates` is about half a pair of UTF-16 in a text ("\\ud83d" alone, half an emoji), which is no character:
    `"refuse"` (default), or `"replace"` to have U+FFFD in its place.  `encoding` is that of the bytes.

    A date or a time is written as text in ISO format, an enum's member as its value, a set as an array in any order;
    a Decimal as text and bytes as base64, which only a type that names them reads back: without one a warning says so.

    >>> Json().encode_batch([{"user": "ann"}, None])
    [b'{"user":"ann"}', b'null']
    >>> Json(dict[str, int]).decode_batch([b'{"a": 1}'])
    [{'a': 1}]
    """

    @overload
    def __init__(self: Json[Any], *, nan: Nan = ..., surrogates: Surrogates = ..., encoding: str = ...) -> None: ...
    @overload
    def __init__(self, type: type[T], *, nan: Nan = ..., surrogates: Surrogates = ..., encoding: str = ...) -> None: ...
    def __init__(
        self, type: Any = Any, *, nan: Nan = "refuse", surrogates: Surrogates = "refuse", encoding: str = "utf-8"
    ) -> None:
        if nan not in ("refuse", "null", "literal"):
            raise ConfigError(f"Json(nan={nan!r})", remedy="say 'refuse', 'null' or 'literal'")
        if surrogates not in ("refuse", "replace"):
            raise ConfigError(f"Json(surrogates={surrogates!r})", remedy="say 'refuse' or 'replace'")
        is_utf8 = checked_encoding(encoding, "Json(encoding=)").lower().replace("_", "-") in ("utf-8", "utf8")
        self._reading = JsonReading(type, nan, surrogates, None if is_utf8 else encoding)
        self._writing = JsonWriting(type, nan, surrogates, None if is_utf8 else encoding)

    def decode_batch(self, column: Sequence[bytes]) -> list[T]:
        out: list[T] = []
        decode, rows = self._reading.decode, iter(column)
        while True:
            try:
                out.extend(map(decode, rows))
            except READ_ERRORS as error:
                out.append(self._reading.read_again(column[len(out)], error, len(out)))
            else:
                return out

    def encode_batch(self, column: Sequence[T]) -> list[bytes]:
        return self._writing.write(column)
