"""A checkpoint whose files are not what was written is never restored: the start stops and names the file, or goes
back where that loses and doubles nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlet.checkpoint.manifest import Manifest, decode
from tests.recovery.part_files import check_counts, part_files
from tests.recovery.running_jobs import PROJECT, JobHome, a_home

pytestmark = pytest.mark.timeout(240)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
COUNT = 30_000
Damage = Callable[[Path], None]


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def one_bit_changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


DAMAGES: list[Damage] = [missing, empty, cut, one_bit_changed]


class Saved:
    """A job that was killed, saved as it was, to be damaged in many ways."""

    def __init__(self, home: JobHome, copy: Path, keys: int) -> None:
        self.home = home
        self._keys = keys
        self._copy = copy
        shutil.copytree(home.state_dir, copy)

    def restore(self) -> None:
        shutil.rmtree(self.home.state_dir)
        shutil.copytree(self._copy, self.home.state_dir)

    @property
    def folder(self) -> Path:
        return self.home.state_dir / "counting"

    @property
    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("chk-*"))

    def manifest(self, index: int) -> Manifest:
        path = self.checkpoints[index] / "manifest"
        return decode(path.read_bytes(), str(path))

    def files(self, index: int) -> dict[Path, str]:
        """Every file that a checkpoint names, and its role."""
        return {self.folder / "files" / file.name: file.role for file in self.manifest(index).files()}

    def finish(self) -> str:
        job = self.home.start()
        assert job.wait() == 0, job.said
        check_counts(self.home.state_dir / "out", (number * 7919 % self._keys for number in range(COUNT)), key="key")
        return job.said


def a_home_of(folder: Path, keys: int, **more: str) -> contextlib.AbstractContextManager[JobHome]:
    settings = {"KEYS": str(keys), "COUNT": str(COUNT), "RATE": "30000", **more}
    return a_home(COUNTING, folder / "home", settings)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """The newest checkpoint is marked: its output is committed, so nothing older may be gone back to.  The job has
    more keys than its memory holds, so it cannot come to its end without a base."""
    folder = tmp_path_factory.mktemp("marked")
    keys = 20_000
    with a_home_of(folder, keys, VERIFY="full") as home:
        job = home.start()
        job.wait_until(lambda: has_base(home), "there is a base")
        job.kill()
        home.start(fault="after_marker@2").wait_until_killed()
        if not (max(home.state_dir.glob("counting/chk-*")) / "committed").exists():
            home.start(fault="after_marker").wait_until_killed()  # settles the newest
        saved = Saved(home, folder / "copy", keys)
        assert (saved.checkpoints[-1] / "committed").exists()
        yield saved


def has_base(home: JobHome) -> bool:
    for path in home.state_dir.glob("counting/chk-*/manifest"):
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            if any(store.base for store in decode(path.read_bytes(), str(path)).stores):
                return True
    return False


@pytest.fixture(scope="module")
def unmarked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """The newest checkpoint is decided but not committed."""
    folder = tmp_path_factory.mktemp("unmarked")
    with a_home_of(folder, 500) as home:
        home.start(fault="after_manifest_durable@6").wait_until_killed()
        saved = Saved(home, folder / "copy", 500)
        assert not (saved.checkpoints[-1] / "committed").exists()
        assert saved.manifest(-1).committables
        yield saved


def require_refused(saved: Saved, damaged: Path) -> None:
    """The start stops, names the file, and changes neither output nor checkpoints."""
    out = saved.home.state_dir / "out"
    before = [path.name for path in saved.checkpoints], [path.name for path in part_files(out)]
    job = saved.home.start()
    assert job.wait() == 1, job.said
    assert str(damaged) in job.said
    assert "--from ID" in job.said
    assert before == ([path.name for path in saved.checkpoints], [path.name for path in part_files(out)])


def test_the_saved_checkpoints_have_a_base_and_logs(marked: Saved) -> None:
    roles = set(marked.files(-1).values())
    assert "CURRENT" in roles
    assert any(role.endswith(".sst") for role in roles)
    assert "log" in roles


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damaged_file_of_a_committed_checkpoint_stops_the_start_and_is_named(
    marked: Saved, damage: Damage
) -> None:
    marked.restore()
    targets = [*marked.files(-1), marked.checkpoints[-1] / "manifest"]
    for target in targets:
        marked.restore()
        if target.stat().st_size or damage is missing:  # RocksDB keeps an empty file, too
            damage(target)
            require_refused(marked, target)
    assert len(targets) >= 6


def test_a_committed_checkpoint_that_was_put_back_is_gone_on_from(marked: Saved) -> None:
    marked.restore()
    target = next(iter(marked.files(-1)))
    data = target.read_bytes()
    target.unlink()
    require_refused(marked, target)
    target.write_bytes(data)
    marked.finish()


def test_a_marker_that_is_missing_or_damaged_means_settling_again(marked: Saved) -> None:
    for damage in (missing, one_bit_changed):
        marked.restore()
        damage(marked.checkpoints[-1] / "committed")
        marked.finish()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_log_of_an_uncommitted_checkpoint_lets_the_job_go_back(unmarked: Saved, damage: Damage) -> None:
    unmarked.restore()
    (target,) = [path for path, role in unmarked.files(-1).items() if role == "log" and path not in unmarked.files(-2)]
    damage(target)
    said = unmarked.finish()
    assert "warning: going back from checkpoint" in said
    assert str(target) in said


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_manifest_stops_the_start_though_it_was_not_committed(unmarked: Saved, damage: Damage) -> None:
    unmarked.restore()
    target = unmarked.checkpoints[-1] / "manifest"
    damage(target)
    require_refused(unmarked, target)


def test_a_file_that_every_checkpoint_needs_stops_the_start(unmarked: Saved) -> None:
    unmarked.restore()
    target = next(path for path in unmarked.files(-1) if path in unmarked.files(-2))
    target.unlink()
    require_refused(unmarked, target)


def test_an_empty_state_directory_of_a_job_with_history_is_not_taken_for_a_new_job(marked: Saved) -> None:
    marked.restore()
    for path in marked.checkpoints:
        shutil.rmtree(path)
    job = marked.home.start()
    assert job.wait() == 1, job.said
    assert "--from none" in job.said
