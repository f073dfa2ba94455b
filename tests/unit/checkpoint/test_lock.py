"""One process at a time runs a job, and its identity outlives all of them."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from streamlet.checkpoint.lock import JobInstance, JobLock
from streamlet.errors import AttemptSupersededError, JobLockedError, StateDirectoryError
from streamlet.machine.disk import LocalDisk
from streamlet.machine.local import local_ports
from streamlet.ports import Disk
from tests.unit.failing_disk import FailingDisk


class FixedClock:
    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic(self) -> float:
        return 0.0


def lock_in(folder: Path) -> JobLock:
    return JobLock(folder, replace(local_ports(), clock=FixedClock()))


def instance_in(folder: Path, disk: Disk | None = None, attempt: str = "attempt-1") -> JobInstance:
    (folder / attempt).mkdir(parents=True, exist_ok=True)
    return JobInstance(folder, disk or LocalDisk(), random.Random(), folder / attempt)


def test_a_held_lock_says_who_holds_it_and_since_when(tmp_path: Path) -> None:
    first = lock_in(tmp_path / "job")
    first.acquire()
    with pytest.raises(JobLockedError, match=rf"process {os.getpid()} on .* since 2023-11-14 22:13:20 UTC") as caught:
        lock_in(tmp_path / "job").acquire()
    assert "--take-over" in str(caught.value.remedy)
    assert first.still_mine()


def test_a_released_lock_may_be_taken(tmp_path: Path) -> None:
    first, second = lock_in(tmp_path), lock_in(tmp_path)
    first.acquire()
    first.release()
    first.release()
    assert not first.still_mine()
    second.acquire()
    assert second.still_mine()


def test_taking_over_shuts_out_the_holder_and_whoever_comes_later(tmp_path: Path) -> None:
    first, second, third = lock_in(tmp_path), lock_in(tmp_path), lock_in(tmp_path)
    first.acquire()
    second.acquire(take_over=True)
    assert not first.still_mine()
    assert second.still_mine()
    first.release()
    with pytest.raises(JobLockedError):
        third.acquire()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_taking_over_a_free_lock_is_taking_it(tmp_path: Path) -> None:
    lock = lock_in(tmp_path)
    lock.acquire(take_over=True)
    assert lock.still_mine()


@pytest.mark.outside
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from streamlet.machine.local import local_ports;"
        "from streamlet.checkpoint.lock import JobLock; JobLock(Path(sys.argv[1]), local_ports()).acquire();"
        "print('locked', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "locked\n"
    lock_in(tmp_path).acquire()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"pid": "x"}', b'{"pid":-1,"host":"h","started_ms":99999999999999999}']
)
def test_a_held_lock_with_unreadable_content_is_still_held(tmp_path: Path, content: bytes) -> None:
    first = lock_in(tmp_path)
    first.acquire()
    (tmp_path / "lock").write_bytes(content)
    with pytest.raises(JobLockedError, match="another process"):
        lock_in(tmp_path).acquire()


@pytest.mark.outside
def test_a_lock_that_outlives_its_process_in_a_child_says_so(tmp_path: Path) -> None:
    import socket

    first = lock_in(tmp_path)
    first.acquire()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "lock").write_text(f'{{"pid": {gone.pid}, "host": "{socket.gethostname()}", "started_ms": 0}}')
    with pytest.raises(JobLockedError, match="that process is gone"):
        lock_in(tmp_path).acquire()


def test_the_instance_is_made_once_and_stays(tmp_path: Path) -> None:
    first = instance_in(tmp_path / "job")
    assert len(first.instance) == 32
    assert instance_in(tmp_path / "job").instance == first.instance
    assert instance_in(tmp_path / "other").instance != first.instance


def test_an_attempt_that_may_have_opened_writers_is_remembered_until_a_later_one_has_fenced_them(
    tmp_path: Path,
) -> None:
    assert instance_in(tmp_path).unfenced(9) == {}
    instance_in(tmp_path).record_opening(3, ["out", "log"])
    instance_in(tmp_path).record_parallelism({"out": 4})
    assert instance_in(tmp_path).unfenced(9) == {"out": [3], "log": [3]}
    instance_in(tmp_path).record_opening(9, ["out"])
    assert instance_in(tmp_path).unfenced(10) == {"out": [9], "log": [3]}, "the sink that is gone was not fenced"
    instance_in(tmp_path).record_opening(10, ["out", "log"])
    assert instance_in(tmp_path).unfenced(11) == {"out": [10], "log": [10]}


def test_a_file_that_names_only_the_last_fenced_attempt_leaves_all_after_it_to_be_fenced(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    instance_in(folder).record_parallelism({"out": 4, "log": 1})
    old = msgspec.json.decode((folder / "instance").read_bytes())
    del old["opened"]
    old |= {"fenced": 5, "checksum": ""}
    summed = hashlib.blake2b(msgspec.json.encode(old, order="sorted"), digest_size=16).hexdigest()
    (folder / "instance").write_bytes(msgspec.json.encode(old | {"checksum": summed}))
    assert instance_in(folder).unfenced(9) == {"out": [6, 7, 8], "log": [6, 7, 8]}
    instance_in(folder).record_parallelism({"out": 5})
    instance_in(folder).record_opening(9, ["out"])
    assert instance_in(folder).unfenced(11) == {"out": [9], "log": [6, 7, 8]}


def test_the_highest_parallelism_of_each_sink_only_rises(tmp_path: Path) -> None:
    instance_in(tmp_path).record_parallelism({"out": 4, "log": 1})
    instance_in(tmp_path).record_parallelism({"out": 2, "log": 3})
    assert instance_in(tmp_path).highest_parallelism() == {"out": 4, "log": 3}


def test_a_parallelism_that_could_not_be_recorded_is_not_believed(tmp_path: Path) -> None:
    instance_in(tmp_path)
    disk = FailingDisk()
    instance = instance_in(tmp_path, disk)
    instance.record_parallelism({"out": 1})
    disk.fail_all(errno.ENOSPC, "fsync")
    with pytest.raises(StateDirectoryError, match="No space left"):
        instance.record_parallelism({"out": 9})
    assert instance.highest_parallelism() == {"out": 1}
    assert instance_in(tmp_path).highest_parallelism() == {"out": 1}


class TakenOver(LocalDisk):
    """Another process takes the job over just before a file gets its name, and writes its own."""

    def rename(self, source: Path, target: Path) -> None:
        if target.name == "instance":
            source.parent.rename(source.parent.with_name("superseded-1"))
            instance_in(target.parent, attempt="attempt-2").record_parallelism({"out": 7})
        super().rename(source, target)


def test_a_process_that_was_taken_over_does_not_overwrite_who_the_job_is(tmp_path: Path) -> None:
    with pytest.raises(AttemptSupersededError, match="attempt-1 is gone"):
        instance_in(tmp_path, TakenOver())
    assert instance_in(tmp_path, attempt="attempt-2").highest_parallelism() == {"out": 7}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"instance": "short"}', b"\xff", b'{"instance": 1}'])
def test_a_damaged_instance_is_never_replaced_silently(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "instance").write_bytes(content)
    with pytest.raises(StateDirectoryError, match="instance is damaged"):
        instance_in(tmp_path)
    assert (tmp_path / "instance").read_bytes() == content


@pytest.mark.parametrize("more", [b"", b', "new": {"a": 1}', b', "parallelism": 3'])
def test_an_instance_of_a_later_format_is_not_called_damaged(more: bytes, tmp_path: Path) -> None:
    content = b'{"instance": "some", "version": 2' + more + b"}"
    (tmp_path / "instance").write_bytes(content)
    with pytest.raises(StateDirectoryError, match="is of format 2; this streamlet reads formats up to 1") as caught:
        instance_in(tmp_path)
    assert "nothing is damaged" in str(caught.value.remedy)
    assert (tmp_path / "instance").read_bytes() == content


def test_an_instance_from_before_formats_had_numbers_is_read_and_written_with_one(tmp_path: Path) -> None:
    instance = instance_in(tmp_path)
    early = msgspec.json.decode((tmp_path / "instance").read_bytes(), type=dict[str, object])
    assert early.pop("version") == 1
    early["checksum"] = ""
    ordered = msgspec.json.encode(early, order="sorted")
    early["checksum"] = hashlib.blake2b(ordered, digest_size=16).hexdigest()
    (tmp_path / "instance").write_bytes(msgspec.json.encode(early))
    again = instance_in(tmp_path)
    assert again.instance == instance.instance
    again.record_parallelism({"out": 2})
    assert b'"version":1' in (tmp_path / "instance").read_bytes()


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fsync"])
def test_a_lock_that_cannot_be_made_says_where_and_what_to_do(tmp_path: Path, call: str) -> None:
    disk = FailingDisk()
    disk.fail_all(errno.EACCES, call)
    lock = JobLock(tmp_path / "job", replace(local_ports(), disk=disk))
    with pytest.raises(StateDirectoryError, match=r"job/lock cannot be locked: Permission denied") as caught:
        lock.acquire()
    assert "file system" in str(caught.value.remedy)
    assert not lock.still_mine()
    lock_in(tmp_path / "job").acquire()
