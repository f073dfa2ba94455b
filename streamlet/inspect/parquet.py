"""Rows of a state as Parquet, by `pip install "streamlet[parquet]"`.

Classes are structs, tuples structs with the fields `0`, `1` ..., dicts maps.  What has no one type of Parquet (no
declared type, or several) is JSON text, and the file says so of the column: reading it takes that back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from streamlet.errors import ConfigError, StateTypeError
from streamlet.inspect.checkpoint import StateView
from streamlet.inspect.plain_forms import for_json, json_line
from streamlet.inspect.plain_types import PlainType
from streamlet.inspect.rows import Row

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_ONCE = 50_000
"""Rows of one group of a file: what is in memory at a time."""

_JSON = {b"streamlet": b"json"}


def write_parquet(state: StateView, target: Path) -> int:
    """Writes all rows of a state; gives their number. Raises `ConfigError` where pyarrow is not installed."""
    arrow, parquet = _library()
    columns = {name: _Column(arrow, type) for name, type in _narrowed(state).items()}
    schema = arrow.schema([column.field(name) for name, column in columns.items()])
    rows, count = state.rows(), 0
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
            try:
                arrays = [column.array(name, some) for name, column in columns.items()]
            except (arrow.ArrowException, OverflowError) as error:
                raise StateTypeError(
                    f"state {state.name!r} of {state.uid!r} has a value that Parquet cannot hold: {error}",
                    remedy="export it as JSON lines: --format jsonl",
                ) from error
            writer.write_batch(arrow.record_batch(arrays, schema=schema))
            count += len(some)
    return count


def read_parquet(source: Path) -> Iterator[Row]:
    """Gives the rows of a file, in bounded memory; fields that are null are left out."""
    arrow, parquet = _library()
    try:
        file = parquet.ParquetFile(source)
    except (OSError, arrow.ArrowException) as error:
        raise ConfigError(f"{source} cannot be read as Parquet: {error}", remedy="give a Parquet file") from error
    with file:
        is_json = {field.name for field in file.schema_arrow if (field.metadata or {}).items() >= _JSON.items()}
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield {
                    name: msgspec.json.decode(value) if name in is_json else value
                    for name, value in row.items()
                    if value is not None or name == "value"
                }


def _library() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "Parquet needs pyarrow, which is not installed",
            remedy='pip install "streamlet[parquet]", or use JSON lines',
        ) from error
    return pyarrow, pyarrow.parquet


def _narrowed(state: StateView) -> dict[str, PlainType]:
    """The columns, with one type where a value may be int or float and all are the same: that takes a look at all of
    them, and is worth it, for a sum is to be a number there."""
    columns = state.columns()
    loose = {name: type for name, type in columns.items() if type.any_of(_is_number)}
    seen: dict[str, set[str]] = {name: set() for name in loose}
    for row in state.rows() if loose else ():
        for name, type in loose.items():
            _see_numbers(type, row.get(name), seen[name])
    return columns | {name: _of_one(type, seen[name].pop()) for name, type in loose.items() if len(seen[name]) == 1}


def _is_number(type: PlainType) -> bool:
    return type.kind == "union" and {part.name for part in type.parts} - {"None"} == {"int", "float"}


def _see_numbers(type: PlainType, value: Any, seen: set[str]) -> None:
    if _is_number(type):
        if value is not None:
            seen.add(value.__class__.__name__)
    elif type.kind == "class" and isinstance(value, dict):
        for field in type.fields:
            _see_numbers(field.type, value.get(field.name), seen)
    elif type.kind == "dict" and isinstance(value, dict):
        for one, other in value.items():
            _see_numbers(type.parts[0], one, seen)
            _see_numbers(type.parts[1], other, seen)
    elif isinstance(value, list | tuple):
        parts = type.parts if type.kind == "tuple" else itertools.repeat(type.parts[0]) if type.parts else ()
        for part, one in zip(parts, value, strict=False):
            _see_numbers(part, one, seen)


def _of_one(type: PlainType, name: str) -> PlainType:
    if _is_number(type):
        kept = tuple(part for part in type.parts if part.name in (name, "None"))
        return kept[0] if len(kept) == 1 else replace(type, parts=kept)
    return replace(
        type,
        parts=tuple(_of_one(part, name) for part in type.parts),
        fields=tuple(replace(field, type=_of_one(field.type, name)) for field in type.fields),
    )


class _Column:
    """One column: its type of Parquet, and how values come into it."""

    def __init__(self, arrow: Any, type: PlainType) -> None:
        self._arrow = arrow
        self._type = type
        found = _arrow_type(arrow, type)
        self._is_json = found is None
        self._found = arrow.string() if found is None else found
        self._is_plain = type.kind == "scalar"

    def field(self, name: str) -> pyarrow.Field:
        return self._arrow.field(name, self._found, metadata=_JSON if self._is_json else None)

    def array(self, name: str, rows: list[Row]) -> pyarrow.Array:
        values = [row.get(name) for row in rows]
        if self._is_json:
            values = [json_line(for_json(self._type, value)).decode().rstrip("\n") for value in values]
        elif not self._is_plain:
            values = [_for_arrow(self._type, value) for value in values]
        return self._arrow.array(values, self._found)


def _arrow_type(arrow: Any, type: PlainType) -> Any:
    """The type of Parquet; None where there is no one."""
    if type.kind == "scalar":
        return _scalars(arrow).get(type.name)
    if type.kind == "choice":
        kinds = {one.__class__ for one in type.values}
        return arrow.string() if kinds == {str} else arrow.int64() if kinds == {int} else None
    if type.kind == "union":
        some = [part for part in type.parts if part.name != "None"]
        return _arrow_type(arrow, some[0]) if len(some) == 1 else None
    if type.kind == "class":
        named = [(field.name, _arrow_type(arrow, field.type)) for field in type.fields]
    else:
        named = [(str(place), _arrow_type(arrow, part)) for place, part in enumerate(type.parts)]
    if not named or any(one is None for _, one in named):
        return None
    if type.kind == "list":
        return arrow.list_(named[0][1])
    return arrow.map_(named[0][1], named[1][1]) if type.kind == "dict" else arrow.struct(named)


def _scalars(arrow: Any) -> dict[str, Any]:
    return {
        "None": arrow.null(),
        "bool": arrow.bool_(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "str": arrow.string(),
        "UUID": arrow.string(),
        "Decimal": arrow.string(),
        "bytes": arrow.binary(),
        "bytearray": arrow.binary(),
        "memoryview": arrow.binary(),
        "datetime": arrow.timestamp("us", tz="UTC"),
        "date": arrow.date32(),
        "timedelta": arrow.duration("us"),
    }


def _for_arrow(type: PlainType, value: Any) -> Any:
    if value is None:
        return None
    if type.kind == "union":
        return _for_arrow(next(part for part in type.parts if part.name != "None"), value)
    if type.kind == "tuple":
        return {str(at): _for_arrow(part, one) for at, (part, one) in enumerate(zip(type.parts, value, strict=True))}
    if type.kind == "list":
        return [_for_arrow(type.parts[0], one) for one in value]
    if type.kind == "dict":
        key, part = type.parts
        return [(_for_arrow(key, one), _for_arrow(part, other)) for one, other in value.items()]
    if type.kind == "class" and isinstance(value, dict):
        return {field.name: _for_arrow(field.type, value.get(field.name)) for field in type.fields}
    return value
