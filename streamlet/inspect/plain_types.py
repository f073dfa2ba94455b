"""Declared types as a checkpoint notes them, for whoever has none of the job's classes.

A type is a tree of `PlainType`.  `parse` reads the text of `streamlet.state.encoding.types.type_text`; what it does not
understand is `ANY`, so that a value is shown as it lies there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Form = Literal["map", "array"]
Kind = Literal["any", "scalar", "choice", "list", "tuple", "dict", "union", "class"]

SCALARS = frozenset(
    {"None", "bool", "int", "float", "str", "bytes", "bytearray", "memoryview"}
    | {"datetime", "time", "date", "timedelta", "UUID", "Decimal"}
)
_LISTS = ("list", "set", "frozenset")


@dataclass(frozen=True)
class PlainField:
    """One field of a class, under the name that it has in stored values."""

    name: str
    type: PlainType
    is_required: bool = True


@dataclass(frozen=True)
class PlainType:
    """One type, or a part of one."""

    kind: Kind
    name: str = ""
    """Of a scalar or a class."""
    parts: tuple[PlainType, ...] = ()
    """What a list, tuple, dict or union is made of."""
    fields: tuple[PlainField, ...] = ()
    values: tuple[Any, ...] = ()
    """Of a choice: the values of a Literal or of an Enum."""
    form: Form = "map"
    """How values of a class are stored: by the names of their fields, or in their order."""
    tag: tuple[str, str | int] | None = None
    """The name and the value of the field that says which class of a union it is."""

    def with_forms(self, seen: object) -> PlainType:
        """The same type, with each class in the form that a stored value, decoded without a type, shows."""
        if self.kind == "class":
            return self._with_form(seen)
        if self.kind == "list" and isinstance(seen, list | tuple):
            part = self.parts[0]
            for one in seen:
                part = part.with_forms(one)
            return replace(self, parts=(part,))
        if self.kind == "tuple" and isinstance(seen, list | tuple) and len(seen) == len(self.parts):
            return replace(self, parts=tuple(part.with_forms(one) for part, one in zip(self.parts, seen, strict=True)))
        if self.kind == "dict" and isinstance(seen, dict):
            key, value = self.parts
            for one, other in seen.items():
                key, value = key.with_forms(one), value.with_forms(other)
            return replace(self, parts=(key, value))
        if self.kind == "union" and isinstance(seen, list | tuple | dict):
            return replace(self, parts=tuple(part.with_forms(seen) for part in self.parts))
        return self

    def _with_form(self, seen: object) -> PlainType:
        if isinstance(seen, list | tuple):
            at = 1 if self.tag is not None else 0
            fields = tuple(
                replace(field, type=field.type.with_forms(one))
                for field, one in zip(self.fields, seen[at:], strict=False)
            )
            return replace(self, form="array", fields=(*fields, *self.fields[len(fields) :]))
        if isinstance(seen, dict):
            fields = tuple(
                replace(field, type=field.type.with_forms(seen[field.name])) if field.name in seen else field
                for field in self.fields
            )
            return replace(self, form="map", fields=fields)
        return self

    def any_of(self, test: Callable[[PlainType], bool]) -> bool:
        """True when the type, or a part of it, passes a test."""
        inner = (*self.parts, *(field.type for field in self.fields))
        return test(self) or any(part.any_of(test) for part in inner)

    def __str__(self) -> str:
        return _text(self)


ANY = PlainType("any")


def scalar(name: str) -> PlainType:
    """A scalar by its name."""
    return PlainType("scalar", name)


def record(name: str, **fields: PlainType) -> PlainType:
    """A tuple whose places have names."""
    return PlainType("class", name, fields=tuple(PlainField(*one) for one in fields.items()), form="array")


def parse(text: str) -> PlainType:
    """Reads a type as a checkpoint notes it."""
    try:
        reader = _Reader(text)
        found = reader.union()
        return found if reader.is_at_end else ANY
    except (ValueError, IndexError, SyntaxError, RecursionError):
        return ANY


def parse_all(text: str) -> tuple[PlainType, ...]:
    """Reads several types, with commas between them."""
    found = parse(f"tuple[{text}]")
    return found.parts if found.kind == "tuple" else ()


class _Reader:
    """Reads a text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._text)

    def union(self) -> PlainType:
        parts = [self._one()]
        while self._takes(" | "):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else PlainType("union", parts=tuple(parts))

    def _one(self) -> PlainType:
        name = self._name("{([,|]})")
        if not name:
            raise ValueError("a type without a name")
        if self._takes("{"):
            return self._class(name)
        if self._takes("("):
            return PlainType("choice", name, values=self._values(")"))
        if not self._takes("["):
            return scalar(name) if name in SCALARS else ANY  # of a class inside itself only the name is noted
        if name == "Literal":
            return PlainType("choice", name, values=self._values("]"))
        return self._container(name)

    def _container(self, name: str) -> PlainType:
        parts = []
        while not self._takes("]"):
            if self._takes("..."):
                name = "list"
            else:
                parts.append(self.union())
            self._takes(", ")
        if name in _LISTS and len(parts) == 1:
            return PlainType("list", parts=tuple(parts))
        if name == "dict" and len(parts) == 2:
            return PlainType("dict", parts=tuple(parts))
        if name == "tuple":
            return PlainType("tuple", parts=tuple(parts))
        raise ValueError(name)

    def _class(self, name: str) -> PlainType:
        fields = []
        while not self._takes("}"):
            field = self._name(":")
            is_required = not field.endswith("?")
            if not self._takes(": "):
                raise ValueError(field)
            fields.append(PlainField(field.removesuffix("?"), self.union(), is_required))
            self._takes(", ")
        return PlainType("class", name, fields=tuple(fields))

    def _values(self, end: str) -> tuple[int | str | None, ...]:
        """The values up to a bracket, as `repr` writes them; a text may hold the bracket."""
        at, quote = self._at, ""
        while quote or self._text[at] != end:
            letter = self._text[at]
            if quote and letter == "\\":
                at += 1
            elif letter == quote:
                quote = ""
            elif not quote and letter in "'\"":
                quote = letter
            at += 1
        inside, self._at = self._text[self._at : at], at + 1
        return tuple(ast.literal_eval(f"({inside},)")) if inside else ()

    def _name(self, ends: str) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ends:
            self._at += 1
        name = self._text[start : self._at]
        if name.endswith(" ") and self._text[self._at : self._at + 1] == "|":
            self._at -= 1
        return name.strip()

    def _takes(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False


def _text(one: PlainType) -> str:
    parts = ", ".join(map(_text, one.parts))
    if one.kind == "class":
        fields = ", ".join(f"{field.name}{'' if field.is_required else '?'}: {field.type}" for field in one.fields)
        return f"{one.name}{{{fields}}}"
    if one.kind == "choice":
        return f"{one.name}({', '.join(map(repr, one.values))})"
    if one.kind == "union":
        return " | ".join(map(_text, one.parts))
    return one.name if one.kind == "scalar" else "Any" if one.kind == "any" else f"{one.kind}[{parts}]"
