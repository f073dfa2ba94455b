"""Records of Kafka that are not what the source says: each is told as what it is, with its offset and what to do."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import pytest

from streamlet import Bytes, Json, Text
from streamlet.connect import Format
from streamlet_connectors.kafka.reading.decoding import Decoder
from tests.unit.connectors.kafka.reading.test_source_records import _rows

FINE = b'{"a":1}'


@pytest.mark.parametrize(
    ("format", "value", "what", "remedy"),
    [
        (Json(), b"\0\0\0\0\x07" + FINE, "the id of schema 7", "data[5:]"),
        (Text(), b"\0\0\0\0\x07" + FINE, "the id of schema 7", "data[5:]"),
        (Json(), b"\0\0\0\0\x07\x02\x05", "then Avro or Protobuf", "Bytes()"),
        (Json(), b"\x1f\x8b\x08", "compressed (gzip)", "gzip.decompress(data)"),
        (Json(), b'{"a":"\xe4"}', "it is not UTF-8", "encoding="),
        (Text(), b"\xe4", "not utf-8 text: byte 0xe4 at byte 0", "encoding="),
        (Json(), b'{"a":NaN}', "NaN at byte 5", 'nan="literal"'),
        (Json(), b'"\\ud83d"', "half a surrogate pair", 'surrogates="replace"'),
        (Json(), b"<html>", "an HTML page", "Fetch"),
    ],
)
def test_a_value_is_told_as_what_it_is_with_its_offset(
    format: Format[Any], value: bytes, what: str, remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    decoded = Decoder(format).decode("orders", 3, _rows(FINE, value, FINE))
    assert len(decoded.values) == 1
    assert decoded.error is not None
    assert decoded.error.message.startswith("the record at topic orders, partition 3, offset 1 cannot be read: not ")
    assert what in decoded.error.message
    assert remedy in (decoded.error.remedy or "")
    assert 'on_bad_record="skip"' in (decoded.error.remedy or "")
    caplog.set_level(logging.WARNING)
    assert len(Decoder(format, on_bad_record="skip").decode("orders", 3, _rows(FINE, value, FINE)).values) == 2
    assert what in caplog.text
    assert remedy in caplog.text


class Keyed(NamedTuple):
    """A row with a key."""

    offset: int = 0
    timestamp: int = 0
    key: bytes | None = b"["
    value: bytes | None = FINE
    headers: list[tuple[str, bytes | None]] = []  # noqa: RUF012 - a field of a tuple, not of the class


def test_a_key_that_cannot_be_read_is_told_as_the_key() -> None:
    decoded = Decoder(Bytes(), Json(), full=True).decode("orders", 3, [Keyed(key=b"1"), Keyed(1)])
    assert decoded.values[0].key == 1
    assert decoded.error is not None
    assert "offset 1 cannot be read: its key is not JSON: it ends before its document does" in decoded.error.message
