"""What tools that copy, cut and compare state must never do: done on purpose here, each is found by a test."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from streamlet.checkpoint import savepoints, storage
from streamlet.checkpoint.files import file_path
from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.clock import SystemClock
from streamlet.errors import StreamletError
from streamlet.inspect import checkpoint, comparing, entries, import_rows, importing, open_checkpoint, parquet
from streamlet.inspect.comparing import differences
from streamlet.machine.disk import LocalDisk
from streamlet.ports import Disk
from streamlet.state.snapshot import FileRef
from tests.unit.checkpoint import test_savepoints as on_savepoints
from tests.unit.cli_kit import ROOT, here
from tests.unit.inspect import test_importing as on_imports
from tests.unit.state_kit import STORES

GOLDEN = ROOT / "tests" / "recovery" / "golden" / "format-2"
STORE = STORES[-1]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_export_has_each_key_of_each_subtask_once(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 2)
    out = tmp_path / f"out.{suffix}"
    place = str(GOLDEN / "kinds" / "rocksdb")
    assert here("state", "export", place, "timed", "largest", "--to", str(out)).exit_code == 0
    rows = (
        list(parquet.read_parquet(out)) if suffix == "parquet" else list(map(json.loads, out.read_text().splitlines()))
    )
    assert sorted((row["key"], row["value"]) for row in rows) == [(key, 15 + key) for key in range(5)]


def test_entries_are_compared_key_by_key(tmp_path: Path) -> None:
    with on_imports.view(tmp_path, on_imports.written(STORE, tmp_path)) as source:
        rows = [{"key": 3, "deleted": True}, {"key": 7, "value": -7}, {"key": 99, "value": 1}, {"key": 98, "value": 1}]
        made = on_imports.put(source, tmp_path / "made", "n", rows)
        found = list(differences(source, made, entries=True))
        assert found == ["state op / n: 2 entries new, 1 gone, 1 changed"]
        made.close()


def test_what_a_deleted_checkpoint_shares_with_another_stays(tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    shutil.copytree(GOLDEN / "whole" / "streamlet-state" / "whole", folder)
    one, other = (info.manifest for info in CheckpointStorage(tmp_path, "whole", LocalDisk()).checkpoints())
    assert one is not None and other is not None
    assert one.file_names() & other.file_names()
    done = here("checkpoints", "delete", "whole", str(one.checkpoint_id), "--state-dir", str(tmp_path))
    assert (done.exit_code, done.stdout) == (0, f"deleted: {one.checkpoint_id}\n")
    verified = here("checkpoints", "verify", "whole", "--state-dir", str(tmp_path))
    assert (verified.exit_code, verified.stdout) == (0, f"checkpoint {other.checkpoint_id}: whole\n")
    assert {path.name for path in (folder / "files").iterdir()} == other.file_names()


def test_a_table_that_is_imported_is_that_of_each_subtask_that_has_it(tmp_path: Path) -> None:
    with open_checkpoint(GOLDEN / "kinds" / "rocksdb") as source:
        made = importing.Import(source, tmp_path / "made", SystemClock())
        made.put("ruled", "rules", [{"key": 0, "deleted": True}, {"key": 70, "value": "new"}])
        made.finish()
    with open_checkpoint(tmp_path / "made") as checkpoint:
        expected = {**{number: f"rule {number}" for number in range(1, 10)}, 70: "new"}
        assert dict(checkpoint["ruled"]["rules"].items()) == expected


# -- planted ---------------------------------------------------------------------------------------------------------


def needs_its_origin(disk: Disk, file: FileRef, origin: Path, files: Path) -> None:
    file_path(files, file).symlink_to(file_path(origin, file))


_frames = importing._frames
_deletions = import_rows.KeyedRows._deletions
_entries_of = entries.entries_of


def no_tombstones(entries: Mapping[bytes, bytes | None]) -> Iterator[bytes]:
    return _frames({key: value for key, value in entries.items() if value is not None})


def one_tombstone(self: Any, row: Any) -> Iterator[Any]:
    return itertools.islice(_deletions(self, row), 1)


def first_part_only(stores: Any, state_id: int) -> Iterator[Any]:
    return _entries_of([one for one in stores if one.holds(state_id)][:1], state_id)


def by_position(before: Any, after: Any) -> Iterator[str]:
    pairs = list(itertools.zip_longest(comparing._placed(before), comparing._placed(after)))
    if changed := sum(one != other for one, other in pairs):
        yield f"state {before.uid} / {before.name}: 0 entries new, 0 gone, {changed} changed"


def all_that_it_named(going: Iterable[Manifest], kept: Iterable[Manifest], protect: Any) -> list[str]:
    return [name for one in going for name in one.file_names()]


class OneGroup:
    """Writes the first group of rows and says that it was all."""

    def __call__(self, state: Any, target: Path) -> int:
        rows = list(itertools.islice(state.rows(), parquet.ROWS_AT_ONCE))
        state.rows = lambda: iter(rows)
        return parquet.write_parquet(state, target)


Check = Callable[[Path, pytest.MonkeyPatch], None]


def export_check(suffix: str) -> Check:
    return lambda folder, patch: test_an_export_has_each_key_of_each_subtask_once(folder, suffix, patch)


def savepoint_check(folder: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.copytree(on_savepoints.GOLDEN, folder / "origin")
    on_savepoints.test_a_savepoint_needs_nothing_of_where_it_was_made(folder, folder / "origin", LocalDisk())


def deletions_check(folder: Path, patch: pytest.MonkeyPatch) -> None:
    on_imports.test_rows_are_put_over_what_is_there_and_deletions_stay_deleted(folder, STORE, 7, patch)


def maps_check(folder: Path, patch: pytest.MonkeyPatch) -> None:
    on_imports.test_maps_lose_entries_and_lists_keep_their_lengths(folder, STORE)


PLANTED: dict[str, tuple[Any, str, Any, Check]] = {
    "a savepoint that needs its origin": (savepoints, "_keep", needs_its_origin, savepoint_check),
    "an import that loses its tombstones": (importing, "_frames", no_tombstones, deletions_check),
    "an import that buries one entry of a map": (import_rows.KeyedRows, "_deletions", one_tombstone, maps_check),
    "an import that forgets how long lists are": (import_rows.KeyedRows, "lengths", lambda *_, **__: (), maps_check),
    "an export of the first subtask": (checkpoint, "entries_of", first_part_only, export_check("jsonl")),
    "an export of the first rows": ("streamlet.cli.state", "write_parquet", OneGroup(), export_check("parquet")),
    "an import that drops prepared output": (
        importing, "require_committed", lambda info: None,
        lambda folder, _: on_imports.test_a_checkpoint_whose_output_waits_to_be_committed_is_no_source(folder),
    ),
    "a comparison by position": (
        comparing, "_entry_changes", by_position, lambda folder, _: test_entries_are_compared_key_by_key(folder),
    ),
    "a deletion of what another checkpoint needs": (
        storage, "unreferenced", all_that_it_named,
        lambda folder, _: test_what_a_deleted_checkpoint_shares_with_another_stays(folder),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", PLANTED)
def test_each_planted_bug_is_found(tmp_path: Path, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, planted, check = PLANTED[bug]
    (tmp_path / "sound").mkdir()
    check(tmp_path / "sound", monkeypatch)
    (tmp_path / "planted").mkdir()
    if isinstance(where, str):
        monkeypatch.setattr(f"{where}.{name}", planted)
    else:
        monkeypatch.setattr(where, name, planted)
    with pytest.raises((AssertionError, StreamletError, pytest.fail.Exception)):
        check(tmp_path / "planted", monkeypatch)
