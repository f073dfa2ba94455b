"""The one key type of a keyed stream: 1, True and 1.0 are one entry of a dict but three keys in a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import inspect

from streamlet.errors import KeyTypeError, StateTypeError
from streamlet.state.encoding.key_groups import pack_key
from streamlet.state.encoding.types import type_facts

KEY_TYPE_NOTE = b"key type"
"""Under `META_STATE`: the shape of the keys, so that a restored job refuses another one."""
KEY_CLASSES_NOTE = b"key classes"
"""Under `META_STATE`: where their classes are, so that a restored timer finds its key before any record comes."""

KEY_NOTES = (KEY_CLASSES_NOTE, KEY_TYPE_NOTE)

KEY_SCALARS: frozenset[type] = frozenset({str, bytes, int, bool})

Shape = Any
"""A class, or a tuple of a tuple-like class and the shapes of its fields."""

_REMEDY = "use str, bytes, int, bool, or tuples, NamedTuples or frozen msgspec.Structs of these"


def key_type_of(key: Any) -> Shape:
    """Gives the shape of a key; raises `KeyTypeError` for what cannot be a key."""
    kind = type(key)
    if kind in KEY_SCALARS:
        return kind
    if isinstance(key, tuple):
        return (kind, *map(key_type_of, key))
    if isinstance(key, msgspec.Struct) and kind.__struct_config__.frozen:
        return (kind, *map(key_type_of, msgspec.structs.astuple(key)))
    raise KeyTypeError(f"a value of type {kind.__qualname__} cannot be a key", remedy=_REMEDY)


def declared_key_type(declared: Any, *, where: str) -> Shape:
    """Gives the shape that keys of a declared type have; raises `StateTypeError` when it is no key type."""
    return _shape_of(type_facts(declared, where=where), declared, where)


def key_type_text(shape: Shape) -> str:
    """Writes a shape down: `str`, `(str, int)`, `Place(shop: str)`. The same in every process.

    What decides the bytes of a key, or what they mean, is in it: a key with a field of another name is another key.
    """
    if not isinstance(shape, tuple):
        return str(shape.__qualname__)
    parts = list(map(key_type_text, shape[1:]))
    if shape[0] is tuple:
        return f"({', '.join(parts)})"
    fields = ", ".join(f"{field}: {part}" for field, part in zip(_fields(shape[0]), parts, strict=True))
    return f"{shape[0].__name__}({fields}){_form(shape[0])}"


def forms_text(shape: Shape) -> str:
    """What else than types and names of fields decides the bytes of a key, by its classes; empty where it has none."""
    forms = {f"; {kind.__name__}{_form(kind) or ' as map'}" for kind in _classes(shape)}
    return "".join(sorted(forms))


def classes_text(shape: Shape) -> str:
    """Names the classes in a shape by module, so that a restored job finds them: `job:Place`; empty for plain keys."""
    return ",".join(sorted({f"{kind.__module__}:{kind.__qualname__}" for kind in _classes(shape)}))


class KeyType:
    """Holds the shape that all keys must have: the declared one, or that of the first key seen by any who share it."""

    def __init__(self, where: str, declared: Any = None) -> None:
        self.where = where
        self.text = ""
        """The shape as text; empty while no key was seen."""
        self.probe: Callable[[Any], Shape] = type
        """Gives of a key what `expected` is compared with: its class alone is enough for scalars."""
        self.expected: frozenset[Shape] = frozenset()
        self.classes = ""
        """Where the classes of the keys are; empty for plain keys."""
        self._decode: Callable[[bytes], Any] | None = None
        if declared is not None:
            self._fix(declared_key_type(declared, where=where))

    def restore(self, text: str, classes: str = "") -> None:
        """Says what the restored keys were; raises `StateTypeError` when another type was declared."""
        self.classes = self.classes or classes
        if self.expected and _without_fields(self.text) == text:
            return  # noted before field names were
        if self.text and self.text != text:
            raise StateTypeError(
                f"{self.where}: keys are {self.text}, but the checkpoint has keys of type {text}",
                remedy="give the keys their former type, or start the job anew with another name",
            )
        self.text = text

    def check(self, keys: Sequence[Any]) -> None:
        """Raises `KeyTypeError` with the row of the first key of another shape than the first key ever seen."""
        for row, key in enumerate(keys):
            try:
                shape = key_type_of(key)
            except KeyTypeError as error:
                raise KeyTypeError(f"{self.where}: {error.message}", index=row, remedy=error.remedy) from None
            text = key_type_text(shape)
            if not self.expected and self.text in ("", text, _without_fields(text)):
                self._fix(shape)
            if shape not in self.expected:
                raise self._mismatch(key, shape, row)

    def _mismatch(self, key: Any, shape: Shape, row: int) -> KeyTypeError:
        whose, remedy = "here", "make the key function give one type, e.g. str(...) around what it returns"
        if not self.expected:
            whose = "of the checkpoint"
            remedy = (
                "give key_by the function that it had, or one whose keys are of that type; "
                "or begin the state of each step behind it anew by --allow-dropped-state UID"
            )
        return KeyTypeError(
            f"{self.where}: key {key!r} is {key_type_text(shape)}, but the keys {whose} are {self.text}",
            index=row,
            remedy=remedy,
        )

    def check_packable(self, keys: Sequence[Any]) -> None:
        """Raises `KeyTypeError` with the row of the first key that cannot be written."""
        for row, key in enumerate(keys):
            try:
                pack_key(key)
            except (OverflowError, ValueError, TypeError) as error:
                raise KeyTypeError(
                    f"{self.where}: key {key!r} cannot be written: {error}",
                    index=row,
                    remedy="integers of a key have 64 bits, its text has no lone surrogates",
                ) from error

    def decode(self, packed: bytes) -> Any:
        """Gives the key of packed bytes; raises `StateTypeError` when the class that it had is not there any more."""
        if self._decode is None:
            shapes = list(self.expected)
            type = _type_of(shapes[0]) if shapes else _type_in(self.text, self.classes, self.where)
            self._decode = msgspec.msgpack.Decoder(type).decode
        try:
            return self._decode(packed)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateTypeError(
                f"{self.where}: a restored key is no {self.text}: {error}",
                remedy="give the fields of the key's class their former types",
            ) from error

    def _fix(self, shape: Shape) -> None:
        self.text = key_type_text(shape)
        self.classes = classes_text(shape)
        self._decode = None
        self.expected = frozenset({shape})
        self.probe = key_type_of if isinstance(shape, tuple) else type


def _shape_of(facts: inspect.Type, declared: Any, where: str) -> Shape:
    scalars: dict[type, type] = {
        inspect.StrType: str,
        inspect.BytesType: bytes,
        inspect.IntType: int,
        inspect.BoolType: bool,
    }
    if type(facts) in scalars:
        return scalars[type(facts)]
    if isinstance(facts, inspect.TupleType):
        return (tuple, *(_shape_of(item, declared, where) for item in facts.item_types))
    if isinstance(facts, inspect.NamedTupleType) or (
        isinstance(facts, inspect.StructType) and facts.cls.__struct_config__.frozen
    ):
        return (facts.cls, *(_shape_of(field.type, declared, where) for field in facts.fields))
    raise StateTypeError(f"{where}: {declared!r} is not a type for keys", remedy=_REMEDY)


def _fields(kind: Any) -> tuple[str, ...]:
    """The names of a key class's fields, as its bytes have them."""
    return tuple(kind._fields if issubclass(kind, tuple) else kind.__struct_encode_fields__)


def _form(kind: Any) -> str:
    """What else decides the bytes of a key: ` as array`, ` tagged type=Place`; empty for the usual form of a struct."""
    if issubclass(kind, tuple):
        return " as array"
    config = kind.__struct_config__
    tag = f" tagged {config.tag_field}={config.tag}" if config.tag is not None else ""
    return f"{tag}{' as array' * bool(config.array_like)}{' without defaults' * bool(config.omit_defaults)}"


def _without_fields(text: str) -> str:
    """A shape as it was noted before field names were."""
    return re.sub(r"[^\W\d]\w*: | tagged [^,)]*| as array| without defaults", "", text)


def _classes(shape: Shape) -> Iterator[Any]:
    if isinstance(shape, tuple):
        if shape[0] is not tuple:
            yield shape[0]
        for part in shape[1:]:
            yield from _classes(part)


def _type_of(shape: Shape) -> Any:
    """The type by which keys of a shape are decoded."""
    if not isinstance(shape, tuple):
        return shape
    if shape[0] is not tuple:
        return shape[0]
    return tuple[tuple(map(_type_of, shape[1:]))]  # type: ignore[misc]


def _type_in(text: str, classes: str, where: str) -> Any:
    """The same from what a checkpoint has noted, before any key was seen."""
    known: dict[str, Any] = {kind.__name__: kind for kind in KEY_SCALARS}
    for place in filter(None, classes.split(",")):
        kind = _find_class(place)
        if kind is None:
            raise StateTypeError(
                f"{where}: the restored keys are of class {place}, which the job file does not have",
                remedy="define the class again under that name, or start without state by --from none",
            )
        known[kind.__name__] = kind
    type, rest = _parse(_without_fields(text), known)
    if rest or type is None:
        raise StateTypeError(f"{where}: the restored keys are {text!r}, which is no type of keys", remedy=_REMEDY)
    return type


def _parse(text: str, known: dict[str, Any]) -> tuple[Any, str]:
    """Reads one shape as `key_type_text` writes it, without field names; gives its type, or None, and what follows."""
    name = text.split("(", 1)[0].split(",", 1)[0].split(")", 1)[0]
    rest = text[len(name) :]
    if not rest.startswith("("):
        return known.get(name), rest
    parts: list[Any] = []
    rest = rest[1:]
    while rest and not rest.startswith(")"):
        part, rest = _parse(rest, known)
        if part is None:
            return None, rest
        parts.append(part)
        rest = rest.removeprefix(", ")
    return (known.get(name) if name else tuple[tuple(parts)]), rest[1:]  # type: ignore[misc]


def _find_class(place: str) -> Any:
    """A class of keys in a module that is loaded; nothing is imported here."""
    module, _, name = place.partition(":")
    for candidate in (module, "__main__"):
        try:
            kind = attrgetter(name)(sys.modules[candidate])
        except (KeyError, AttributeError):
            continue
        is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.frozen
        if is_struct or (isinstance(kind, type) and issubclass(kind, tuple)):
            return kind
    return None
