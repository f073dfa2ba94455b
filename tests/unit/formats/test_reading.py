"""A record that cannot be read is told as what it is, with where in it and what to do."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet import Json, Text
from streamlet.connect import recognise
from streamlet.errors import ConfigError, DecodeError

REGISTERED = b"\0\0\0\0\x07"


class Reading(msgspec.Struct):
    value: float | None
    at: datetime | None = None


IS: list[tuple[bytes, str, str]] = [
    (b'{"a":NaN}', "NaN at byte 5 is no JSON", 'nan="literal"'),
    (b'{"a":"NaN\\"","b":-Infinity}', "-Infinity at byte 17 is no JSON", 'nan="null"'),
    (b'{"a":1e400}', "a number is beyond the range of a float", "write it as text"),
    (b'"x \\ud83d"', "the text at byte 3 has half a surrogate pair", 'surrogates="replace"'),
    (b'"\\udc00"', "half a surrogate pair", 'surrogates="replace"'),
    (b'"\\ud83d\\ud83d\\ude00"', "the text at byte 1 has half a surrogate pair", 'surrogates="replace"'),
    (b'{"a":"\xe4"}', "it is not UTF-8: byte 0xe4 at byte 6", 'encoding="cp1252"'),
    (b'"\xed\xa0\x80"', "it is not UTF-8: byte 0xed at byte 1", "encoding="),
    (b"\xff\xfe{\0", "it is UTF-16 (little endian)", "encoding='utf-16'"),
    (b"\xfe\xff\0{", "it is UTF-16 (big endian)", "encoding='utf-16'"),
    (b'{\0"\0a\0"\0:\0', "it is UTF-16 (little endian) without its mark", "encoding='utf-16-le'"),
    (b"\0\0\0\0\0{}", "it is a hole of 5 zero bytes before text", "have the writer append"),
    (b"\0" * 2000 + b'{"a":1}', "it is a hole of 2000 zero bytes before text", "rotate the file by renaming it"),
    (b"\0{}", "it begins with a zero byte", ""),
    (b"[", "it ends before its document does: a document over several lines?", "jq -c"),
    (b'[{"a":1},', "it ends before its document does", "jq -c"),
    (b'  "a": 1,', "something follows its document", "one document per line"),
    (b'{"a":1}{"b":2}', "something follows its document", "one document per line"),
    (b'{"a":"b', "it ends before its document does: it was cut off", "one document per line"),
    (b"{'a': 1}", "it looks like str() of a Python value", "json.dumps"),
    (b'{"a": None}', "it looks like str() of a Python value", "json.dumps"),
    (b"", "it is empty", ""),
    (b" \t", "it holds nothing but blanks", ""),
    (b"[" * 5000, "it is nested too deeply", ""),
    (REGISTERED + b'{"a":1}', "a record of a schema registry: a byte 0 and the id of schema 7", "data[5:]"),
    (REGISTERED + b"\0{}", "in four bytes, then JSON", "data[5:]"),
    (REGISTERED + b"\x02\x05", "then Avro or Protobuf", "Bytes()"),
    (b"\x1f\x8b\x08", "it is compressed (gzip)", "gzip.decompress(data)"),
    (b"\x28\xb5\x2f\xfd", "it is compressed (zstd)", "zstd.decompress(data)"),
    (b"BZh91AY&SY", "it is compressed (bzip2)", "bz2.decompress(data)"),
    (b"PK\x03\x04", "a zip archive", "unpack"),
    (b"PAR1\x15\x04", "it is a Parquet file", "write it as JSON lines"),
    (b"Obj\x01", "it is an Avro file", "write it as JSON lines"),
    (b"\n <!DOCTYPE html>", "it is an HTML page", "Fetch it anew"),
    (b'<?xml version="1.0"?>', "it is XML", "write it as JSON lines"),
]


@pytest.mark.parametrize(("data", "what", "remedy"), IS, ids=[what for _, what, _ in IS])
def test_what_is_no_json_is_told_as_what_it_is(data: bytes, what: str, remedy: str) -> None:
    for format in (Json(), Json(list[int])):
        with pytest.raises(DecodeError, match=re.escape(what)) as caught:
            format.decode_batch([b"[1]", data, b"[2]"])
        assert caught.value.index == 1
        assert remedy in (caught.value.remedy or "")
        assert len(str(caught.value).splitlines()) <= 3


def test_nan_is_read_as_asked() -> None:
    data = b'{"a":NaN,"t":"NaN \\n","b":[-Infinity,1.5,123456789012345678901234567890]}'
    read, one = Json(nan="literal").decode_batch([data, b"1"])
    assert math.isnan(read["a"])
    assert (read["t"], read["b"], one) == ("NaN \n", [-math.inf, 1.5, 123456789012345678901234567890], 1)
    assert Json(nan="null").decode_batch([b"0", data])[1]["b"][:2] == [None, 1.5]
    typed = Json(Reading, nan="literal").decode_batch([b'{"value":Infinity,"at":"2026-01-01T00:00:00Z"}'])
    assert typed == [Reading(math.inf, datetime(2026, 1, 1, tzinfo=UTC))]
    assert Json(Reading, nan="null").decode_batch([b'{"value":NaN}']) == [Reading(None)]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"[NaN,1e400]", "beyond the range of a float"),
        (b'[NaN,"\\ud83d"]', "half a surrogate pair"),
        (b"[NaN", "NaN at byte 1"),
        (b'{"value":"NaN"}', "Expected `float | null`, got `str`"),
    ],
)
def test_an_option_for_nan_takes_nothing_else(data: bytes, what: str) -> None:
    with pytest.raises(DecodeError, match=re.escape(what)):
        Json(Reading if b"value" in data else Any, nan="literal").decode_batch([data])


def test_half_a_pair_of_surrogates_is_read_as_the_replacement_character() -> None:
    column = [b'{"\\uD83D":"x \\ud83d \\\\ud83d \\ud83d\\ude00 \\ude00"}', b'"ok"']
    assert Json(surrogates="replace").decode_batch(column) == [{"\ufffd": "x \ufffd \\ud83d \U0001f600 \ufffd"}, "ok"]
    assert Json(list[str], surrogates="replace").decode_batch([b'["\\udfff"]']) == [["\ufffd"]]
    both = Json(surrogates="replace", nan="null").decode_batch([b'["\\ud83d",NaN]'])
    assert both == [["\ufffd", None]]


@given(st.lists(st.text(), max_size=4))
def test_texts_without_half_pairs_are_the_same_with_the_option(texts: list[str]) -> None:
    data = Json(surrogates="replace").encode_batch([texts])
    expected = ["".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in text) for text in texts]
    assert Json().decode_batch(data) == Json(surrogates="replace").decode_batch(data) == [expected]


def test_json_is_read_and_written_in_the_encoding_that_is_named() -> None:
    for encoding in ("cp1252", "latin-1", "utf-16", "utf-8-sig"):
        format = Json[Any](encoding=encoding)
        assert format.encode_batch([{"a": "ü"}]) == ['{"a":"ü"}'.encode(encoding)]
        assert format.decode_batch(['{"a":"ü"}'.encode(encoding)]) == [{"a": "ü"}]
    with pytest.raises(DecodeError, match="not JSON in ascii: byte 0xc3 at byte 1"):
        Json(encoding="ascii").decode_batch(['"ü"'.encode()])
    assert Json(encoding="cp1252", nan="null").decode_batch([b'["\xfc",NaN]']) == [["ü", None]]


def test_a_mark_of_utf8_is_no_part_of_a_document() -> None:
    assert Json().decode_batch([b"1", b'\xef\xbb\xbf{"a":1}']) == [1, {"a": 1}]
    with pytest.raises(DecodeError, match="it ends before its document does"):
        Json().decode_batch([b"\xef\xbb\xbf{"])


def test_an_array_where_a_record_is_meant_is_told_how_to_be_taken_apart() -> None:
    with pytest.raises(DecodeError, match=r"Expected `object`, got `array`[\s\S]*array of records\?.*jq -c '\.\[\]'"):
        Json(Reading).decode_batch([b'[{"value":1}]'])


def test_no_value_of_a_record_is_in_the_error() -> None:
    for data in (b'{"value":"secret"}', b'{"secret', b"{'secret':NaN}", b'"secret\xff"'):
        with pytest.raises(DecodeError) as caught:
            Json(Reading).decode_batch([data])
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff\xfea\0", "it is UTF-16"),
        (b"caf\xe9", "byte 0xe9 at byte 3"),
        (REGISTERED + b"{}", "a record of a schema registry"),
        (b"\0" * 60 + b"GET /", "a hole of 60 zero bytes before text"),
        (b"\x1f\x8b\x08", "compressed (gzip)"),
    ],
)
def test_what_is_no_text_is_told_as_what_it_is(data: bytes, what: str) -> None:
    with pytest.raises(DecodeError, match=re.escape(what)) as caught:
        Text().decode_batch([b"fine", b"", data])
    assert caught.value.index == 2
    assert caught.value.remedy


def test_the_first_record_that_is_no_text_is_named_whatever_is_wrong_with_the_next() -> None:
    with pytest.raises(DecodeError) as caught:
        Text().decode_batch([b"a", REGISTERED + b"{}", b"\xff"])
    assert caught.value.index == 1


def test_text_may_be_markup_or_begin_with_a_byte_0() -> None:
    texts = ["<!DOCTYPE html>", "<?xml ?>", "\0a", "PK", "", "\0\0\0\0\0\0\0"]
    assert Text().decode_batch(Text().encode_batch(texts)) == texts
    assert Text("utf-16").decode_batch(Text("utf-16").encode_batch(texts)) == texts


@given(st.binary(max_size=40))
def test_any_bytes_are_recognised_or_not_and_never_an_error(data: bytes) -> None:
    found = recognise(data)
    assert found is None or (found.what and found.remedy)


def test_options_that_are_none_are_refused() -> None:
    for make in (
        lambda: Json(nan="yes"),  # type: ignore[call-overload]
        lambda: Json(surrogates="ignore"),  # type: ignore[call-overload]
        lambda: Json(encoding="no-such"),
        lambda: Text("base64"),
    ):
        with pytest.raises(ConfigError, match="->"):
            make()
