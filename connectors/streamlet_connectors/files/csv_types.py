"""What the columns of a CSV file are by the declared type of its records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import inspect as types

from streamlet.connect import DecodeError, JobDefinitionError

_REFUSED = re.compile(r"Expected `([^`]*)`, got `[^`]*` - at `\$(?:\.([^`]*)|\[(\d+)\])`")
_BEYOND = re.compile(r"Number out of range - at `\$\.([^`]*)`")
_NAMED = types.StructType | types.DataclassType | types.TypedDictType | types.NamedTupleType
_SHOWN = 8


def require_type(type: Any) -> None:
    """Raises `JobDefinitionError` for a type of which no values can be made."""
    try:
        msgspec.json.Decoder(type)
    except TypeError as error:
        raise JobDefinitionError(
            f"type={type!r:.80} of Csv cannot be read: {error}", remedy="name a dataclass or a msgspec.Struct"
        ) from error


class Columns:
    """Turns the cells of a record into the value of a type: dicts by field without one, or lists without fields.

    An empty cell of a column that may be None is None.
    """

    def __init__(self, type: Any, fields: Sequence[str] | None) -> None:
        self.type = type
        self.fields = fields
        self._order: list[int] | None = None
        """Which cells make the value, where they are taken by their place and not by name."""
        self._may_be_none: list[int] = []
        if type is not None:
            self._look_at(type)

    def value(self, row: list[str]) -> Any:
        """Gives the value of one record; raises `ValueError` or `msgspec.ValidationError`."""
        fields = self.fields
        if fields is not None and len(row) != len(fields):
            raise ValueError(_uneven(row, fields))
        if self.type is None:
            return row if fields is None else dict(zip(fields, row))  # noqa: B905 - their number was looked at
        if self._may_be_none and "" in row:
            self._empty(row)
        if fields is None:
            return msgspec.convert(row, self.type, strict=False)
        if self._order is not None:
            return msgspec.convert([row[column] for column in self._order], self.type, strict=False)
        return msgspec.convert(dict(zip(fields, row)), self.type, strict=False)  # noqa: B905

    def _empty(self, row: list[Any]) -> None:
        for column in self._may_be_none:
            if column < len(row) and not row[column]:
                row[column] = None

    def why_not(self, row: list[str], error: Exception) -> tuple[str, str | None]:
        """Says what is wrong with a record that is none of the type, without its values, and what to do."""
        if self.fields is not None and len(row) != len(self.fields):
            return str(error), _why_uneven(row, self.fields)
        if (beyond := _BEYOND.search(str(error))) is not None:
            return f"column {beyond[1]!r} holds a number beyond the range of a float", None
        found = _REFUSED.search(str(error))
        if found is None:
            return str(error), None
        expected, name, place = found.groups()
        column = int(place) if place is not None else self._column_of(name)
        if place is not None and self._order is not None:
            column = self._order[column or 0]
        shown = f"column {column + 1 if column is not None else '?'}"
        if self.fields is not None and column is not None:
            shown = f"column {self.fields[column]!r}"
        if (column is not None and row[column] is None) or (column is not None and row[column] == ""):
            return f"{shown} is empty, and `{expected}` is declared", f"declare it `{expected} | None`"
        cell = row[column] if column is not None else ""
        remedy = "blanks belong to a cell; skip_spaces=True takes those behind a delimiter away"
        return f"{shown} cannot be read as `{expected}`", remedy if cell != cell.strip() else None

    def _column_of(self, name: str) -> int | None:
        fields = self.fields or ()
        return next((column for column, field in enumerate(fields) if field == name), None)

    def _look_at(self, type: Any) -> None:
        told = types.type_info(type)
        if self.fields is None:
            self._look_at_places(told)
        elif isinstance(told, _NAMED):
            self._look_at_names(told, list(self.fields))
        elif isinstance(told, types.DictType) and _admits_none(told.value_type):
            self._may_be_none = list(range(len(self.fields)))

    def _look_at_names(self, told: Any, names: list[str]) -> None:
        if missing := [one.encode_name for one in told.fields if one.required and one.encode_name not in names]:
            raise DecodeError(_missing(missing, names), remedy=_near(missing, names))
        by_name = {one.encode_name: one.type for one in told.fields}
        self._may_be_none = [
            column for column, name in enumerate(names) if name in by_name and _admits_none(by_name[name])
        ]
        if isinstance(told, types.NamedTupleType) or getattr(told, "array_like", False):
            present = [one.encode_name for one in told.fields if one.encode_name in names]
            self._order = [names.index(name) for name in present]

    def _look_at_places(self, told: Any) -> None:
        if isinstance(told, types.TupleType):
            kinds = told.item_types
        elif isinstance(told, types.NamedTupleType | types.StructType):
            kinds = tuple(one.type for one in told.fields)
        elif isinstance(told, types.ListType | types.VarTupleType) and _admits_none(told.item_type):
            kinds = (told.item_type,) * 10_000
        else:
            kinds = ()
        self._may_be_none = [column for column, kind in enumerate(kinds) if _admits_none(kind)]


def _admits_none(kind: Any) -> bool:
    if isinstance(kind, types.Metadata):
        kind = kind.type
    return isinstance(kind, types.NoneType) or (isinstance(kind, types.UnionType) and kind.includes_none)


def _why_uneven(row: list[str], fields: Sequence[str]) -> str | None:
    if any(cell[:1] == " " and cell.lstrip()[:1] == '"' for cell in row):
        return "skip_spaces=True lets a quoted field begin behind a blank"
    if len(row) > len(fields) and not any(row[len(fields) :]):
        return "its lines end in a delimiter, its header does not: add one to the header"
    return None


def _uneven(row: list[str], fields: Sequence[str]) -> str:
    many = f"it has {len(row)} field{'s' if len(row) != 1 else ''} where {len(fields)} are named"
    if len(row) > len(fields):
        return f"{many}: {len(row) - len(fields)} too many behind {fields[-1]!r}"
    return f"{many}: {_listed(fields[len(row) :])} missing"


def _missing(missing: list[str], names: list[str]) -> str:
    return f"its header does not name {_listed(missing)}, which the type needs; it names {_listed(names)}"


def _near(missing: list[str], names: list[str]) -> str:
    near = {name.strip().lower(): name for name in names}
    found = next((near[name.lower()] for name in missing if name.lower() in near), None)
    if found is None:
        return "correct the header or the type; header=False if the file has none"
    what = "spaces around it belong to a name" if found != found.strip() else "names differ in case"
    return f"it names {found!r}: {what}; rename the field by msgspec.field(name={found!r}), or correct the header"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"{name!r:.40}" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
