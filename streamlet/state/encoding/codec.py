"""From a user's value to what a cell holds and what a file holds, by declared type."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import inspect

from streamlet.errors import StateTypeError
from streamlet.state.encoding.extensions import of_extension, pack_wide, unpack_wide
from streamlet.state.encoding.types import (
    WITH_FROZEN_FIELDS,
    is_exact,
    is_immutable,
    plain_classes,
    type_facts,
    type_text,
)

_pack = msgspec.msgpack.Encoder().encode

_REFUSED = (TypeError, ValueError, OverflowError, RecursionError)
"""What msgspec raises for a value that it cannot encode (`UnicodeEncodeError` is a ValueError)."""


class Codec:
    """Turns values of one declared state into what its cells hold, and back.

    `option` is what says the type where it is not the declaration of a state: `type=` of a step, for example.
    `holds_bytes` says that cells hold packed bytes (`msgspec.Raw`) because values can change; otherwise they hold the
    value itself.  A value whose class is in `plain` needs no `encode`: it is stored as it is.
    """

    def __init__(self, declared: Any, *, where: str, option: str = "") -> None:
        facts = type_facts(declared, where=where)
        self.where = where
        self.option = option
        self.text = type_text(declared)
        self.is_scalar_only = isinstance(facts, inspect.AnyType)
        self.holds_bytes = not self.is_scalar_only and not is_immutable(facts)
        self.plain: frozenset[type] = frozenset() if self.holds_bytes else plain_classes(facts)
        self._decode = msgspec.msgpack.Decoder(declared, ext_hook=of_extension).decode
        self._declared = declared
        self._takes_float = float in self.plain and int not in self.plain
        self._float_fields = _float_fields(facts)

    def encode(self, value: Any) -> Any:
        """Gives what a cell holds for `value`; raises `StateTypeError` when it is not of the declared type."""
        kind = type(value)
        if kind in self.plain:
            return value
        if self._takes_float and kind is int:
            return float(value)
        if self._float_fields is not None and kind is self._float_fields[0]:
            if all(type(field) is float for field in self._float_fields[1](value)):
                return value
        elif self.is_scalar_only:
            how = f"{self.option}{suggested(value)}" if self.option else "ValueState(list[int])"
            raise StateTypeError(
                f"{self.where} has no declared type and got {kind.__qualname__}",
                remedy=f"declare the type, e.g. {how}; without one only None, bool, int, float, str and bytes are kept",
            )
        # The way through bytes checks the type, and gives what a restored job would see.
        packed = self.pack(value)
        stored = self.unpack(packed)
        return stored if not self.holds_bytes else msgspec.Raw(packed)

    def decode(self, stored: Any) -> Any:
        """Gives the value of what a cell holds: a fresh object when the type is mutable."""
        return self.read(stored) if self.holds_bytes else stored

    def pack(self, value: Any) -> bytes:
        """Gives the msgpack bytes of a value."""
        try:
            return _pack(value)
        except _REFUSED:
            pass
        try:
            return pack_wide(value)
        except _REFUSED as error:
            raise self._cannot_keep(value, error) from error

    def _cannot_keep(self, value: Any, error: Exception) -> StateTypeError:
        return StateTypeError(
            f"{self.where} ({self.text}) cannot keep {_brief(value)}: {error}",
            remedy="keep values of the declared type",
        )

    def read(self, data: bytes | msgspec.Raw) -> Any:
        """Gives the value of its bytes; raises `msgspec.ValidationError` when they are of another type."""
        try:
            return self._decode(data)
        except msgspec.ValidationError:
            # Perhaps an integer beyond 64 bits; if it is not, this says the same.
            return unpack_wide(data, self._declared)

    def unpack(self, data: bytes | msgspec.Raw) -> Any:
        """Gives what a cell holds for bytes from a file; raises `StateTypeError` when they are of another type."""
        try:
            value = self.read(data)
        except (msgspec.DecodeError, ValueError) as error:
            how, other = (f", or declare theirs by {self.option}...", "uid") if self.option else ("", "name")
            raise StateTypeError(
                f"{self.where} is declared as {self.text}, but a value is not that: {error}",
                remedy=f"keep values of the declared type{how}; state that was written as another type needs another "
                f"{other}",
            ) from error
        return msgspec.Raw(bytes(data)) if self.holds_bytes else value


def refused_value(where: str, key: Any, value: Any, error: Exception) -> StateTypeError:
    """The error for a value that was taken unchecked and cannot be written: found while a checkpoint is packed."""
    return StateTypeError(
        f"{where}, key {key!r}: {_brief(value)} cannot be stored: {error}",
        remedy="keep values of the declared type",
    )


def suggested(value: Any) -> str:
    """The type to declare for a value, for messages."""
    kind = type(value)
    return "tuple[int, str]" if kind is tuple else "set[str]" if kind is set else kind.__qualname__


def _float_fields(facts: inspect.Type) -> tuple[type, Callable[[Any], tuple[Any, ...]]] | None:
    """For a frozen class whose only unsure fields are floats: how to see that they hold floats, much faster than
    through bytes (an accumulator of count and total is the usual case)."""
    if not isinstance(facts, WITH_FROZEN_FIELDS):
        return None
    floats = [field.name for field in facts.fields if isinstance(field.type, inspect.FloatType)]
    others = [field.type for field in facts.fields if not isinstance(field.type, inspect.FloatType)]
    if not floats or not is_immutable(facts) or not all(map(is_exact, others)):
        return None
    # attrgetter gives a bare value for one name: name the first twice.
    return facts.cls, attrgetter(*floats, floats[0])


def _brief(value: Any) -> str:
    """A value for messages: numbers as they are, anything else by its type, for it may hold what a record holds."""
    text = repr(value) if type(value) in (int, float, bool, type(None)) else type(value).__qualname__
    return text if len(text) <= 80 else f"{text[:77]}..."
