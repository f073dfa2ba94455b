"""Files that gzip or zstd packed: read like others, named where they are damaged, never held whole in memory."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet.connect import Source
from streamlet.errors import DecodeError
from streamlet_connectors.files import Csv, FileMissingError, JsonLines, TextLines
from streamlet_connectors.files import chunks as chunks_module
from streamlet_connectors.files import content as content_module
from tests.unit.connectors.files.test_sources import Reading, assert_resumes_from_every_position, many


def zstd(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


@many
@given(
    parts=st.lists(st.lists(st.text("abé\r", max_size=9), max_size=9), min_size=1, max_size=3),
    packs=st.sampled_from([gzip.compress, zstd]),
    step=st.integers(1, 40),
)
def test_lines_of_packed_files_are_read_again_exactly_from_every_position(
    tmp_path: Path, parts: list[list[str]], packs: Any, step: int
) -> None:
    file = tmp_path / "in.packed"
    texts = [[text.replace("\r", "") for text in part] for part in parts]
    file.write_bytes(b"".join(packs("".join(text + "\n" for text in part).encode()) for part in texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "CHUNK_BYTES", step)
        patch.setattr(content_module, "_PACKED_BYTES", step)
        patch.setattr(content_module, "_UNPACKED_BYTES", step)
        assert_resumes_from_every_position(lambda: TextLines(file), [text for part in texts for text in part])


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_every_source_reads_packed_files(tmp_path: Path, pack: Any) -> None:
    (tmp_path / "a.csv").write_bytes(pack(b"k,v\n1,2\n"))
    (tmp_path / "a.jsonl").write_bytes(pack('{"a":1}'.encode("utf-16")))
    csv: Source[Any] = Csv(tmp_path / "a.csv")
    assert_resumes_from_every_position(lambda: csv, [{"k": "1", "v": "2"}])
    assert Reading(JsonLines(tmp_path / "a.jsonl", encoding="utf-16")).values() == [{"a": 1}]
    assert_resumes_from_every_position(lambda: JsonLines(tmp_path / "a.jsonl", encoding="utf-16"), [{"a": 1}])


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_damaged_file_is_named_or_left_out(
    tmp_path: Path, pack: Any, is_cut: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data = bytearray(pack(b"".join(os.urandom(16).hex().encode() + b"\n" for _ in range(3000))))
    if is_cut:
        del data[-200:]
    else:
        data[len(data) // 2 :] = os.urandom(len(data) - len(data) // 2)
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_text("good\n")
    with pytest.raises(DecodeError, match=r"file .*/a is damaged[\s\S]*on_bad_record='skip'"):
        Reading(TextLines(tmp_path / "a")).available()
    values = Reading(TextLines(str(tmp_path / "*"), on_bad_record="skip"), batch_records=500).values()
    assert "good" in values
    assert all(value == "good" or len(value) == 32 for value in values), "half a line was given as one"
    assert "left out the rest of a file" in caplog.text


def test_a_followed_packed_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    file, data = tmp_path / "a.gz", gzip.compress(b"".join(b"%d\n" % one for one in range(20_000)))
    file.write_bytes(data[: len(data) // 2])
    reading = Reading(TextLines(file, follow=True, poll_seconds=0), batch_records=1000)
    first = reading.values()
    assert 0 < len(first) < 20_000
    with file.open("ab") as out:
        out.write(data[len(data) // 2 :] + gzip.compress(b"more\n"))
    assert first + reading.values() == [*map(str, range(20_000)), "more"]


def test_what_unpacks_to_far_more_than_a_record_may_have_is_refused_in_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(64 << 20).replace(b"\0", b"x")))
    tracemalloc.start()
    with pytest.raises(DecodeError, match="no record ends within 65536 bytes"):
        Reading(TextLines(tmp_path / "bomb.gz", max_record_bytes=65536)).fetch()
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_zstd_file_that_begins_with_a_frame_of_notes_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.zst").write_bytes(b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc" + zstd(b"1\n") + zstd(b"2\n"))
    assert Reading(TextLines(tmp_path / "a.zst")).values() == ["1", "2"]


def test_a_pipe_and_a_name_that_is_not_text_are_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileMissingError, match="pipe is a pipe, a socket or a device"):
        Reading(TextLines(tmp_path / "pipe"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.txt")).write_text("1\n")
    with pytest.raises(FileMissingError, match="is not UTF-8"):
        Reading(TextLines(str(tmp_path / "*.txt")))
