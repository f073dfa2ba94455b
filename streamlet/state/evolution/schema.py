"""What a value of a state is, as plain data: a checkpoint has it for each of its states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

NO_DEFAULT = "no default"


class Plain(msgspec.Struct, frozen=True, tag="plain"):
    """A type without parts: `int`, `str`, `datetime`, ... or `Any`."""

    name: str
    limits: dict[str, Any] = {}
    """Constraints of `msgspec.Meta`: `{"ge": 0}`."""


class Items(msgspec.Struct, frozen=True, tag="items"):
    """A collection of any length of one type."""

    kind: Literal["list", "set", "frozenset", "tuple"]
    item: Schema


class Row(msgspec.Struct, frozen=True, tag="row"):
    """A tuple of fixed types."""

    items: tuple[Schema, ...]


class Mapping(msgspec.Struct, frozen=True, tag="mapping"):
    """A dict."""

    key: Schema
    value: Schema


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """A union."""

    of: tuple[Schema, ...]


class Literals(msgspec.Struct, frozen=True, tag="literals"):
    """`Literal[...]`."""

    values: tuple[Any, ...]


class Members(msgspec.Struct, frozen=True, tag="members"):
    """An Enum: what is stored is the value of a member."""

    name: str
    module: str
    members: dict[str, Any]


class Field(msgspec.Struct, frozen=True):
    """A field of a class, by the name that it has in the stored value."""

    name: str
    type: Schema
    has_default: bool = False
    default: Any = NO_DEFAULT
    """The default as plain data; none where it is another one each time."""


class Class(msgspec.Struct, frozen=True, tag="class"):
    """A class with fields."""

    name: str
    module: str
    form: Literal["struct", "dataclass", "namedtuple", "typeddict"]
    fields: tuple[Field, ...]
    is_array: bool = False
    """True where fields are stored by place, else by name."""
    tag: str | int | None = None
    tag_field: str | None = None
    omits_defaults: bool = False

    def field(self, name: str) -> Field | None:
        """The field of a name."""
        return next((field for field in self.fields if field.name == name), None)


class Again(msgspec.Struct, frozen=True, tag="again"):
    """A class inside itself, by its name."""

    name: str


class Part(msgspec.Struct, frozen=True):
    """One function of an aggregate, and the type of its accumulator."""

    name: str
    """What the job calls it; empty where it has no name."""
    kind: str
    """The class of the function: `Sum`."""
    of: str
    """What it takes: `field cents`, `item 'cents'`, `function 3.11:9f1c...`, `the value`."""
    type: Schema
    settings: dict[str, Any] = {}
    """What else decides what is in its accumulator: `{"k": 3}`."""
    empty: Any = NO_DEFAULT
    """The accumulator of no values, as plain data."""

    @property
    def label(self) -> str:
        """Its name, or what it is: `sum-cents`."""
        if self.name:
            return self.name
        kind, of = self.kind.lower(), self.of.rpartition(" ")[2].strip("'\"")
        return kind if self.of == WHOLE_VALUE else f"{kind}-{of.rpartition(':')[2]}"

    @property
    def what(self) -> str:
        """The function for people: `sum of item 'cents'`."""
        return self.kind.lower() if self.of == WHOLE_VALUE else f"{self.kind.lower()} of {self.of}"


WHOLE_VALUE = "the value"


class Accumulators(msgspec.Struct, frozen=True, tag="accumulators"):
    """What aggregate functions keep: each at its place, found by its name or by what it is."""

    parts: tuple[Part, ...]
    in_row: bool = True
    """False for a single one, which is stored bare."""


Schema = Plain | Items | Row | Mapping | Choice | Literals | Members | Class | Again | Accumulators

INT, BOOL, NONE, ANY, BYTES = Plain("int"), Plain("bool"), Plain("None"), Plain("Any"), Plain("bytes")


def parts_of(schema: Schema | None) -> Iterator[Part]:
    """The functions whose accumulators lie in a value, wherever they lie in it."""
    if isinstance(schema, Accumulators):
        yield from schema.parts
    elif isinstance(schema, Row):
        for item in schema.items:
            yield from parts_of(item)
    elif isinstance(schema, Choice):
        for item in schema.of:
            yield from parts_of(item)
    elif isinstance(schema, Items):
        yield from parts_of(schema.item)
