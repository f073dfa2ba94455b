"""What Python has and msgpack has not, in state: integers beyond 64 bits, and text with lone surrogates.

Each is an extension of msgpack: an integer in two's complement, big endian; text as UTF-8 with its surrogates.  Only
values that the plain way refuses come here, so what has none of them costs nothing and is stored as ever.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

WIDE, TEXT = 1, 2
"""The codes of the extensions. Fixed for ever."""

_encode = msgspec.msgpack.Encoder().encode
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1


def pack_wide(value: Any) -> bytes:
    """The bytes of a value that may hold integers of any size; raises like msgspec for what cannot be written."""
    return _encode(_widened(value))


def unpack_wide(data: bytes | msgspec.Raw, declared: Any) -> Any:
    """The value of such bytes by its declared type; raises `msgspec.ValidationError` when it is of another one."""
    return msgspec.convert(_decode(data), declared)


def _widened(value: Any) -> Any:
    kind = type(value)
    if kind is int:
        return value if _LEAST <= value <= _MOST else msgspec.msgpack.Ext(WIDE, _bytes_of(value))
    if kind is str:
        return value if _is_utf8(value) else msgspec.msgpack.Ext(TEXT, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list | tuple | set | frozenset):
        return [_widened(one) for one in value]
    if isinstance(value, dict):
        return {key: _widened(one) for key, one in value.items()}
    if isinstance(value, msgspec.Struct):
        return _widened_struct(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _widened(getattr(value, field.name)) for field in fields(value)}
    return value


def _widened_struct(value: msgspec.Struct) -> Any:
    config = value.__struct_config__
    parts = {
        name: _widened(getattr(value, field))
        for field, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
    }
    tag = [] if config.tag is None else [config.tag]
    if config.array_like:
        return [*tag, *parts.values()]
    return {config.tag_field: config.tag, **parts} if tag else parts


def _bytes_of(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def of_extension(code: int, data: memoryview) -> Any:
    """The value of an extension, for decoders."""
    if code == TEXT:
        return bytes(data).decode("utf-8", "surrogatepass")
    if code != WIDE:
        raise ValueError(f"an extension of code {code}, which streamlet never writes")
    return int.from_bytes(data, "big", signed=True)


unpack_plain = _decode = msgspec.msgpack.Decoder(ext_hook=of_extension).decode
"""The plain data of such bytes, whatever they were declared as."""
