"""Requests and answers as bytes, by the message types of `kio`, which has every version of every Kafka API.

Answers are written as nested dicts with the fields of all versions; a version takes those that it has.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import struct
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, Union, get_args, get_origin

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

Answer = Mapping[str, Any]
API_VERSIONS = 18
_HEAD = struct.Struct(">hhih")
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


class Head(NamedTuple):
    """How every request starts."""

    api: int
    version: int
    correlation: int
    client_id: str
    size: int
    """Bytes of the head, without the tags of flexible versions."""


def read_head(frame: bytes) -> Head:
    """Reads the head; raises `struct.error` or `UnicodeDecodeError` when it is none."""
    api, version, correlation, length = _HEAD.unpack_from(frame)
    end = _HEAD.size + max(0, length)
    return Head(api, version, correlation, bytes(frame[_HEAD.size : end]).decode(), end)


def read_request(frame: bytes, head: Head) -> Any:
    """Reads what comes behind the head; raises when it is not a request of that version."""
    kind: Any = load_request_schema(head.api, head.version)
    at = head.size
    if kind.__header_schema__.__version__ >= 2:
        at = _behind_tags(frame, at)
    return entity_reader(kind)(memoryview(frame), at)[0]


def write_answer(head: Head, answer: Answer, *, version: int | None = None) -> bytes:
    """The frame of an answer, with its length; `version` when it is not the request's."""
    kind: Any = load_response_schema(head.api, head.version if version is None else version)
    out = io.BytesIO()
    out.write(struct.pack(">ii", 0, head.correlation))
    if kind.__header_schema__.__version__ >= 1:
        out.write(b"\x00")
    entity_writer(kind)(out, built(kind, answer))
    frame = out.getvalue()
    return struct.pack(">i", len(frame) - 4) + frame[4:]


def milliseconds(duration: datetime.timedelta) -> int:
    """What the wire said before `kio` made a duration of it."""
    return duration // _MILLISECOND


def _behind_tags(frame: bytes, at: int) -> int:
    count, at = _unsigned(frame, at)
    for _ in range(count):
        _, at = _unsigned(frame, at)
        size, at = _unsigned(frame, at)
        at += size
    return at


def _unsigned(frame: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def built(kind: type, values: Answer) -> Any:
    """Makes a message of a dict; what the version does not have is left out, and what is not said has its default."""
    fields = {}
    for name, convert, default in _plan(kind):
        if name in values:
            fields[name] = convert(values[name])
        elif default is not dataclasses.MISSING:
            fields[name] = default
    return kind(**fields)


@cache
def _plan(kind: Any) -> tuple[tuple[str, Callable[[Any], Any], Any], ...]:
    return tuple((field.name, _converter(field), _default(field)) for field in dataclasses.fields(kind))


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "error_code": ErrorCode,
    "timedelta_i32": lambda value: value * _MILLISECOND,
    "timedelta_i64": lambda value: value * _MILLISECOND,
    "datetime_i64": lambda value: None if value is None else _EPOCH + value * _MILLISECOND,
}
_DEFAULTS: Mapping[str, Any] = {"error_code": ErrorCode(0), "timedelta_i32": datetime.timedelta(0)}


def _converter(field: Any) -> Callable[[Any], Any]:
    kind = field.type
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(one for one in get_args(kind) if one is not types.NoneType)
    is_many = get_origin(kind) is tuple
    if is_many:
        kind = get_args(kind)[0]
    one: Callable[[Any], Any]
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        nested = kind
        one = lambda value: built(nested, value)  # noqa: E731
    else:
        one = _CONVERTERS.get(field.metadata.get("kafka_type", ""), _same)
    return (lambda values: None if values is None else tuple(map(one, values))) if is_many else one


def _same(value: Any) -> Any:
    return value


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    known = _DEFAULTS.get(field.metadata.get("kafka_type", ""))
    if known is not None:
        return known
    optional = get_origin(field.type) in (Union, types.UnionType) and types.NoneType in get_args(field.type)
    return None if optional else () if get_origin(field.type) is tuple else dataclasses.MISSING
