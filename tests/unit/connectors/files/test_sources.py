"""The file sources: what they give, where they resume, and what they refuse."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlet.connect import Batch, Position, ReaderContext, Source, SystemClock
from streamlet.errors import DecodeError, JobDefinitionError
from streamlet_connectors.files import Csv, FileChangedError, FileMissingError, JsonLines, TextLines
from streamlet_connectors.files import chunks as chunks_module

R = TypeVar("R")


def in_place(function: Callable[..., R], /, *args: Any) -> Awaitable[R]:
    async def run() -> R:
        return function(*args)

    return run()


def context(batch_records: int = 3) -> ReaderContext:
    return ReaderContext(
        job="job",
        uid="in",
        subtask=0,
        parallelism=1,
        batch_limit=lambda: batch_records,
        clock=SystemClock(),
        run_blocking=in_place,
    )


class Reading:
    """A reader that a test drives by hand."""

    def __init__(self, source: Source[Any], splits: dict[str, Position] | None = None, batch_records: int = 3) -> None:
        self.source = source
        self.splits = dict(asyncio.run(source.discover({}))) if splits is None else splits
        self.reader = source.reader(context(batch_records), self.splits)

    def fetch(self) -> list[Batch[Any]] | None:
        batches = asyncio.run(self.reader.fetch())
        return None if batches is None else list(batches)

    def available(self) -> list[Batch[Any]]:
        """Everything up to the end, or up to a fetch that finds nothing."""
        found: list[Batch[Any]] = []
        while batches := self.fetch():
            found += batches
        return found

    def values(self) -> list[Any]:
        return [value for batch in self.available() for value in batch.values]

    def discover_more(self) -> None:
        more = asyncio.run(self.source.discover(self.splits))
        self.splits |= more
        self.reader.add_splits(more)


def assert_resumes_from_every_position(source: Callable[[], Source[Any]], expected: list[Any]) -> None:
    """Law 1 of a source, for one file."""
    batches = Reading(source()).available()
    assert [value for batch in batches for value in batch.values] == expected
    given = 0
    for batch in batches:
        given += len(batch.values)
        restored = json.loads(json.dumps({batch.split: batch.next_position}))
        assert Reading(source(), restored, batch_records=2).values() == expected[given:]


many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
line_ends = st.sampled_from(["\n", "\r\n"])
texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)


@many
@given(lines=st.lists(texts, max_size=12), end=line_ends, ends_open=st.booleans(), mark=st.booleans())
def test_lines_are_read_again_exactly_from_every_position(
    tmp_path: Path, lines: list[str], end: str, ends_open: bool, mark: bool
) -> None:
    content = end.join(lines) + ("" if ends_open or not lines else end)
    file = tmp_path / "in.txt"
    file.write_bytes((b"\xef\xbb\xbf" if mark else b"") + content.encode())
    expected = content.replace("\r\n", "\n").split("\n")
    if expected[-1] == "":
        expected.pop()
    if not mark:
        expected = _without_mark(expected)
    assert_resumes_from_every_position(lambda: TextLines(file), expected)


def _without_mark(lines: list[str]) -> list[str]:
    """A text that starts with U+FEFF is a file that starts with a byte order mark."""
    if lines and lines[0].startswith("\ufeff"):
        return [lines[0][1:], *lines[1:]] if lines[0] != "\ufeff" or len(lines) > 1 else []
    return lines


fields = st.text(st.sampled_from(list("ab,\" \nü'")), max_size=6)


@many
@given(
    rows=st.lists(st.tuples(fields, fields), max_size=10),
    end=line_ends,
    ends_open=st.booleans(),
    header=st.booleans(),
    blanks=st.booleans(),
)
def test_csv_with_quoted_line_feeds_is_read_again_exactly_from_every_position(
    tmp_path: Path, rows: list[tuple[str, str]], end: str, ends_open: bool, header: bool, blanks: bool
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end)
    if header:
        writer.writerow(["left\nname", "right"])
    for row in rows:
        writer.writerow(row)
        if blanks:
            text.write(end)
    content = text.getvalue()
    file = tmp_path / "in.csv"
    file.write_bytes((content.removesuffix(end) if ends_open else content).encode())
    expected: list[Any] = [{"left\nname": a, "right": b} if header else [a, b] for a, b in rows]
    assert_resumes_from_every_position(lambda: Csv(file, header=header), expected)


@many
@given(values=st.lists(st.dictionaries(st.text(max_size=3), st.integers()), max_size=12), end=line_ends)
def test_json_lines_are_read_again_exactly_over_chunks_of_any_size(
    tmp_path: Path, values: list[dict[str, int]], end: str
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(value) + end for value in values), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "CHUNK_BYTES", 7)
        assert_resumes_from_every_position(lambda: JsonLines(file), values)


@dataclass
class Payment:
    user: str
    amount: int = 0


def test_records_take_the_declared_type(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"user": "ann", "amount": 3}\n\n  \n'.replace("  \n", "\r\n"))
    (tmp_path / "a.csv").write_text("amount;user\n3;ann\n")
    assert Reading(JsonLines(tmp_path / "a.jsonl", Payment)).values() == [Payment("ann", 3)]
    assert Reading(Csv(tmp_path / "a.csv", delimiter=";", type=Payment)).values() == [Payment("ann", 3)]
    assert Reading(Csv(tmp_path / "a.csv", header=["x", "y"], delimiter=";")).values()[1] == {"x": "3", "y": "ann"}


def test_an_empty_file_has_no_records_and_ends(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "mark").write_bytes(b"\xef\xbb\xbf")
    (tmp_path / "header").write_bytes(b"a,b")
    for source in (TextLines(tmp_path / "empty"), TextLines(tmp_path / "mark"), Csv(tmp_path / "header")):
        reading = Reading(source)
        assert reading.fetch() is None
        assert reading.fetch() is None


def test_several_files_are_several_splits_that_take_turns(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"{name}1\n{name}2\n")
    (tmp_path / ".part-hidden.txt").write_text("never\n")
    reading = Reading(TextLines(str(tmp_path / "*.txt")), batch_records=9)
    assert [Path(path).name for path in reading.splits] == ["a.txt", "b.txt"]
    assert [batch.values for batch in reading.available()] == [["a1", "a2"], ["b1", "b2"]]


def test_a_batch_names_file_line_and_offset_of_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(b'name\n"a\nb"\n\nc\n')
    (batch,) = Reading(Csv(file)).available()
    assert [value["name"] for value in batch.values] == ["a\nb", "c"]
    assert batch.describe_row(0) == f"file {file}, line 2 (byte offset 5)"
    assert batch.describe_row(1) == f"file {file}, line 5 (byte offset 12)"
    assert batch.next_position[:2] == [14, 5]


def test_what_comes_before_a_bad_record_is_given_before_the_error(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("1\n2\n\n{oops\n4\n")
    reading = Reading(JsonLines(file), batch_records=10)
    batches = reading.fetch()
    assert batches is not None
    assert [batch.values for batch in batches] == [[1, 2]]
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"line 4 \(byte offset 5\).*\n.*on_bad_record='skip'"):
            reading.fetch()
    restored = Reading(JsonLines(file, on_bad_record="skip"), {batches[0].split: batches[0].next_position})
    assert restored.values() == [4]


def test_skipped_bad_records_leave_the_good_ones_in_place_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text("x\n1\n\ny\nz\n2\nw\n")
    (batch,) = Reading(JsonLines(file, on_bad_record="skip"), batch_records=10).available()
    assert batch.values == [1, 2]
    assert batch.describe_row(1) == f"file {file}, line 6 (byte offset 9)"
    assert f"left out a bad record: file {file}, line 1 (byte offset 0)" in caplog.text
    assert "left out 4 bad records" in caplog.text


@pytest.mark.parametrize("bad", ['"a"x,2', "a", 'a,"b" ,c', "a,b,c", "a,b\rc"])
def test_a_bad_csv_record_is_one_record_long(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(f'k,v\n1,"2"\n{bad}\n3,4\n'.encode())
    assert Reading(Csv(file, on_bad_record="skip")).values() == [{"k": "1", "v": "2"}, {"k": "3", "v": "4"}]
    with pytest.raises(DecodeError, match=r"line 3 \(byte offset 10\)"):
        Reading(Csv(file)).available()


def test_a_quote_that_never_closes_is_a_bad_record_and_does_not_eat_a_large_file(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text('k\n"open\n' + "x\n" * 200_000)
    values = Reading(Csv(file, on_bad_record="skip"), batch_records=1000).values()
    assert values == [{"k": "x"}] * 200_000


def test_a_header_that_names_a_field_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,a\n1,2\n")
    with pytest.raises(DecodeError, match="twice"):
        Reading(Csv(tmp_path / "in.csv")).available()


def test_a_followed_file_gives_lines_once_they_are_finished(tmp_path: Path) -> None:
    file = tmp_path / "app.log"
    file.write_text("one\ntw")
    reading = Reading(TextLines(file, follow=True, poll_seconds=0))
    assert reading.values() == ["one"]
    assert reading.values() == []
    with file.open("a") as log:
        log.write("o\nthree\nfo")
    assert reading.values() == ["two", "three"]
    assert reading.fetch() == []


def test_a_followed_csv_waits_for_its_header_and_for_open_quotes(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    steps = ["a,", "b\n", '1,"x', '\ny"', "\n2,z\n"]
    expected: list[list[dict[str, str]]] = [[], [], [], [], [{"a": "1", "b": "x\ny"}, {"a": "2", "b": "z"}]]
    file.write_text("")
    reading = Reading(Csv(file, follow=True, poll_seconds=0))
    for step, values in zip(steps, expected, strict=True):
        with file.open("a") as out:
            out.write(step)
        assert reading.values() == values


def test_files_that_appear_later_are_followed_from_their_start(tmp_path: Path) -> None:
    source = TextLines([tmp_path / "*.log", tmp_path / "one.txt"], follow=True, poll_seconds=0)
    assert source.discovery_interval_seconds == 1.0
    assert not source.bounded
    reading = Reading(source)
    assert reading.splits == {}
    assert reading.fetch() == []
    (tmp_path / "a.log").write_text("a\n")
    (tmp_path / "one.txt").write_text("b\n")
    reading.discover_more()
    assert sorted(reading.values()) == ["a", "b"]
    reading.discover_more()
    assert reading.fetch() == []


def test_an_appended_file_goes_on_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("x" * 700 + "\n")
    (first,) = Reading(TextLines(file)).available()
    copy = file.read_bytes() + b"y" * 700 + b"\nz\n"
    file.unlink()
    file.write_bytes(copy)  # another inode, the same beginning
    (second,) = Reading(TextLines(file), {first.split: first.next_position}).available()
    assert second.values == ["y" * 700, "z"]
    assert Reading(TextLines(file), {first.split: second.next_position}).values() == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"one\n", "has 4 bytes, but 8 were read before"),
        (b"ONE\ntwo\nthree\n", "does not begin with the bytes that were read before"),
        (b"one\ntwo three\n", "does not begin with the bytes"),
    ],
)
def test_a_replaced_or_cut_file_stops_the_job_naming_it(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"one\ntwo\n")
    (batch,) = Reading(TextLines(file)).available()
    file.write_bytes(content)
    restored = Reading(TextLines(file), {batch.split: batch.next_position})
    with pytest.raises(FileChangedError, match=f"file {file} was replaced or changed: it {what}") as caught:
        restored.fetch()
    assert caught.value.final


def test_a_last_line_without_line_feed_that_grows_after_it_was_given_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_bytes(b"one\ntw")
    batches = Reading(TextLines(file)).available()
    assert [batch.values for batch in batches] == [["one", "tw"]]
    with file.open("ab") as out:
        out.write(b"o\n")
    with pytest.raises(FileChangedError, match="inside the record that ended at byte offset 6"):
        Reading(TextLines(file), {batches[0].split: batches[0].next_position}).fetch()


def test_missing_files_and_directories_are_refused_with_a_remedy(tmp_path: Path) -> None:
    for source, match in (
        (TextLines(tmp_path / "no.txt"), "there is no file .*\n.*follow=True"),
        (TextLines(tmp_path / "*.no"), "no file matches .*\n.*follow=True"),
        (TextLines(tmp_path / "nowhere" / "no.txt", follow=True), "there is no file"),
        (TextLines(tmp_path, follow=True), "is a directory\n.*glob"),
    ):
        with pytest.raises(FileMissingError, match=match):
            asyncio.run(source.discover({}))


def test_a_known_file_that_is_gone_stops_the_job_unless_told_to_skip(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\n")
    (batch,) = Reading(TextLines(file)).available()
    known = {batch.split: batch.next_position}
    file.unlink()
    (tmp_path / "b.txt").write_text("b\n")
    pattern = str(tmp_path / "*.txt")
    with pytest.raises(FileMissingError, match=r"a.txt was read before and is gone"):
        asyncio.run(TextLines(pattern).discover(known))
    with pytest.raises(FileMissingError, match="is gone"):
        Reading(TextLines(pattern), known).fetch()
    patient = TextLines(pattern, on_missing_file="skip")
    more = asyncio.run(patient.discover(known))
    assert sorted(more) == [str(file), str(tmp_path / "b.txt")]
    assert Reading(patient, {**known, **more}).values() == ["b"]


def test_undecodable_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("gr\u00fcn\n".encode("latin-1"))
    with pytest.raises(DecodeError, match=r"latin\.txt, line 1"):
        Reading(TextLines(tmp_path / "latin.txt")).fetch()
    assert Reading(TextLines(tmp_path / "latin.txt", encoding="latin-1")).values() == ["gr\u00fcn"]


def test_a_record_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_BYTES", 16)
    (tmp_path / "in.bin").write_bytes(b"ok\n" + b"x" * 3000)
    reading = Reading(TextLines(tmp_path / "in.bin", max_record_bytes=1500))
    assert reading.fetch() != []
    with pytest.raises(
        DecodeError, match=r"line 2 \(byte offset 3\): no record ends within 1500 bytes[\s\S]*raise max_record_bytes"
    ):
        reading.fetch()


def test_a_record_as_long_as_the_source_says_is_read(tmp_path: Path) -> None:
    (tmp_path / "in.bin").write_bytes(b"x" * 1999 + b"\n" + b"y" * 2000 + b"\n")
    reading = Reading(TextLines(tmp_path / "in.bin", max_record_bytes=2000))
    assert [batch.values for batch in reading.fetch() or ()] == [["x" * 1999]]
    with pytest.raises(DecodeError, match="no record ends within 2000 bytes"):
        reading.fetch()
    header = tmp_path / "in.csv"
    header.write_bytes(b"a" * 5000 + b"\n1\n")
    with pytest.raises(DecodeError, match=r"line 1 \(byte offset 0\): no record ends within 2000 bytes"):
        Reading(Csv(header, max_record_bytes=2000)).fetch()


def test_wrong_options_are_refused_when_the_job_is_defined() -> None:
    wrong: list[Callable[[], object]] = [
        lambda: TextLines([]),
        lambda: TextLines(""),
        lambda: TextLines("a", encoding="cp037"),
        lambda: JsonLines("a", encoding="punycode"),
        lambda: TextLines("a", line_end="\r\n"),
        lambda: TextLines("a", encoding="no-such"),
        lambda: TextLines("a", poll_seconds=3),
        lambda: TextLines("a", max_record_bytes=0),
        lambda: TextLines("a", on_bad_record="ignore"),  # type: ignore[arg-type]
        lambda: Csv("a", delimiter="||"),
        lambda: Csv("a", quote=","),
        lambda: Csv("a", quote=""),
        lambda: Csv("a", escape='"'),
        lambda: Csv("a", delimiter=" ", skip_spaces=True),
        lambda: Csv("a", skip_lines=-1),
    ]
    for make in wrong:
        with pytest.raises(JobDefinitionError, match="->"):
            make()
