"""How values become bytes and back. A format works on whole columns; it goes one by one only to find the bad record."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

import msgspec

from streamlet.errors import ConfigError, DecodeError, EncodeError

T = TypeVar("T")
_QUOTED = re.compile(r"(Invalid (?:enum )?value) (?:'.*'|-?\d+)", re.DOTALL)


class Format(Protocol[T]):
    """Turns columns of values into columns of bytes and back."""

    def decode_batch(self, column: Sequence[bytes]) -> list[T]:
        """Gives one value per element; raises `DecodeError` with the index of the first that cannot be read."""
        ...

    def encode_batch(self, column: Sequence[T]) -> list[bytes]:
        """Gives the bytes of each value; raises `EncodeError` with the index of the first that cannot be written."""
        ...


def hide_values(error: Exception) -> str:
    """Gives what is wrong with a record without what is in it: msgspec quotes values of enumerations and tags."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return _QUOTED.sub(r"\1 (its value is not shown)", str(error))


class Json(Generic[T]):
    """JSON, one document per record: `Json(Payment)` gives Payments (a dataclass, msgspec.Struct, TypedDict ...),
    `Json()` gives dicts and lists.  Fields that the type does not name are ignored."""

    @overload
    def __init__(self: Json[Any]) -> None: ...
    @overload
    def __init__(self, type: type[T]) -> None: ...
    def __init__(self, type: Any = Any) -> None:
        self._type = type
        self._decode = msgspec.json.Decoder(type).decode
        self._encode = msgspec.json.Encoder().encode

    def decode_batch(self, column: Sequence[bytes]) -> list[T]:
        out: list[T] = []
        try:
            out.extend(map(self._decode, column))
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
            name = "JSON" if self._type is Any else f"JSON of {getattr(self._type, '__name__', self._type)}"
            raise DecodeError(f"not {name}: {hide_values(error)}", index=len(out)) from None
        return out

    def encode_batch(self, column: Sequence[T]) -> list[bytes]:
        out: list[bytes] = []
        try:
            out.extend(map(self._encode, column))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EncodeError(
                f"cannot be written as JSON: {error}",
                index=len(out),
                remedy="give the sink values made of dict, list, str, numbers, dataclasses or msgspec.Structs",
            ) from error
        return out


class Text:
    """Text in one encoding, UTF-8 unless told."""

    def __init__(self, encoding: str = "utf-8") -> None:
        try:
            codecs.lookup(encoding).decode(b"")[0].encode(encoding)
        except (LookupError, TypeError, ValueError) as error:
            raise ConfigError(
                f"Text({encoding!r}): there is no such encoding of text", remedy='name one that Python knows: "latin-1"'
            ) from error
        self._encoding = encoding

    def decode_batch(self, column: Sequence[bytes]) -> list[str]:
        out: list[str] = []
        encoding = self._encoding
        try:
            out.extend([str(data, encoding) for data in column])
        except (UnicodeDecodeError, TypeError):
            for index, data in enumerate(column):
                try:
                    str(data, encoding)
                except (UnicodeDecodeError, TypeError) as error:
                    raise DecodeError(f"not {encoding} text: {error}", index=index) from error
        return out

    def encode_batch(self, column: Sequence[str]) -> list[bytes]:
        encoding = self._encoding
        try:
            return [value.encode(encoding) for value in column]
        except (UnicodeEncodeError, AttributeError):
            for index, value in enumerate(column):
                try:
                    value.encode(encoding)
                except (UnicodeEncodeError, AttributeError) as error:
                    raise EncodeError(f"not text for {encoding}: {error}", index=index) from error
            raise


class Bytes:
    """Bytes as they are."""

    def decode_batch(self, column: Sequence[bytes]) -> list[bytes]:
        for index, data in enumerate(column):
            if not isinstance(data, bytes):
                raise DecodeError(f"not bytes but {type(data).__name__}", index=index)
        return list(column)

    def encode_batch(self, column: Sequence[bytes]) -> list[bytes]:
        for index, value in enumerate(column):
            if not isinstance(value, bytes):
                raise EncodeError(f"not bytes but {type(value).__name__}", index=index)
        return list(column)
