"""Every file of a checkpoint times every damage: full verification names it, and the verification that is the default
gives an error that names it, another checkpoint that is exact, or the right state; never another state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamlet.checkpoint.lock import JobLock
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.cli.main import main
from streamlet.errors import CheckpointDamagedError, JobLockedError, StateDirectoryError, StreamletError
from streamlet.machine.disk import LocalDisk
from streamlet.machine.local import local_ports
from tests.recovery.running_jobs import is_full_run
from tests.recovery.saved_store import BITS, Damage, Damaged, SavedStore, damages, other_content

SEED = 20_240_611
Saved = tuple[SavedStore, SavedStore]
HARMLESS = {"lock", "began"}
"""Files whose content decides nothing: written anew at each start."""


@pytest.fixture(scope="module", params=["committed", "undecided"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The newest checkpoint is committed, or its output is only prepared; and another state directory of the job."""
    root = tmp_path_factory.mktemp(request.param)
    other = SavedStore(root / "other", is_marked=True)
    return SavedStore(root / "state", is_marked=request.param == "committed"), other


def cells(saved: SavedStore, elsewhere: SavedStore, bits: int = BITS) -> Iterator[tuple[str, Path, bytes, Damage]]:
    for number, (what, path) in enumerate((saved.files() | saved.own_files()).items()):
        other = other_content(saved, what, path, elsewhere)
        data = path.read_bytes()
        for damage in damages(SEED + number, bits):
            try:
                if damage.change(data, other) != data:
                    yield what, path, other, damage
            except IndexError:
                continue  # an empty file has no bit to change


def verified(saved: SavedStore) -> tuple[int, str]:
    """What `streamlet checkpoints verify` answers."""
    done = CliRunner().invoke(main, ["checkpoints", "verify", "job", "--state-dir", str(saved.root)])
    return done.exit_code, done.output


def test_the_checkpoints_have_several_files_of_each_kind(saved: Saved) -> None:
    kinds = Counter(what.split()[0].rpartition(".")[2] for what in saved[0].files())
    assert kinds["sst"] >= 3 and kinds["log"] >= 3
    assert {"CURRENT", "MANIFEST-000005", "OPTIONS-000007"} <= set(saved[0].files())
    assert {"manifest", "instance", "lock"} <= set(saved[0].own_files())


def test_whole_checkpoints_are_whole_to_both_verifications(saved: Saved) -> None:
    assert verified(saved[0])[0] == 0
    assert saved[0].start() == (7, True, "")


def test_full_verification_names_every_damaged_file(saved: Saved) -> None:
    seen: Counter[str] = Counter()
    for what, path, other, damage in cells(*saved):
        if what in HARMLESS or (what == "marker" and damage.name == "missing"):
            continue  # a checkpoint without a marker is one whose output is not known to be committed
        with Damaged(path, other, damage):
            code, said = verified(saved[0])
            assert code == 1 and str(path) in said, f"{what}, {damage}: {said}"
        seen[what.split()[0]] += 1
    print(f"full verification: {sum(seen.values())} cells, all named: {dict(seen)}")
    assert verified(saved[0])[0] == 0


def test_a_start_never_goes_on_from_what_was_not_written(saved: Saved) -> None:
    store, elsewhere = saved
    may_go_back = store.info().is_marked is False
    seen: Counter[tuple[str, str]] = Counter()
    for what, path, other, damage in cells(store, elsewhere, BITS if is_full_run() else 4):
        with Damaged(path, other, damage):
            outcome = started(store, path)
        whole = [number for number in (6, 5) if may_go_back and path not in store.files(number).values()]
        back_to = max(whole, default=None)
        cell = f"{what}, {damage}: {outcome}"
        if what in HARMLESS or what == "marker":
            assert outcome == "right", cell
        elif what in ("manifest", "instance"):
            assert outcome == "refused", cell
        elif what.endswith(".sst"):
            assert outcome in ("refused", "right"), cell
            assert outcome == "refused" or damage.name.startswith("bit"), f"only a bit that is never read: {cell}"
        elif back_to is not None:
            assert outcome == f"went back to {back_to}", cell
        else:
            assert outcome == "refused", cell
        seen[what.rpartition(".")[2].split()[0], outcome] += 1
    print(f"starts: {sum(seen.values())} cells: {dict(seen)}")
    assert store.start() == (7, True, "")


def started(store: SavedStore, damaged: Path) -> str:
    try:
        number, is_right, passed_over = store.start()
    except StreamletError as error:
        assert str(damaged) in str(error), f"{error} does not name {damaged}"
        assert error.remedy, error
        return "refused"
    assert is_right, f"checkpoint {number} was restored as something else"
    if number == 7:
        return "right"
    assert str(damaged) in passed_over
    return f"went back to {number}"


def test_a_lock_with_any_content_still_shuts_others_out(saved: Saved, tmp_path: Path) -> None:
    first, second = JobLock(tmp_path, local_ports()), JobLock(tmp_path, local_ports())
    first.acquire()
    data = (tmp_path / "lock").read_bytes()
    for damage in damages(SEED):
        changed = damage.change(data, b"\xff[[[{") or b""
        (tmp_path / "lock").write_bytes(changed)  # in place: the lock is on the file
        with pytest.raises(JobLockedError, match="is run by"):
            second.acquire()


def test_files_that_nobody_wrote_are_named_and_change_nothing(saved: Saved) -> None:
    store = saved[0]
    strangers = [
        store.folder / "files" / f"{'0' * 32}.sst",
        store.folder / "files" / "stranger",
        store.folder / "chk-00000007" / "manifest.old",
        store.folder / "stranger",
    ]
    for path in strangers:
        path.write_bytes(b"x")
    code, said = verified(store)
    assert code == 1
    assert all(str(path) in said for path in strangers[:3])
    assert store.start() == (7, True, "")
    for path in strangers:
        path.unlink()


def test_a_file_in_the_place_of_a_checkpoint_stops_the_start(saved: Saved) -> None:
    path = saved[0].folder / "chk-00000008"
    path.write_bytes(b"x")
    with pytest.raises(StateDirectoryError, match="chk-00000008: Not a directory"):
        CheckpointStorage(saved[0].root, "job", LocalDisk()).begin_attempt()
    path.unlink()


def test_a_checkpoint_folder_without_a_manifest_stops_the_start(saved: Saved) -> None:
    store = saved[0]
    empty = store.folder / "chk-00000008"
    empty.mkdir()
    with pytest.raises(CheckpointDamagedError, match="chk-00000008/manifest cannot be read"):
        store.start()
    assert verified(store)[0] == 1
    empty.rmdir()


def test_the_manifest_of_another_state_directory_is_refused(saved: Saved) -> None:
    store, elsewhere = saved
    path = store.folder / "chk-00000007" / "manifest"
    other = (elsewhere.folder / "chk-00000007" / "manifest").read_bytes()
    with Damaged(path, other, Damage("swapped", lambda data, other: other)):
        assert started(store, path) == "refused"


def test_several_damaged_files_are_all_named(saved: Saved) -> None:
    store = saved[0]
    paths = list(store.files().values())[:4]
    kept = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    code, said = verified(store)
    for path, data in zip(paths, kept, strict=True):
        path.write_bytes(data)
    assert code == 1 and all(str(path) in said for path in paths)


def test_no_checkpoint_at_all_is_not_taken_for_a_new_job(tmp_path: Path) -> None:
    store = SavedStore(tmp_path, is_marked=True)
    for path in store.folder.glob("chk-*"):
        path.rename(tmp_path / path.name)
    assert CheckpointStorage(tmp_path, "job", LocalDisk()).has_history()
    with pytest.raises(StreamletError, match="no checkpoint left"):
        store.start()
