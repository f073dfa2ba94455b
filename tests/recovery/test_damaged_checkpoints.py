"""A checkpoint whose files are not what was written is never restored: the start stops and names the file, or goes
back where that loses and doubles nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest

from streamlet.checkpoint.manifest import Manifest, decode
from tests.recovery.part_files import check_counts, part_files
from tests.recovery.running_jobs import PROJECT, JobHome, a_home, is_full_run
from tests.recovery.saved_store import Damage, damages

pytestmark = pytest.mark.timeout(1800 if is_full_run() else 240)

COUNTING = PROJECT / "tests" / "recovery" / "counting.py"
COUNT = 30_000
SEED = 7


KINDS = tuple(damages(SEED))
SAMPLE = {damage.name: damage for damage in KINDS}
FEW = [SAMPLE[name] for name in ("missing", "empty", "cut at 75%", "bit 3")]


def cells(targets: Sequence[Path]) -> Iterator[tuple[Path, Damage]]:
    """Every file times every damage, or by default every file once, with one damage after the other."""
    if is_full_run():
        yield from ((path, damage) for path in targets for damage in KINDS)
    else:
        yield from zip(targets, cycle(FEW), strict=False)


def damaged(path: Path, damage: Damage, other: Path) -> bool:
    """Damages a file; False when that changes nothing (RocksDB keeps an empty file, too)."""
    data = path.read_bytes()
    changed = damage.change(data, other.read_bytes()) if data or damage.name == "missing" else data
    path.unlink()
    if changed is not None:
        path.write_bytes(changed)
    return changed != data


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
        self.check()
        return job.said

    def check(self) -> None:
        """All output is there, once."""
        check_counts(self.home.state_dir / "out", (number * 7919 % self._keys for number in range(COUNT)), key="key")

    def check_beginning(self) -> None:
        """The output so far is right as far as it goes: each key counts up from 1."""
        seen: Counter[int] = Counter()
        for path in part_files(self.home.state_dir / "out"):
            for line in path.read_bytes().splitlines():
                record = json.loads(line)
                seen[record["key"]] += 1
                assert record["count"] == seen[record["key"]]


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
    """The newest checkpoint is decided but not committed.  Input for three seconds is enough for six checkpoints, also
    where each takes several intervals."""
    folder = tmp_path_factory.mktemp("unmarked")
    with a_home_of(folder, 500, RATE="10000") as home:
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
    assert "--from" in job.said
    assert before == ([path.name for path in saved.checkpoints], [path.name for path in part_files(out)])


def test_the_saved_checkpoints_have_a_base_and_logs(marked: Saved) -> None:
    roles = set(marked.files(-1).values())
    assert "CURRENT" in roles
    assert any(role.endswith(".sst") for role in roles)
    assert "log" in roles


def test_each_damaged_file_of_a_committed_checkpoint_stops_the_start_and_is_named(marked: Saved) -> None:
    marked.restore()
    targets = [*marked.files(-1), marked.checkpoints[-1] / "manifest", marked.folder / "instance"]
    assert len(targets) >= 8
    refused = 0
    for target, damage in cells(targets):
        marked.restore()
        if damaged(target, damage, marked.checkpoints[0] / "manifest"):
            require_refused(marked, target)
            refused += 1
    print(f"{refused} starts from damaged files were refused")
    assert refused >= len(targets) - 1


def test_damaged_state_files_are_found_when_they_are_read_before_any_wrong_output(marked: Saved) -> None:
    """With the verification that is the default, which does not read SST files whole."""
    marked.restore()
    outcomes: Counter[str] = Counter()
    tables = [path for path, role in marked.files(-1).items() if role.endswith(".sst")]
    bits = [damage for damage in KINDS if damage.name.startswith("bit")]
    for number, damage in enumerate(bits if is_full_run() else bits[:2]):
        marked.restore()
        target = tables[number % len(tables)]
        damaged(target, damage, target)
        job = marked.home.start(VERIFY="default")
        if job.wait() == 0:
            marked.check()
            outcomes["nothing wrong was read"] += 1
        else:
            assert str(target) in job.said and "Traceback" not in job.said
            marked.check_beginning()
            outcomes["refused"] += 1
    print(dict(outcomes))


def test_a_committed_checkpoint_that_was_put_back_is_gone_on_from(marked: Saved) -> None:
    marked.restore()
    target = next(iter(marked.files(-1)))
    data = target.read_bytes()
    target.unlink()
    require_refused(marked, target)
    target.write_bytes(data)
    marked.finish()


def test_a_marker_that_is_missing_or_damaged_means_settling_again(marked: Saved) -> None:
    for damage in KINDS if is_full_run() else (SAMPLE["missing"], SAMPLE["bit 3"]):
        marked.restore()
        damaged(marked.checkpoints[-1] / "committed", damage, marked.checkpoints[0] / "committed")
        marked.finish()


@pytest.mark.parametrize("damage", KINDS if is_full_run() else FEW[1:3], ids=str)
def test_a_damaged_log_of_an_uncommitted_checkpoint_lets_the_job_go_back(unmarked: Saved, damage: Damage) -> None:
    unmarked.restore()
    (target,) = [path for path, role in unmarked.files(-1).items() if role == "log" and path not in unmarked.files(-2)]
    assert damaged(target, damage, unmarked.checkpoints[-1] / "manifest")
    said = unmarked.finish()
    assert "warning: going back from checkpoint" in said
    assert str(target) in said


@pytest.mark.parametrize("damage", KINDS if is_full_run() else FEW[2:], ids=str)
def test_a_damaged_manifest_stops_the_start_though_it_was_not_committed(unmarked: Saved, damage: Damage) -> None:
    unmarked.restore()
    target = unmarked.checkpoints[-1] / "manifest"
    assert damaged(target, damage, unmarked.checkpoints[-2] / "manifest")
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
