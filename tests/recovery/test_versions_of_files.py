"""Every file that streamlet writes says its version, and so do its processes; a newer one is refused by it."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from xxhash import xxh3_64_intdigest

from streamlet.checkpoint import manifest
from streamlet.checkpoint.lock import JobLock, read_instance
from streamlet.config import JobConfig
from streamlet.errors import CheckpointError, JobDefinitionError, JobLockedError, StateDirectoryError
from streamlet.inspect import open_checkpoint
from streamlet.machine.disk import LocalDisk
from streamlet.machine.local import local_ports
from streamlet.runtime.processes import messages
from streamlet.runtime.processes.link import framed
from streamlet.runtime.processes.messages import JobFile
from streamlet.runtime.processes.worker_host import MODULE
from streamlet.state.log import file as log

GOLDEN = Path(__file__).parent / "golden" / "format-2"
NEWER = 99


def version_of(path: Path) -> str:
    """By what the version of a file of a state directory is said; fails for a file that says none."""
    data = path.read_bytes()
    if path.name in ("instance", "lock"):
        return f"its own, {json.loads(data)['version']}"
    if path.name == "manifest":
        assert data.startswith(manifest.MAGIC)
        return f"its own, {struct.unpack_from('>H', data, 8)[0]}"
    if path.suffix == ".log" and data.startswith(log.MAGIC):
        return f"its own, {struct.unpack_from('>H', data, 8)[0]}"
    if path.name == "committed":
        return f"the manifest beside it: {data.split()[0].decode()}"
    if path.name == "began":
        assert data == b""
        return "nothing in it"
    assert path.parent.name == "files", f"{path} says no version"
    return "RocksDB's, by its own"


def test_every_file_of_a_state_directory_says_its_version(tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    shutil.copytree(GOLDEN / "prepared" / "streamlet-state" / "whole", folder)
    lock = JobLock(folder, local_ports())
    lock.acquire()
    lock.release()
    shutil.copytree(GOLDEN / "kinds" / "rocksdb" / "files", folder / "files", dirs_exist_ok=True)
    found = {path.name: version_of(path) for path in folder.rglob("*") if path.is_file()}
    assert found["manifest"] == f"its own, {manifest.VERSION}"
    assert found["instance"] == found["lock"] == "its own, 1"
    assert {by for name, by in found.items() if name.endswith(".log")} == {
        f"its own, {log.VERSION}",
        "RocksDB's, by its own",  # its write-ahead log, which is empty
    }


def newer(place: Path, offset: int) -> None:
    data = bytearray(place.read_bytes())
    data[offset : offset + 2] = NEWER.to_bytes(2, "big")
    place.write_bytes(data)


def newer_log(folder: Path) -> None:
    """Every log, each whole."""
    for path in folder.glob("files/*.log"):
        data = bytearray(path.read_bytes())
        if data.startswith(log.MAGIC):
            head = 8 + 2 + 8 + 4 + 8 + 8
            data[8:10] = NEWER.to_bytes(2, "big")
            data[head : head + 8] = xxh3_64_intdigest(bytes(data[:head])).to_bytes(8, "big")
            path.write_bytes(data)


def read_whole(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        for state in checkpoint.states():
            list(state.rows())


def read_manifest(folder: Path) -> None:
    (path,) = folder.glob("chk-*/manifest")
    manifest.decode(path.read_bytes(), str(path))


def newer_manifest(folder: Path) -> None:
    import hashlib

    (path,) = folder.glob("chk-*/manifest")
    newer(path, 8)
    data = path.read_bytes()[:-16]
    path.write_bytes(data + hashlib.blake2b(data, digest_size=16).digest())


def newer_instance(folder: Path) -> None:
    (folder / "instance").write_text(json.dumps({"version": NEWER, "who": "me"}))


def read_of_instance(folder: Path) -> None:
    read_instance(LocalDisk(), folder)


@pytest.mark.parametrize(
    ("change", "read", "error", "message"),
    [
        (newer_manifest, read_manifest, CheckpointError, r"manifest is a checkpoint of format 99; .* formats 1 to 2\n"),
        (newer_manifest, read_whole, CheckpointError, r"manifest is a checkpoint of format 99; .* formats 1 to 2\n"),
        (newer_log, read_whole, CheckpointError, r"is a delta log of format 99; this streamlet reads format 1\n"),
        (newer_instance, read_of_instance, StateDirectoryError, r"instance is of format 99; .* formats up to 1\n"),
    ],
)
def test_a_newer_file_is_refused_by_its_version_and_is_not_damaged(
    tmp_path: Path,
    change: Callable[[Path], None],
    read: Callable[[Path], None],
    error: type[Exception],
    message: str,
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(GOLDEN / "kinds" / "memory", folder)  # as a savepoint lies
    change(folder)
    with pytest.raises(error, match=message) as refused:
        read(folder)
    assert type(refused.value) is error
    assert "version of streamlet that" in str(refused.value)
    assert "nothing is damaged" in str(refused.value)


def test_what_a_newer_lock_says_of_its_holder_is_told_as_far_as_it_is_known(tmp_path: Path) -> None:
    first = JobLock(tmp_path, local_ports())
    first.acquire()
    (tmp_path / "lock").write_text('{"version":99,"pid":1,"host":"elsewhere","started_ms":0,"mood":"good"}')
    with pytest.raises(JobLockedError, match="run by process 1 on elsewhere"):
        JobLock(tmp_path, local_ports()).acquire()
    first.release()


@pytest.mark.parametrize("version", [0, NEWER])
def test_a_worker_of_another_release_refuses_its_parent_by_the_version_and_nothing_is_run(
    tmp_path: Path, version: int
) -> None:
    """As when streamlet is replaced on the disk while a job runs, which then starts new workers."""
    made = tmp_path / "imported"
    (tmp_path / "job.py").write_text(f"open({str(made)!r}, 'w')")
    given = msgspec.structs.replace(JobFile(str(tmp_path / "job.py"), [], JobConfig(), 2, 0, "plan"), version=version)
    first = messages.encoded(given)
    with pytest.raises(JobDefinitionError, match=f"version 1 to other .* version {version}: streamlet was replaced"):
        messages.job_file_of(first)
    (worker,) = local_ports().processes.hosts(MODULE, 1)
    with worker.control as ours:
        ours.setblocking(True)
        ours.sendall(framed(first))
        answer = b""
        while more := ours.recv(1 << 16):
            answer += more
    assert worker.wait(30) == 1
    told = messages.from_worker_of(answer[4:])
    assert isinstance(told, messages.Failed)
    assert told.is_final
    assert f"version {version}: streamlet was replaced while the job ran" in told.message
    assert not made.exists()
