"""The contract of a format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Format(Protocol[T]):
    """Turns columns of values into columns of bytes and back."""

    def decode_batch(self, column: Sequence[bytes]) -> list[T]:
        """Gives one value per element; raises `DecodeError` with the index of the first that cannot be read."""
        ...

    def encode_batch(self, column: Sequence[T]) -> list[bytes]:
        """Gives the bytes of each value; raises `EncodeError` with the index of the first that cannot be written."""
        ...
