"""Text and bytes."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from streamlet.errors import ConfigError, DecodeError, EncodeError
from streamlet.formats.recognising import recognise


def checked_encoding(encoding: str, where: str) -> str:
    """Gives the encoding back; raises `ConfigError` if Python knows no such encoding of text."""
    try:
        codecs.lookup(encoding).decode(b"")[0].encode(encoding)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{where}({encoding!r}): there is no such encoding of text", remedy='name one that Python knows: "latin-1"'
        ) from error
    return encoding


def no_text(data: bytes, encoding: str, error: Exception) -> tuple[str, str | None]:
    """Says why bytes are no text of an encoding, without showing them, and what to do."""
    if not isinstance(data, bytes):
        return f"it is {type(data).__name__}, not bytes", None
    if (found := recognise(data)) is not None:
        return f"it is {found.what}", found.remedy
    if not isinstance(error, UnicodeDecodeError):
        return str(error), None
    what = f"byte 0x{error.object[error.start]:02x} at byte {error.start} ({error.reason})"
    return what, 'say which encoding it is: encoding="cp1252" and "latin-1" are frequent ones'


class Text:
    """Text in one encoding, UTF-8 unless told.

    What starts like a record of a schema registry (0, 0 and the rest of a schema's id), or with the zero bytes of a
    file that was cut while it was written, is refused: it is no text.

    >>> Text().decode_batch([b"abc"])
    ['abc']
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._encoding = checked_encoding(encoding, "Text")
        self._is_wide = "\0".encode(encoding) != b"\0"

    def decode_batch(self, column: Sequence[bytes]) -> list[str]:
        encoding = self._encoding
        try:
            values = [str(data, encoding) for data in column]
        except (UnicodeDecodeError, TypeError):
            for index, data in enumerate(column):
                try:
                    str(data, encoding)
                except (UnicodeDecodeError, TypeError) as error:
                    _refuse_zeros(column[:index], encoding)
                    what, remedy = no_text(data, encoding, error)
                    raise DecodeError(f"not {encoding} text: {what}", index=index, remedy=remedy) from error
            raise
        # The least of the column shows whether any begins with the byte 0, as no text does.
        if not self._is_wide and min(filter(None, column), default=b"x")[0] == 0:
            _refuse_zeros(column, encoding)
        return values

    def encode_batch(self, column: Sequence[str]) -> list[bytes]:
        encoding = self._encoding
        try:
            return [value.encode(encoding) for value in column]
        except (UnicodeEncodeError, AttributeError):
            for index, value in enumerate(column):
                try:
                    value.encode(encoding)
                except (UnicodeEncodeError, AttributeError) as error:
                    raise EncodeError(f"not text for {encoding}: {error}", index=index) from error
            raise


def _refuse_zeros(column: Sequence[bytes], encoding: str) -> None:
    for index, data in enumerate(column):
        if data[:2] == b"\0\0" and (found := recognise(data)) is not None:
            raise DecodeError(f"not {encoding} text: it is {found.what}", index=index, remedy=found.remedy)


class Bytes:
    """Bytes as they are.

    >>> Bytes().decode_batch([b"abc"])
    [b'abc']
    """

    def decode_batch(self, column: Sequence[bytes]) -> list[bytes]:
        for index, data in enumerate(column):
            if not isinstance(data, bytes):
                raise DecodeError(f"not bytes but {type(data).__name__}", index=index)
        return list(column)

    def encode_batch(self, column: Sequence[bytes]) -> list[bytes]:
        for index, value in enumerate(column):
            if not isinstance(value, bytes):
                raise EncodeError(f"not bytes but {type(value).__name__}", index=index)
        return list(column)
