"""The contract of a format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from streamlet.errors import EncodeError, FunctionBlockedError

T = TypeVar("T")


class Format(Protocol[T]):
    """Turns columns of values into columns of bytes and back."""

    def decode_batch(self, column: Sequence[bytes]) -> list[T]:
        """Gives one value per element; raises `DecodeError` with the index of the first that cannot be read."""
        ...

    def encode_batch(self, column: Sequence[T]) -> list[bytes]:
        """Gives the bytes of each value; raises `EncodeError` with the index of the first that cannot be written."""
        ...


def encoded(format: Format[T], column: Sequence[T]) -> list[bytes]:
    """What `encode_batch` gives; whatever else it raises than `EncodeError` becomes one, with the index of the first
    value for which it does.  For sinks: a format that somebody else has written need not know of all that comes."""
    try:
        return format.encode_batch(column)
    except (EncodeError, FunctionBlockedError, MemoryError):
        raise
    except Exception as error:
        index, cause = _first_refused(format, column, error)
        what = f"{type(format).__name__}: {type(cause).__name__}: {cause}"
        raise EncodeError(f"cannot be written by {what}", index=index) from cause


def _first_refused(format: Format[Any], column: Sequence[Any], error: Exception) -> tuple[int, Exception]:
    for index, value in enumerate(column):
        try:
            format.encode_batch([value])
        except Exception as found:
            return index, found
    return 0, error
