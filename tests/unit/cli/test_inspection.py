"""`streamlet plan` and `streamlet checkpoints`: looking without running."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from tests.unit.cli_kit import JOB, cli, here, write_job

pytestmark = pytest.mark.outside


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a job that has run to its end. Tests only look."""
    folder = tmp_path_factory.mktemp("finished")
    write_job(folder)
    assert cli(folder, "run", "job.py", "--", "100").returncode == 0
    return folder


def test_plan_shows_tasks_and_runs_nothing(tmp_path: Path) -> None:
    write_job(tmp_path, JOB.replace('Job("job"', 'Job("job", parallelism=2'))
    done = cli(tmp_path, "plan", "job.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "task numbers x2: source 'numbers' > map 'failing' > key_by 'k'",
        "  hash -> task count x2",
        "task count x2: aggregate 'count' > sink 'out'",
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["job.py"]


def test_plan_warns_of_what_has_no_uid_of_its_own(tmp_path: Path) -> None:
    write_job(tmp_path, JOB.replace(', uid="count")', ")").replace("int(sys.argv[1]) if len(sys.argv) > 1", "5 if sys"))
    done = cli(tmp_path, "plan", "job.py")
    assert done.returncode == 0
    (warning,) = done.stderr.splitlines()
    assert warning.startswith(f"warning: {tmp_path / 'job.py'}:")
    assert "' has no uid of its own" in warning


def test_plan_says_what_is_wrong_and_gives_the_file_its_arguments(tmp_path: Path) -> None:
    write_job(tmp_path, 'import sys\nraise RuntimeError(f"got {sys.argv[1:]}")\n')
    done = cli(tmp_path, "plan", "job.py", "--", "-x", "1")
    assert done.returncode == 2
    assert "job.py:2 in <module>: RuntimeError: got ['-x', '1']" in done.stderr


@pytest.mark.parametrize("job", ["job.py", "job"])
def test_checkpoints_are_listed_by_job_file_and_by_name(job: str, finished: Path) -> None:
    done = cli(finished, "checkpoints", "list", job)
    assert (done.returncode, done.stderr) == (0, "")
    title, header, *rows = done.stdout.splitlines()
    assert title == "job 'job' in streamlet-state/job"
    assert header.split() == ["id", "kind", "age", "committed", "size", "restored", "from"]
    infos = CheckpointStorage(finished / "streamlet-state", "job", LocalDisk()).checkpoints()
    assert [int(row.split()[0]) for row in rows] == [info.id for info in infos]
    assert rows[-1].split()[1] == "final"
    assert " yes " in rows[-1]


def test_a_job_that_never_ran_has_no_checkpoints(tmp_path: Path) -> None:
    write_job(tmp_path)
    done = cli(tmp_path, "checkpoints", "list", "job.py")
    assert done.returncode == 0
    assert done.stdout == "job 'job' has no checkpoint in streamlet-state/job\n"
    assert not (tmp_path / "streamlet-state").exists()


def test_whole_checkpoints_are_verified(finished: Path) -> None:
    done = cli(finished, "checkpoints", "verify", "job.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert all(line.endswith(": whole") for line in done.stdout.splitlines())


def test_a_damaged_checkpoint_is_named_and_exit_code_1(tmp_path: Path) -> None:
    write_job(tmp_path)
    assert cli(tmp_path, "run", "job.py").returncode == 0
    storage = CheckpointStorage(tmp_path / "streamlet-state", "job", LocalDisk())
    newest = storage.checkpoints()[-1]
    assert newest.manifest is not None
    damaged = storage.files / newest.manifest.stores[0].files()[-1].name
    damaged.unlink()
    done = cli(tmp_path, "checkpoints", "verify", "job", "--state-dir", "streamlet-state")
    assert done.returncode == 1
    assert f"checkpoint {newest.id}: " in done.stdout
    assert damaged.name in done.stdout


def test_a_job_that_is_neither_file_nor_name_is_refused(tmp_path: Path) -> None:
    done = cli(tmp_path, "checkpoints", "list", "nothing")
    assert done.returncode == 2
    assert "there is no job file nothing" in done.stderr


def test_a_checkpoint_is_shown_with_states_positions_and_output(finished: Path) -> None:
    done = cli(finished, "checkpoints", "show", "job.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "of job 'job', final, in " in done.stdout
    assert "its output is committed" in done.stdout
    assert "  0/1: 100" in done.stdout
    assert "state count / accumulator: value of int, 1 subtasks" in done.stdout


def test_checkpoints_are_compared_by_entries_and_those_that_nothing_needs_are_deleted(
    tmp_path: Path,
) -> None:
    write_job(tmp_path, JOB.replace("restart=Restart.none()", "restart=Restart.none(), retain=50"))
    assert cli(tmp_path, "run", "job.py", "--", "200", "2000").returncode == 0
    storage = CheckpointStorage(tmp_path / "streamlet-state", "job", LocalDisk())
    ids = [info.id for info in storage.checkpoints()]
    assert len(ids) > 2
    place = str(storage.checkpoints()[-1].path)
    same = here("checkpoints", "diff", place, place, place, "--entries")
    assert (same.exit_code, same.stdout) == (0, "")
    done = cli(tmp_path, "checkpoints", "diff", "job", str(ids[0]), str(ids[-1]), "--entries")
    assert done.returncode == 1
    assert "source numbers: 0/1: 0 -> 200" in done.stdout
    assert "state count / accumulator: 7 entries new, 0 gone, 0 changed" in done.stdout
    kept = cli(tmp_path, "checkpoints", "delete", "job", str(ids[-1]))
    assert kept.returncode == 2
    assert f"checkpoint {ids[-1]} is needed to go on" in kept.stderr
    missing = cli(tmp_path, "checkpoints", "delete", "job", "99999")
    assert missing.returncode == 2
    assert "has no checkpoint 99999" in missing.stderr
    done = cli(tmp_path, "checkpoints", "delete", "job", str(ids[0]), str(ids[1]))
    assert (done.returncode, done.stdout) == (0, f"deleted: {ids[0]}, {ids[1]}\n")
    assert [info.id for info in storage.checkpoints()] == ids[2:]
    assert storage.unnamed() == []
    assert cli(tmp_path, "checkpoints", "verify", "job").returncode == 0
