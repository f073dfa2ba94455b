"""Files in other characters than UTF-8 with line feeds: read where it is said, named where it is not."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet.connect import Source
from streamlet.errors import DecodeError
from streamlet_connectors.files import Csv, JsonLines, TextLines
from streamlet_connectors.files import chunks as chunks_module
from tests.unit.connectors.files.test_sources import Reading, assert_resumes_from_every_position, many

wide = st.text(st.sampled_from(list('aé日\u0a00\u0a0d\u000b\u0100\u0d0a😀\t"')), max_size=8)


@many
@given(
    lines=st.lists(wide, max_size=9),
    encoding=st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8", "gb18030"]),
    is_marked=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    chunk_bytes=st.integers(1, 50),
)
def test_lines_in_any_encoding_are_read_again_exactly_from_every_position(
    tmp_path: Path, lines: list[str], encoding: str, is_marked: bool, end: str, chunk_bytes: int
) -> None:
    file = tmp_path / "in.txt"
    is_marked = is_marked and encoding != "gb18030"
    mark = "\ufeff" if is_marked else ""
    file.write_bytes((mark + "".join(line + end for line in lines)).encode(encoding))
    said = encoding[:6] if is_marked and encoding != "utf-8" else encoding
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "CHUNK_BYTES", chunk_bytes)
        assert_resumes_from_every_position(
            lambda: TextLines(file, encoding=said, line_end="\r" if end == "\r" else "\n"), lines
        )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis", "gbk", "iso2022_jp"])
def test_every_source_reads_the_encoding_that_is_named(tmp_path: Path, encoding: str) -> None:
    word = "Köln" if encoding == "cp1252" else "東京ソ表\\|"
    (tmp_path / "in.csv").write_bytes(f'id|name\r\n1|"{word}\r\nx"\r\n\r\n2|y\r\n'.encode(encoding))
    (tmp_path / "in.jsonl").write_bytes(f'{{"a":"{word[:2]}"}}\r\n  \r\n{{"a":1}}\r\n'.encode(encoding))
    (tmp_path / "in.txt").write_bytes(f"{word}\r\n\r\nb".encode(encoding))
    csv: Csv[Any] = Csv(tmp_path / "in.csv", delimiter="|", encoding=encoding)
    assert Reading(csv).values() == [{"id": "1", "name": f"{word}\r\nx"}, {"id": "2", "name": "y"}]
    assert Reading(JsonLines(tmp_path / "in.jsonl", encoding=encoding)).values() == [{"a": word[:2]}, {"a": 1}]
    assert Reading(TextLines(tmp_path / "in.txt", encoding=encoding)).values() == [word, "", "b"]


def test_a_bad_record_of_wide_characters_is_named_by_line_and_byte(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes("1\n{oops\n3\n".encode("utf-16"))
    with pytest.raises(DecodeError, match=r"line 2 \(byte offset 6\)"):
        Reading(JsonLines(file, encoding="utf-16")).available()
    assert Reading(JsonLines(file, encoding="utf-16", on_bad_record="skip")).values() == [1, 3]


FOREIGN: list[tuple[bytes, str, str]] = [
    (codecs.BOM_UTF16_LE + "1\n".encode("utf-16-le"), "is UTF-16 (little endian)", "encoding='utf-16'"),
    (codecs.BOM_UTF16_BE + "1\n".encode("utf-16-be"), "is UTF-16 (big endian)", "iconv -f UTF-16 -t UTF-8"),
    ("12345\n".encode("utf-16-le"), "without its mark", "encoding='utf-16-le'"),
    (codecs.BOM_UTF32_LE + "1\n".encode("utf-32-le"), "is UTF-32", "encoding='utf-32'"),
    (b"PK\x03\x04\x14\0", "is a zip archive", "save the sheet as CSV"),
    (b"PAR1\x15\x04\x15", "is a Parquet file", "JSON lines"),
    (b"SQLite format 3\0", "is an SQLite database", "JSON lines"),
]


@pytest.mark.parametrize(("data", "what", "remedy"), FOREIGN, ids=[what for _, what, _ in FOREIGN])
def test_a_file_of_another_kind_is_named(tmp_path: Path, data: bytes, what: str, remedy: str) -> None:
    file = tmp_path / "in"
    file.write_bytes(data)
    sources: list[Source[Any]] = [
        JsonLines(file, on_bad_record="skip"),
        Csv(file, on_bad_record="skip"),
        TextLines(file, on_bad_record="skip"),
    ]
    for source in sources:
        with pytest.raises(DecodeError) as caught:
            Reading(source).available()
        assert what in caught.value.message
        assert str(file) in caught.value.message
        assert remedy in (caught.value.remedy or "")


def test_lines_that_end_in_cr_only_are_named_and_read_where_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.csv").write_bytes(b'a,b\r1,"x\ry"\r3,4')
    (tmp_path / "in.jsonl").write_bytes(b'{"a":1}\r\r{"a":2}\r')
    (tmp_path / "in.txt").write_bytes(b"one\rtwo\r")
    for source in (Csv(tmp_path / "in.csv"), JsonLines(tmp_path / "in.jsonl")):
        with pytest.raises(DecodeError, match=r"end in CR only, as Excel for Mac[\s\S]*line_end="):
            Reading(source).available()
    assert Reading(TextLines(tmp_path / "in.txt")).values() == ["one\rtwo"]
    assert "in.txt: its lines seem to end in CR only" in caplog.text
    assert Reading(TextLines(tmp_path / "in.txt", line_end="\r")).values() == ["one", "two"]
    assert Reading(JsonLines(tmp_path / "in.jsonl", line_end="\r")).values() == [{"a": 1}, {"a": 2}]
    assert_resumes_from_every_position(
        lambda: Csv(tmp_path / "in.csv", line_end="\r"), [{"a": "1", "b": "x\ry"}, {"a": "3", "b": "4"}]
    )


def test_a_page_is_text_and_no_records(tmp_path: Path) -> None:
    file = tmp_path / "in"
    file.write_bytes(b"<!DOCTYPE html>\n<html>\n")
    assert Reading(TextLines(file)).values() == ["<!DOCTYPE html>", "<html>"]
    for source in (JsonLines(file), Csv(file)):
        with pytest.raises(DecodeError, match="is an HTML page"):
            Reading(source).available()


def test_a_mark_that_contradicts_the_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes("\ufeffa,b\n1,2\n".encode())
    assert Reading(Csv(file)).values() == [{"a": "1", "b": "2"}]
    assert Reading(Csv(file, encoding="utf-8-sig")).values() == [{"a": "1", "b": "2"}]
    with pytest.raises(DecodeError, match=r"begins with the mark of UTF-8[\s\S]*leave encoding= out"):
        Reading(Csv(file, encoding="cp1252")).available()


def test_an_encoding_that_is_not_the_files_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "in.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DecodeError, match=r"is not utf-16: it has no mark[\s\S]*leave encoding= out"):
        Reading(Csv(file, encoding="utf-16")).available()
    file.write_text("a,ü\n1,2\n")
    assert len(Reading(Csv(file, encoding="cp1252")).values()) == 1
    assert f"file {file}: it is read as cp1252, and its beginning is right in UTF-8, too" in caplog.text


def test_the_marks_of_files_put_together_belong_to_no_record(tmp_path: Path) -> None:
    file = tmp_path / "in"
    file.write_bytes(b"\xef\xbb\xbf1\r\n2\n\xef\xbb\xbf3\n\xef\xbb\xbf4")
    assert_resumes_from_every_position(lambda: JsonLines(file), [1, 2, 3, 4])
    assert_resumes_from_every_position(lambda: TextLines(file), ["1", "2", "3", "4"])
    assert_resumes_from_every_position(lambda: Csv(file, header=["n"]), [{"n": n} for n in "1234"])


def test_a_hole_of_zero_bytes_is_named_and_what_comes_behind_it_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in"
    file.write_bytes(b"\0" * 5000 + b'{"a":1}\n{"a":2}\n')
    assert Reading(JsonLines(file, on_bad_record="skip")).values() == [{"a": 2}]
    assert f"file {file}, line 1 (byte offset 0): not JSON: it is a hole of 5000 zero bytes before text" in caplog.text
    assert "have the writer append" in caplog.text
    with pytest.raises(DecodeError, match=r"line 1 \(byte offset 0\): not utf-8 text: it is a hole of 5000 zero bytes"):
        Reading(TextLines(file)).values()


def test_lines_of_blanks_are_no_json(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\r\n  \r\n\t\n{"a":2}\r\n   ')
    assert_resumes_from_every_position(lambda: JsonLines(file), [{"a": 1}, {"a": 2}])


def test_options_of_json_reach_the_lines(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'["\\ud83d"]\n[NaN]\n[1]\n')
    assert Reading(JsonLines(file, surrogates="replace", nan="null")).values() == [["\ufffd"], [None], [1]]


def test_bad_records_that_are_left_out_are_told_with_their_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('1\n{"v":NaN}\n\n{"v":Infinity}\n1e400\n2\n')
    assert Reading(JsonLines(file, on_bad_record="skip"), batch_records=10).values() == [1, 2]
    assert "line 2 (byte offset 2): not JSON: NaN at byte 5" in caplog.text
    assert f"left out 3 bad records in file {file}: lines 2, 4, 5" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("follow", [False, True])
def test_a_line_that_is_too_long_to_be_held_is_left_out_like_other_bad_records(
    tmp_path: Path, encoding: str, follow: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_BYTES", 100)
    file = tmp_path / "in.txt"
    file.write_bytes(f"one\n{'x' * 5000}\n{'y' * 5000}\ntwo\n{'z' * 5000}".encode(encoding))
    source = TextLines(
        file, encoding=encoding, follow=follow, poll_seconds=0, on_bad_record="skip", max_record_bytes=1024
    )
    reading = Reading(source)
    batches = reading.available()
    assert [value for batch in batches for value in batch.values] == ["one", "two"]
    assert str(batches[-1].describe_row(0)).startswith(f"file {file}, line 4 ")
    assert f"left out a bad record: file {file}, line 2 (byte offset" in caplog.text
    assert caplog.text.count("no record ends within 1024 bytes") == (2 if follow else 3)
    if follow:
        with file.open("ab") as out:
            out.write("z\nthree\n".encode(encoding))
        assert reading.values() == ["three"]
    restored = Reading(source, {batches[0].split: batches[0].next_position})
    assert restored.values() == (["two", "three"] if follow else ["two"])
