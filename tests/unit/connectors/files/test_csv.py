"""CSV as it is found: dialects, quotes that are wrong, long fields, headers that are none, cells by type."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamlet.errors import DecodeError, JobDefinitionError
from streamlet_connectors.files import Csv
from streamlet_connectors.files import chunks as chunks_module
from tests.unit.connectors.files.test_sources import Reading, assert_resumes_from_every_position, many


class Dialect(NamedTuple):
    delimiter: str
    quote: str | None
    escape: str | None
    doublequote: bool
    skip_spaces: bool

    def of_python(self) -> dict[str, Any]:
        return {
            "delimiter": self.delimiter,
            "quotechar": self.quote,
            "escapechar": self.escape,
            "doublequote": self.doublequote,
            "skipinitialspace": self.skip_spaces,
            "quoting": csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            "strict": True,
        }


dialects = st.builds(
    Dialect,
    delimiter=st.sampled_from(",;\t|\x01"),
    quote=st.sampled_from(['"', "'", None]),
    escape=st.sampled_from(["\\", None]),
    doublequote=st.booleans(),
    skip_spaces=st.booleans(),
)
some_text = st.text(st.sampled_from(list("ab,;\t|\"'\\ \n\r\x01ü")), max_size=60)


@settings(many, max_examples=300)
@given(
    dialect=dialects, text=some_text, chunk_bytes=st.integers(1, 40), encoding=st.sampled_from(["utf-8", "utf-16-le"])
)
def test_every_dialect_is_read_as_python_reads_it_from_every_position(
    tmp_path: Path, dialect: Dialect, text: str, chunk_bytes: int, encoding: str
) -> None:
    text = text.replace("\r", "") if "\r" in text.replace("\r\n", "") else text
    assume(not text.startswith("\ufeff"))
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), **dialect.of_python()))
    except csv.Error:
        return  # what is wrong is another test's
    file = tmp_path / "in.csv"
    file.write_bytes(text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "CHUNK_BYTES", chunk_bytes)
        assert_resumes_from_every_position(
            lambda: Csv(file, header=False, encoding=encoding, **dialect._asdict()),
            [row for row in rows if row],
        )


@settings(many, max_examples=200)
@given(dialect=dialects, rows=st.lists(some_text.map(lambda text: text.replace("\r", "")), max_size=9))
def test_wrong_quotes_take_no_other_record_with_them(tmp_path: Path, dialect: Dialect, rows: list[str]) -> None:
    """Whatever lies before, lines behind a record of which quotes are wrong come, wherever reading begins anew."""
    file = tmp_path / "in.csv"
    file.write_text("".join(row + "\n" for row in rows) + "plain\n" * 3, newline="")

    def source() -> Csv[Any]:
        return Csv(file, header=False, on_bad_record="skip", **dialect._asdict())

    values = Reading(source()).values()
    if not any(row.endswith("\\") for row in rows):
        assert values[-2:] == [["plain"]] * 2
    assert_resumes_from_every_position(source, values)


@pytest.mark.parametrize(
    "behind",
    [
        "x\n6,x\n7,y",
        'x\n6,"fine"\n7,y',
        'x\n6,"two\nlines"\n7,"z"',
    ],
    ids=["no other quotes", "quotes behind", "lines in quotes behind"],
)
def test_a_stray_quote_is_one_bad_record_with_its_line(
    tmp_path: Path, behind: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in.csv"
    good = "".join(f"{n},v\n" for n in range(5))
    file.write_text("k,v\n" + good + f'5,"{behind}\n' + good)
    keys = [value["k"] for value in Reading(Csv(file, on_bad_record="skip"), batch_records=100).values()]
    assert keys == [*"01234", "6", "7", *"01234"]
    assert f"left out a bad record: file {file}, line 7 (byte offset 24): not CSV: a quoted field begins" in caplog.text
    with pytest.raises(DecodeError, match=r"line 7 \(byte offset 24\)[\s\S]*quote=None"):
        Reading(Csv(file)).available()


def test_an_open_quote_reaches_no_further_than_a_record_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_BYTES", 256)
    file = tmp_path / "in.csv"
    lines = [f"{n},x" for n in range(2000)]
    lines[700] = '700,"open'
    file.write_text("\n".join(lines) + '\nlast,"\n')
    source = Csv(file, header=False, on_bad_record="skip", max_record_bytes=4096)
    values = Reading(source, batch_records=500).values()
    assert [value[0] for value in values] == [str(n) for n in range(2000) if n != 700]


def test_a_followed_file_goes_on_behind_an_open_quote_once_a_record_would_be_too_long(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text('1,"open\n2,x\n')
    reading = Reading(Csv(file, header=False, follow=True, poll_seconds=0, on_bad_record="skip", max_record_bytes=1024))
    assert reading.values() == []
    with file.open("a") as out:
        out.write("3,x\n" * 300)
    assert reading.values() == [["2", "x"]] + [["3", "x"]] * 300


@pytest.mark.parametrize("size", [131_073, 3_000_000])
def test_a_quoted_field_is_read_whole_up_to_the_longest_record(tmp_path: Path, size: int) -> None:
    csv.field_size_limit(131_072)  # whatever a program has set
    text = ("9,x\n" * size)[:size]
    file = tmp_path / "in.csv"
    file.write_text(f'id,text\n1,"{text}"\n2,{"y" * size}\n3,z\n')
    values = Reading(Csv(file)).values()
    assert [(value["id"], len(value["text"])) for value in values] == [("1", size), ("2", size), ("3", 1)]


def test_quotes_are_characters_like_others_where_there_are_none(tmp_path: Path) -> None:
    file = tmp_path / "in.tsv"
    file.write_text('id\ttitle\n1\t"Quoted" start\n2\t5" disk\n3\t"never closed\n4\t""\n')
    titles = [value["title"] for value in Reading(Csv(file, delimiter="\t", quote=None)).values()]
    assert titles == ['"Quoted" start', '5" disk', '"never closed', '""']


class Kind(Enum):
    NEW = "new"


class Row(msgspec.Struct):
    id: int
    name: str
    temp: float | None
    rain: int | None = None
    wet: bool | None = None
    day: date | None = None
    kind: Kind | None = None
    price: Decimal | None = None
    note: str | None = None


@dataclass
class Data:
    id: int
    name: str
    temp: float | None = None


class Typed(TypedDict):
    id: int
    name: str
    temp: float | None


class Named(NamedTuple):
    name: str
    id: int
    temp: float | None = None


class Listed(msgspec.Struct, array_like=True):
    name: str
    id: int
    temp: float | None = None


def test_an_empty_cell_of_what_may_be_none_is_none(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("id,name,temp,rain,wet,day,kind,price,note\n1,,,,,,,,\n2,007,1.5,0,true,2026-01-01,new,1.10,x\n")
    assert Reading(Csv(file, type=Row)).values() == [
        Row(1, "", None),
        Row(2, "007", 1.5, 0, True, date(2026, 1, 1), Kind.NEW, Decimal("1.10"), "x"),
    ]


@pytest.mark.parametrize("type", [Row, Data, Typed, Named, Listed])
def test_columns_become_fields_by_name_whatever_the_kind_of_type(tmp_path: Path, type: Any) -> None:
    file = tmp_path / "in.csv"
    file.write_text("id,name,more,temp\n1,0049,x,\n")
    (value,) = Reading(Csv(file, type=type)).values()
    found = value if isinstance(value, dict) else {name: getattr(value, name) for name in ("id", "name", "temp")}
    assert found == {"id": 1, "name": "0049", "temp": None}


@pytest.mark.parametrize(
    ("type", "expected"),
    [
        (dict[str, float | None], {"id": 1.0, "name": 49.0, "temp": None}),
        (dict[str, str], {"id": "1", "name": "0049", "temp": ""}),
        (dict[str, str | int], {"id": "1", "name": "0049", "temp": ""}),
    ],
)
def test_cells_become_the_values_of_a_dict(tmp_path: Path, type: Any, expected: Any) -> None:
    file = tmp_path / "in.csv"
    file.write_text("id,name,temp\n1,0049,\n".replace("0049", "49" if expected["name"] == 49.0 else "0049"))
    assert Reading(Csv(file, type=type)).values() == [expected]


def test_cells_without_names_become_what_stands_in_their_place(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("1,,\n")
    assert Reading(Csv(file, header=False, type=tuple[int, float | None, str])).values() == [(1, None, "")]
    assert Reading(Csv(file, header=False, type=list[int | None])).values() == [[1, None, None]]
    assert Reading(Csv(file, header=["id", "temp", "name"], type=Data)).values() == [Data(1, "", None)]


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ("1", r"it has 1 field where 3 are named: 'name', 'temp' missing"),
        ("1,2,3,4,5", r"it has 5 fields where 3 are named: 2 too many behind 'temp'"),
        ("1,x,warm", r"column 'temp' cannot be read as `float \| null`"),
        ('1, "b, c",2', r"it has 4 fields[\s\S]*skip_spaces=True"),
        ("1,b,2,", r"it has 4 fields[\s\S]*its lines end in a delimiter"),
        ('1,"b \\"c\\"",2', r"not CSV[\s\S]*escape="),
        ("1,b, 2", r"column 'temp' cannot be read as `float[\s\S]*skip_spaces=True"),
        ("1,b,1e400", r"column 'temp' holds a number beyond the range of a float"),
        (",x,1", r"column 'id' is empty, and `int` is declared\n  -> declare it `int | None`"),
    ],
)
def test_a_cell_or_column_that_is_wrong_is_named_with_its_line(tmp_path: Path, record: str, what: str) -> None:
    file = tmp_path / "in.csv"
    file.write_text(f"id,name,temp\n1,a,2\n{record}\n3,b,4\n")
    with pytest.raises(DecodeError, match=r"line 3 \(byte offset 19\)[\s\S]*" + what):
        Reading(Csv(file, type=Data)).available()
    assert [value.id for value in Reading(Csv(file, type=Data, on_bad_record="skip")).values()] == [1, 3]


@pytest.mark.parametrize(
    ("content", "what", "remedy"),
    [
        ("a,b,a\n1,2,3\n", "names 'a' twice", 'header=["a1", "b", "a2"], skip_lines=1'),
        ("\na,b\n1,2\n", "is empty", "skip_lines=1"),
        (",,\n1,2,3\n", "is empty", "header=["),
        ('"a,b\n1,2\n', "cannot be read", "header=["),
        ("sep=;\na;b\n", "which Excel takes for the delimiter", "skip_lines=1 and delimiter=';'"),
        ("id, name\n1,2\n", "does not name 'name'", "spaces around it"),
        ("id,NAME\n1,2\n", "does not name 'name', which the type needs; it names 'id', 'NAME'", "differ in case"),
        ("id;name\n1;2\n", "does not name 'id', 'name'", "is delimiter=';' meant?"),
        ("a\u0308\udcff,b\n1,2\n", "not utf-8: byte 0xff at byte 3", "encoding="),
        ("<!doctype html><html>\n", "is an HTML page", "Fetch"),
    ],
)
def test_a_header_that_is_none_stops_the_job_and_is_named(tmp_path: Path, content: str, what: str, remedy: str) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    kind: Any = Data if "d" in content[:4].lower() else dict
    with pytest.raises(DecodeError, match=re.escape(what)) as caught:
        Reading(Csv(file, type=kind, on_bad_record="skip")).available()
    assert str(caught.value).startswith(f"file {file}")
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a, b\n1,2\n", "spaces around names, which belong to them: ' b'"),
        (",a\n1,2\n", "no name for column 1"),
        ("a;b\n1;2\n", "is one field, 'a;b': is delimiter=';' meant?"),
        ("1,2.5\n1,2\n", "nothing but numbers: header=False if the file has none"),
    ],
)
def test_a_strange_header_is_told_and_read(
    tmp_path: Path, content: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in.csv"
    file.write_text(content)
    assert len(Reading(Csv(file)).values()) == 1
    assert f"file {file}: its header" in caplog.text
    assert what in caplog.text


def test_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text('sep=;\n"a note\nid;name\n1;x\n2;y\n3;z\n4;z\n')
    expected = [{"id": key, "name": name} for key, name in zip("1234", "xyzz", strict=True)]
    assert_resumes_from_every_position(lambda: Csv(file, delimiter=";", skip_lines=2), expected)
    (first, *_) = Reading(Csv(file, delimiter=";", skip_lines=2)).available()
    assert first.describe_row(0) == f"file {file}, line 4 (byte offset 22)"
    renamed = Reading(Csv(file, delimiter=";", skip_lines=3, header=["x", "y"])).values()
    assert renamed[0] == {"x": "1", "y": "x"}


def test_a_type_that_cannot_be_read_is_refused_when_the_job_is_defined() -> None:
    with pytest.raises(JobDefinitionError, match="type="):
        Csv("a", type=dict[str, str | date])


def test_a_followed_record_that_grows_without_end_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in.csv"
    file.write_text('k\nx\n"open\n')
    reading = Reading(Csv(file, follow=True, poll_seconds=0))
    assert reading.values() == [{"k": "x"}]
    for _ in range(3):
        with file.open("a") as out:
            out.write("y\n" * 20_000)
        assert reading.values() == []
    assert caplog.text.count("has not ended after") == 1
    assert f"file {file}, line 3 (byte offset 4): a record begins here" in caplog.text


def test_a_header_without_records_is_looked_at_too(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    for content, what in ((b"a,a\n", "twice"), (b"\x81\x82%\xf1", "is not utf-8"), (b"id\n", "does not name 'name'")):
        file.write_bytes(content)
        with pytest.raises(DecodeError, match=what):
            Reading(Csv(file, type=Data if content == b"id\n" else dict)).available()
    for content in (b"", b"\n", b"\r\n", b"a,b", b"a,b\r\n"):
        file.write_bytes(content)
        assert Reading(Csv(file)).values() == []


def test_the_first_bad_record_is_the_first_whatever_is_wrong_with_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in.csv"
    file.write_bytes(b'id,name\n1,a\nx,b\n2\n3,"open\n4,\xff\n5,c\n')
    for kind, lines, good in ((Data, "3, 4, 5, 6", [1, 5]), (dict, "4, 5, 6", ["1", "x", "5"])):
        source: Csv[Any] = Csv(file, type=kind, on_bad_record="skip")
        values = Reading(source, batch_records=50).values()
        assert [value["id"] if kind is dict else value.id for value in values] == good
        assert f"left out {lines.count(',') + 1} bad records in file {file}: lines {lines}" in caplog.text
        with pytest.raises(DecodeError, match=f"line {lines[0]} "):
            Reading(Csv(file, type=kind), batch_records=50).available()


def test_a_record_of_many_lines_is_told_for_two_stray_quotes_make_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "in.csv"
    lines = [f"{n},value" for n in range(1000)]
    lines[5], lines[500] = '5,"value', '500,value"'
    file.write_text("k,v\n" + "\n".join(lines) + "\n")
    assert len(Reading(Csv(file), batch_records=100).values()) == 505
    assert f"one record: file {file}, line 7 (byte offset 44), 496 lines long" in caplog.text
    lines[500] = '500,value",more'
    file.write_text("k,v\n" + "\n".join(lines) + "\n")
    with pytest.raises(DecodeError, match=r"line 7 \(byte offset 44\), 496 lines long: .*3 fields where 2 are named"):
        Reading(Csv(file), batch_records=100).available()
