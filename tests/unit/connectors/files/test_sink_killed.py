"""The file sink under kill -9 and power loss: killed at the named points, and the order of what makes it durable."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamlet.connect import Batch, Outcome, SinkContext, SystemClock
from streamlet_connectors.files import FileSink

PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
import msgspec
from streamlet.connect import Batch, Committable, SinkContext, SystemClock
from streamlet_connectors.files import FileSink

out, log = Path(sys.argv[1]), Path(sys.argv[2])

async def main():
    sink = FileSink(out)
    where = dict(job="job", instance="i", uid="out", parallelism=1, clock=SystemClock(), run_blocking=asyncio.to_thread)
    committer = sink.committer(SinkContext(subtask=-1, **where))
    decided = [msgspec.json.decode(line, type=Committable) for line in log.read_bytes().splitlines()]
    for committable in decided:
        await committer.commit(committable)
    await committer.fence(1, decided)
    writer = sink.writer(SinkContext(subtask=0, **where))
    await writer.open()
    for n in range(len(decided), 5):
        await writer.write(Batch([n] * 10))
        (committable,) = await writer.prepare_commit(n)
        with log.open("ab") as file:                      # stands for the durable checkpoint
            file.write(msgspec.json.encode(committable) + b"\\n")
            file.flush()
            os.fsync(file.fileno())
        await committer.commit(committable)

asyncio.run(main())
"""


def run_program(out: Path, log: Path, fault: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out), str(log)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "STREAMLET_FAULT": fault},
        timeout=60,
        check=False,
    ).returncode


@pytest.mark.outside
@pytest.mark.parametrize("hit", [1, 3])
@pytest.mark.parametrize("point", ["file_prepared", "file_committed"])
def test_a_process_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path, point: str, hit: int) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    log.touch()
    assert run_program(out, log, f"{point}@{hit}") == -signal.SIGKILL
    assert run_program(out, log, f"{point}@{hit}") in (-signal.SIGKILL, 0)  # also while it restores
    assert run_program(out, log, "") == 0
    files = sorted(path for path in out.iterdir() if not path.name.startswith("."))
    written = [int(line) for path in files for line in path.read_bytes().split()]
    assert written == [n for n in range(5) for _ in range(10)]
    assert len(list(out.iterdir())) == len(files)


def test_names_and_bytes_are_durable_before_the_next_step_relies_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link, unlink = os.fsync, os.link, Path.unlink

    def noted_fsync(descriptor: int) -> None:
        steps.append("fsync directory" if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir() else "fsync file")
        fsync(descriptor)

    def noted_link(source: Path, target: Path, *, follow_symlinks: bool) -> None:
        steps.append("link")
        link(source, target, follow_symlinks=follow_symlinks)

    def noted_unlink(path: Path, missing_ok: bool = False) -> None:
        steps.append("unlink")
        unlink(path, missing_ok=missing_ok)

    async def scenario() -> None:
        context = SinkContext(
            job="job",
            instance="i",
            uid="out",
            subtask=0,
            parallelism=1,
            clock=SystemClock(),
            run_blocking=asyncio.to_thread,
        )
        sink: FileSink[int] = FileSink(tmp_path / "out")
        writer, committer = sink.writer(context), sink.committer(context)
        await writer.open()
        assert steps == ["fsync directory"]  # the parent, which names the new directory
        await writer.write(Batch([1]))
        (committable,) = await writer.prepare_commit(1)
        assert steps[1:] == ["fsync file", "fsync directory"]
        await committer.commit(committable)
        assert steps[3:] == ["link", "fsync directory", "unlink"]
        assert await committer.outcomes([committable]) == [Outcome.COMMITTED]
        assert steps[6:] == ["fsync directory"]  # a link that only the page cache knows is no commit yet

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "link", noted_link)
    monkeypatch.setattr(Path, "unlink", noted_unlink)
    asyncio.run(scenario())
