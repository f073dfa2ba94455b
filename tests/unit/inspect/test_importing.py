"""`streamlet state import`: rows over a checkpoint make a savepoint from which a job goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job, KeyedProcessFunction, ListState, MapState, ProcessContext, ValueState
from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.clock import SystemClock
from streamlet.errors import CheckpointError, StateTypeError
from streamlet.inspect import importing as module
from streamlet.inspect import open_checkpoint
from streamlet.inspect.checkpoint import CheckpointView, KeyedView
from streamlet.inspect.importing import Import
from streamlet.inspect.rows import Row
from streamlet.state.snapshot import StateSpec, StoreSnapshot
from streamlet_connectors.files import FileSink
from tests.recovery.golden.jobs import build
from tests.unit.cli_kit import ROOT, here
from tests.unit.job_kit import Waiting, checkpoint_at, files, lines, make_job, run
from tests.unit.state_kit import KEY_GROUPS, STORES, checkpoint, declare, fold, handle, make_store

GOLDEN = ROOT / "tests" / "recovery" / "golden" / "format-1"
STATES = declare(n=ValueState(int), tags=MapState(str, int), all=ListState(str))


def view(root: Path, *stores: StoreSnapshot, specs: Iterable[StateSpec] = ()) -> CheckpointView:
    """A checkpoint of these stores, which lie in `root`."""
    manifest = Manifest(
        job="job",
        checkpoint_id=3,
        attempt=1,
        kind="periodic",
        key_groups=KEY_GROUPS,
        states=[*specs] or [one.spec for one in STATES],
        stores=[*stores],
    )
    return CheckpointView(CheckpointInfo(3, root / "chk-00000003", manifest, None, True))


def written(kind: type[Any], root: Path) -> StoreSnapshot:
    """Keys 0 to 49, in a base where there is one, and a later change of each tenth in a log over it."""
    store = make_store(kind, root, STATES)
    store.open()
    for key in range(50):
        handle(store, "n", key).update(key)
        handle(store, "tags", key).put("a", key)
        handle(store, "tags", key).put("b", key)
        handle(store, "all", key).update(["x", "y", "z"])
    checkpoint(store, 1)
    fold(store)
    for key in range(0, 50, 10):
        handle(store, "n", key).update(1000 + key)
    snapshot = checkpoint(store, 3)
    store.close()
    return snapshot


def put(source: CheckpointView, target: Path, name: str, rows: Iterable[Row], **options: Any) -> CheckpointView:
    made = Import(source, target, SystemClock())
    made.put("op", name, rows, **options)
    return open_checkpoint(made.finish())


def restored(kind: type[Any], root: Path, made: CheckpointView) -> Any:
    """A store of the job that goes on from a savepoint."""
    store = make_store(kind, made.path.parent, STATES)
    store.work_dir = root / "work" / "again"
    store.open(made.manifest.stores)
    return store


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("spooled", [7, 200_000])
def test_rows_are_put_over_what_is_there_and_deletions_stay_deleted(
    tmp_path: Path, kind: type[Any], spooled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SPOOLED", spooled)
    with view(tmp_path, written(kind, tmp_path)) as source:
        rows = [{"key": 1, "value": -1}, {"key": 99, "value": 99}]
        rows += [{"key": key, "deleted": True} for key in (0, 2, 77)]
        made = put(source, tmp_path / "made", "n", rows)
        expected = {**{key: 1000 + key if not key % 10 else key for key in range(50)}, 1: -1, 99: 99}
        del expected[0], expected[2]
        assert dict(made["op"]["n"].items()) == expected
        assert dict(made["op"]["all"].items()) == dict(source["op"]["all"].items())
        assert made.manifest.checkpoint_id == 4
        assert {path.name for path in (tmp_path / "made").iterdir()} == {"chk-00000004", "files"}
        assert {path.name for path in (tmp_path / "made" / "files").iterdir()} == made.manifest.file_names()
        store = restored(kind, tmp_path, made)
        for key in (0, 1, 2, 3, 10, 77, 99):
            assert handle(store, "n", key).value() == expected.get(key)
        store.close()
        made.close()


@pytest.mark.parametrize("kind", STORES)
def test_a_state_that_is_replaced_has_the_rows_and_nothing_else(tmp_path: Path, kind: type[Any]) -> None:
    with view(tmp_path, written(kind, tmp_path)) as source:
        made = put(source, tmp_path / "made", "tags", [{"key": 7, "map_key": "c", "value": 1}], replaces=True)
        assert dict(made["op"]["tags"].items()) == {7: {"c": 1}}
        assert dict(made["op"]["n"].items()) == dict(source["op"]["n"].items())
        made.close()


@pytest.mark.parametrize("kind", STORES)
def test_maps_lose_entries_and_lists_keep_their_lengths(tmp_path: Path, kind: type[Any]) -> None:
    with view(tmp_path, written(kind, tmp_path)) as source:
        rows: list[Row] = [{"key": 1, "map_key": "a", "deleted": True}, {"key": 2, "deleted": True}]
        made = put(source, tmp_path / "made", "tags", rows)
        assert (made["op"]["tags"][1], made["op"]["tags"].get(2)) == ({"b": 1}, None)
        rows = [{"key": 1, "index": 1, "value": "Y"}, {"key": 2, "index": 3, "value": "w"}]
        rows += [{"key": 3, "deleted": True}, {"key": 60, "index": 0, "value": "new"}]
        again = put(made, tmp_path / "again", "all", rows)
        store = restored(kind, tmp_path, again)
        lists = {key: handle(store, "all", key).get() for key in (0, 1, 2, 3, 60)}
        assert lists == {0: [*"xyz"], 1: [*"xYz"], 2: [*"xyzw"], 3: [], 60: ["new"]}
        handle(store, "all", 60).add("more")
        assert handle(store, "all", 60).get() == ["new", "more"]
        store.close()
        made.close()
        again.close()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize(("keys", "key_type"), [(["a", "b"], "str"), ([["a", 1], ["b", 2]], "(str, int)")])
def test_a_job_that_has_no_state_yet_is_seeded(tmp_path: Path, kind: type[Any], keys: list[Any], key_type: str) -> None:
    (tmp_path / "files").mkdir()
    with view(tmp_path) as source:
        made = put(source, tmp_path / "made", "n", [{"key": key, "value": 5} for key in keys])
        store = restored(kind, tmp_path, made)
        for key in keys:
            assert handle(store, "n", tuple(key) if isinstance(key, list) else key).value() == 5
        assert made["op"]["n"].columns()["key"] == made["op"]["tags"].columns()["key"]
        assert [one.key_type() for one in made._stores] == [key_type]
        store.close()
        made.close()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"key": 1, "value": "x"}, "row 2: value state 'n' of 'op', key 1: Expected `int`, got `str`"),
        ({"key": "x", "value": 1}, "row 2: value state 'n' of 'op', the key 'x': Expected `int`, got `str`"),
        ({"value": 1}, "row 2: value state 'n' of 'op': a row has no key"),
        ([1], "row 2: value state 'n' of 'op': a row has no key"),
    ],
)
def test_a_row_that_is_none_of_the_state_is_refused_by_its_number(tmp_path: Path, row: Any, message: str) -> None:
    with view(tmp_path, written(STORES[0], tmp_path)) as source:
        with pytest.raises(StateTypeError) as refused:
            put(source, tmp_path / "made", "n", [{"key": 1, "value": 1}, row])
        assert refused.value.message == message
        assert not list((tmp_path / "made").glob("chk-*")), "nothing that could be started from"


def test_a_checkpoint_whose_output_waits_to_be_committed_is_no_source(tmp_path: Path) -> None:
    place = ROOT / "tests" / "recovery" / "golden" / "format-2" / "prepared" / "streamlet-state" / "whole"
    with open_checkpoint(place) as source:
        assert source.manifest.committables and not source.is_committed
        with pytest.raises(CheckpointError, match="has no marker: output that it prepared may still wait"):
            Import(source, tmp_path / "made", SystemClock())
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").touch()
    with (
        view(tmp_path, written(STORES[0], tmp_path)) as source,
        pytest.raises(CheckpointError, match=r"has 'notes\.txt' in it"),
    ):
        Import(source, tmp_path / "made", SystemClock())


@pytest.mark.parametrize(("backend", "suffix"), [("memory", "jsonl"), ("rocksdb", "parquet")])
def test_a_job_goes_on_exactly_from_what_was_exported_and_imported(tmp_path: Path, backend: str, suffix: str) -> None:
    place = GOLDEN / backend
    with open_checkpoint(place) as golden:
        names = [(one.uid, one.name) for one in golden.states() if isinstance(one, KeyedView)]
    for number, (uid, name) in enumerate(names):
        file, target = tmp_path / f"{number}.{suffix}", tmp_path / f"made-{number}"
        done = here("state", "export", str(place), uid, name, "--to", str(file))
        assert done.exit_code == 0, done.stderr
        done = here("state", "import", str(place), uid, name, str(file), "--replace", "--to", str(target))
        assert done.exit_code == 0, done.stderr
        place = target
    expected = _goes_on(tmp_path / "golden", backend, GOLDEN / backend)
    assert _goes_on(tmp_path / "imported", backend, place) == expected


def _goes_on(folder: Path, backend: str, place: Path) -> dict[str, list[str]]:
    ran = run(build(folder, backend, 2), from_checkpoint=str(place))
    assert ran.code == 0, ran
    found = {path.name: sorted(map(repr, lines(path))) for path in (folder / "out").iterdir()}
    assert len(found) == 10
    return found


def test_a_state_is_given_to_a_renamed_job_and_uid(tmp_path: Path) -> None:
    source = str(GOLDEN / "rocksdb")
    done = here("state", "import", source, "--to", str(tmp_path / "made"), "--job", "other", "--rename", "named=called")
    assert (done.exit_code, done.stdout) == (0, f"savepoint {tmp_path / 'made'}\n"), done.stderr
    with open_checkpoint(tmp_path / "made") as made:
        assert (made.manifest.job, made.manifest.instance) == ("other", "")
        assert "named" not in made
        assert {key: list(value) for key, value in made["called"]["accumulator"].items()} == {
            key: [4, 4 * key + 30] for key in range(5)
        }
    for rename, message in (
        ("nothing=x", "the checkpoint has no uid 'nothing'"),
        ("named", "is not UID=NEW"),
        ("named=placed", "has a uid 'placed' already"),
    ):
        refused = here("state", "import", source, "--to", str(tmp_path / "again"), "--rename", rename)
        assert refused.exit_code == 2
        assert message in refused.stderr
        assert not (tmp_path / "again").exists()


def test_a_line_that_is_not_json_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"key": 1, "value": 1}) + "\n{key: 2}\n")
    source, rows = str(GOLDEN / "memory"), str(tmp_path / "rows.jsonl")
    done = here("state", "import", source, "reduce-1", "accumulator", rows, "--to", str(tmp_path / "made"))
    assert done.exit_code == 2
    assert f"{rows}, line 2 is not JSON" in done.stderr
    assert not (tmp_path / "made").exists()


HOUR = timedelta(hours=1)


class Lives(KeyedProcessFunction[int, int, list[Any]]):
    one = ValueState(int, ttl=HOUR)
    many = MapState(str, int, ttl=HOUR)
    all = ListState(int, ttl=HOUR)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        yield [ctx.key, self.one.value(), dict(self.many.items()), self.all.get()]


def _lives(folder: Path) -> Job:
    job = make_job(folder)
    keyed = job.source(Waiting(20, 10), uid="numbers").key_by(lambda number: number % 10, uid="by")
    keyed.process(Lives(), uid="p").sink(FileSink(str(folder / "out")), uid="out")
    return job


def test_what_is_imported_with_a_time_to_live_lives_from_when_it_was_written(tmp_path: Path) -> None:
    assert run(_lives(tmp_path)).code == 0
    half = tmp_path / "state" / "job" / f"chk-{checkpoint_at(tmp_path, 10):08d}"
    written = {1: SystemClock().now_ms(), 2: 0}
    with open_checkpoint(half) as source:
        made = Import(source, tmp_path / "made", SystemClock())
        for key, at in written.items():
            made.put("p", "one", [{"key": key, "value": 7, "written": at}])
            made.put("p", "many", [{"key": key, "map_key": "a", "value": 8, "written": at}])
            made.put("p", "all", [{"key": key, "index": index, "value": index, "written": at} for index in range(2)])
        made.finish()
    with open_checkpoint(tmp_path / "made") as checkpoint:
        for name in ("one", "many", "all"):
            timers = {row["key"]: row["time"] for row in checkpoint["p"][f"@ttl {name}"].rows()}
            assert timers == written, "each is freed by the timer of its own time"
    before = files(tmp_path / "out")
    ran = run(_lives(tmp_path), from_checkpoint=str(tmp_path / "made"), state_dir=str(tmp_path / "other"))
    assert ran.code == 0, ran
    seen = {key: rest for key, *rest in lines(tmp_path / "out", but=before)}
    assert seen[1] == [7, {"a": 8}, [0, 1]]
    assert seen[2] == seen[3] == [None, {}, []]
    with open_checkpoint(tmp_path / "other" / "job") as checkpoint:
        for name in ("one", "many", "all"):
            assert list(checkpoint["p"][name]) == [1], "what is over was freed"


@pytest.mark.parametrize(
    ("uid", "name", "row", "message"),
    [
        ("remembers", "last", '{"key":2,"value":{"at":"soon"}}', "key 2: Expected `int`, got `str` - at `$.at`"),
        ("remembers", "last", '{"key":2,"value":{"by":"x"}}', "key 2: Object missing required field `at`"),
        ("remembers", "last", '{"key":2,"value":{"at":1,"bye":2}}', "key 2: Object contains unknown field `bye`"),
        ("remembers", "last", '{"key":2,"value":{"at":1},"note":5}', "a row has 'note', which this state has not"),
        ("remembers", "last", '{"key":"a","value":{"at":1}}', "the key 'a': Expected `int`, got `str`"),
        ("remembers", "last", '{"value":{"at":1}}', "a row has no key"),
        ("remembers", "last", "[1,2]", "a row has no key"),
        ("remembers", "last", "key,value", "is not JSON"),
        ("remembers", "seen", '{"key":1,"map_key":7,"value":1}', "the map's key of map state 'seen'"),
        ("remembers", "all", '{"key":1,"value":1}', "a row of key 1 has index=None"),
        ("remembers", "lately", '{"key":1,"value":1}', "a row of key 1 has written=None"),
        ("joined", "timers", '{"key":1}', "a row of key 1 has time=None"),
    ],
)
def test_a_line_that_does_not_fit_is_named_with_its_field_and_nothing_is_made(
    tmp_path: Path, uid: str, name: str, row: str, message: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"\n\n{row}\n")
    done = here("state", "import", str(GOLDEN / "rocksdb"), uid, name, str(rows), "--to", str(tmp_path / "made"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"streamlet: {rows}, line 3")
    assert message in done.stderr
    assert "\n  -> " in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert not (tmp_path / "made").exists()
