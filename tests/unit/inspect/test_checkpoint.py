"""`streamlet.inspect` and `streamlet state`: what is in a checkpoint, without the job file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from streamlet.errors import CheckpointError, ConfigError, StateTypeError
from streamlet.inspect import open_checkpoint
from streamlet.inspect.checkpoint import SNAPSHOT, KeyedView
from streamlet.inspect.parquet import read_parquet, write_parquet
from tests.unit.cli_kit import ROOT, cli, here

GOLDEN = ROOT / "tests" / "recovery" / "golden" / "format-1"
BACKENDS = ("memory", "rocksdb")

EXPECTED: dict[tuple[str, str], Any] = {
    ("remembers", "last"): {key: {"at": 15 + key, "by": "nobody"} for key in range(5)},
    ("remembers", "seen"): {key: {"n": 15 + key} for key in range(5)},
    ("remembers", "all"): {key: [key, key + 5, key + 10, key + 15] for key in range(5)},
    ("remembers", "lately"): {key: 15 + key for key in range(5)},
    ("named", "accumulator"): {key: (4, 4 * key + 30) for key in range(5)},
    ("aggregate-1", "accumulator"): dict.fromkeys(range(5), 4),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_are_read_by_uid_and_name_as_plain_data(backend: str) -> None:
    with open_checkpoint(GOLDEN / backend) as checkpoint:
        for (uid, name), expected in EXPECTED.items():
            assert dict(checkpoint[uid][name].items()) == expected
            assert sorted(checkpoint[uid][name]) == list(range(5))
        last = checkpoint["remembers"]["last"]
        assert last[3] == {"at": 18, "by": "nobody"}
        assert 3 in last
        assert 9 not in last
        assert last.get(9) is None
        (window,) = checkpoint["tumbling"]["window"][1]
        assert window == {"window_start": 16000, "window_end": 32000, "value": (1, 16)}
        (row,) = checkpoint["sessions"]["sessions"].rows_of(0)
        assert row == {"key": 0, "value": [{"start": 0, "end": 21000, "records": 4, "value": (4, 30)}]}
        assert checkpoint["joined"]["timers"][0] == [{"time": 21000}]
        assert checkpoint["joined"]["right"][0] == [{"time": 15000, "number": 0, "value": 15}]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_row_comes_back_as_the_entry_that_it_was(backend: str) -> None:
    with open_checkpoint(GOLDEN / backend) as checkpoint:
        for state in checkpoint.states():
            assert isinstance(state, KeyedView)
            for row in state.rows():
                by_json = json.loads(json.dumps(state.for_json(row)))
                again = state.layout.row(*state.layout.entry(by_json))
                assert again == row


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with open_checkpoint(GOLDEN / "memory") as checkpoint:
        with pytest.raises(ConfigError, match=r"no state of an operator 'rememers'\n  -> did you mean 'remembers'\?"):
            checkpoint["rememers"]
        with pytest.raises(ConfigError, match=r"has no state 'lst'\n  -> did you mean 'last'\?"):
            checkpoint["remembers"]["lst"]
        with pytest.raises(ConfigError, match="has no key 99"):
            checkpoint["remembers"]["last"][99]
        with pytest.raises(StateTypeError, match="the key: Expected `int`, got `str`"):
            checkpoint["remembers"]["last"]["0"]
    for path, message in (
        (tmp_path / "nothing", "there is no folder"),
        (tmp_path, "is not a checkpoint"),
        (GOLDEN / "memory" / "chk-00000099", "beside it are: chk-00000004"),
    ):
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(path)


BROADCAST = """\
from streamlet import Job, KeyedBroadcastProcessFunction
from streamlet.state.broadcast import BroadcastState
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


class Rules(KeyedBroadcastProcessFunction):
    rules = BroadcastState(str, tuple[int, int])

    def process_element(self, value, ctx):
        yield value

    def process_broadcast_element(self, value, ctx):
        self.rules.put(f"rule {value}", (value, value + 1))


job = Job("job")
rules = job.source(Generator(int, count=3), uid="rules")
numbers = job.source(Generator(int, count=9), uid="numbers").key_by(lambda n: n % 3, uid="k")
numbers.connect_broadcast(rules).process(Rules(), uid="p").sink(FileSink("out"), uid="out")
"""


@pytest.mark.outside
def test_a_broadcast_table_is_a_state_like_the_others(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(BROADCAST)
    done = cli(tmp_path, "run", "job.py")
    assert done.returncode == 0, done.stderr
    with open_checkpoint(tmp_path / "streamlet-state" / "job") as checkpoint:
        assert list(checkpoint["p"]) == ["rules"]
        assert SNAPSHOT not in checkpoint["p"]
        assert dict(checkpoint["p"]["rules"].items()) == {f"rule {n}": (n, n + 1) for n in range(3)}
        assert checkpoint["p"]["rules"]["rule 1"] == (1, 2)
    scanned = here("state", "scan", str(tmp_path / "streamlet-state" / "job"), "p", "rules", "--limit", "1")
    assert scanned.stdout == '{"key":"rule 0","value":[0,1]}\n'


@pytest.mark.parametrize("backend", BACKENDS)
def test_parquet_has_what_the_state_has_and_opens_in_duckdb(tmp_path: Path, backend: str) -> None:
    with open_checkpoint(GOLDEN / backend) as checkpoint:
        for state in checkpoint.states():
            file = tmp_path / f"{state.uid}-{state.name}.parquet"
            rows = list(state.rows())
            assert write_parquet(state, file) == len(rows)
            assert isinstance(state, KeyedView)
            assert [state.layout.entry(row) for row in read_parquet(file)] == [state.layout.entry(row) for row in rows]
    sums = duckdb.sql(f"select sum(value['1']) from '{tmp_path}/named-accumulator.parquet'")
    assert sums is not None
    assert sums.fetchall() == [(sum(4 * key + 30 for key in range(5)),)]


def test_states_are_listed_shown_scanned_and_exported(tmp_path: Path) -> None:
    place = str(GOLDEN / "rocksdb")
    listed = here("state", "list", place, "--count")
    assert (listed.exit_code, listed.stderr) == (0, "")
    title, header, *rows = listed.stdout.splitlines()
    assert title.startswith("job 'job', checkpoint 10 in ")
    assert header.split() == ["uid", "state", "kind", "entries", "key", "type"]
    assert rows[0].split(None, 5) == ["remembers", "last", "value", "5", "int", "Visit{at: int, by?: str}"]
    got = here("state", "get", place, "remembers", "all", "2")
    assert [json.loads(line)["value"] for line in got.stdout.splitlines()] == [2, 7, 12, 17]
    assert here("state", "get", place, "remembers", "all", "99").exit_code == 1
    assert len(here("state", "scan", place, "remembers", "all", "--limit", "3").stdout.splitlines()) == 3
    exported = here("state", "export", place, "remembers", "last")
    assert (exported.exit_code, exported.stderr) == (0, "")
    found = {row["key"]: row["value"] for row in map(json.loads, exported.stdout.splitlines())}
    assert found == EXPECTED["remembers", "last"]
    done = here("state", "export", place, "remembers", "last", "--to", str(tmp_path / "last.parquet"))
    assert done.stderr == f"5 entries of state 'last' of 'remembers' are in {tmp_path / 'last.parquet'}\n"


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["list", "nothing"], ["there is no job file nothing"]),
        (["list", "chk-00000003"], ["there is no folder", "look at the path"]),
        (["list", str(GOLDEN.parent)], ["is not a checkpoint", "name a folder such as"]),
        (["scan", str(GOLDEN / "memory"), "remember", "last"], ["did you mean 'remembers'?"]),
        (
            ["get", str(GOLDEN / "memory"), "remembers", "last", "x"],
            ["the key 'x' is not JSON", "keys of this state are int"],
        ),
        (["export", str(GOLDEN / "memory"), "named", "accumulator", "--format", "parquet"], ["name a file: --to"]),
        (["list", str(GOLDEN / "memory"), "--checkpoint", "99"], ["has no checkpoint 99", "there are: 4"]),
    ],
)
def test_what_cannot_be_done_is_said_in_one_error(tmp_path: Path, arguments: list[str], messages: list[str]) -> None:
    done = here("state", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("streamlet: ") == 1
    assert len(done.stderr.splitlines()) <= 3
    for message in messages:
        assert message in done.stderr
