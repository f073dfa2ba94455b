"""Jobs that fail on the way: restarts, records that cannot be processed, stops, checkpoints that do not complete."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, Restart, Stream
from streamlet.connect import Batch, Committable, Sink, SinkContext
from streamlet.errors import CheckpointDamagedError
from streamlet.ports import Disk
from streamlet.state.backends import folding, memory
from streamlet.state.encoding.key_groups import key_group, pack_key, subtask_of
from streamlet.state.log import log_set as log_set
from streamlet_connectors.files import FileSink, JsonLines
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import BACKENDS, Failing, Waiting, lines, make_job, run, storage

AT_ONCE = timedelta(milliseconds=1)


def _counted(job: Job, numbers: Stream[int], folder: Path) -> Job:
    """Counts per rest of 7 into `out`; what comes out is exact when each number was counted once."""
    counts = numbers.key_by(lambda number: number % 7, uid="k").aggregate(
        Count(), result=lambda rest, count: [rest, count], uid="count"
    )
    counts.sink(FileSink(folder / "out"), uid="out")
    return job


def _counts(numbers: int) -> list[list[int]]:
    return [[number % 7, number // 7 + 1] for number in range(numbers)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parallelism", [1, 2])
def test_after_a_failure_the_job_goes_on_from_its_checkpoint_and_output_is_exact(
    backend: str, parallelism: int, tmp_path: Path
) -> None:
    failing = Failing(75, 130, 131)
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE, attempts=3), state_backend=backend, parallelism=parallelism)
    numbers = job.source(Waiting(200, 50, 100), uid="numbers", parallelism=1).map(failing, uid="failing")
    ran = run(_counted(job, numbers, tmp_path))
    assert ran.code == 0, ran
    assert failing.failures == 3
    assert ran.said.count("job: restored checkpoint") == 3
    assert sorted(lines(tmp_path / "out")) == sorted(_counts(200))


def test_a_failure_before_the_first_checkpoint_begins_anew_without_doubling(tmp_path: Path) -> None:
    failing = Failing(3)
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE), checkpoint_interval=timedelta(hours=1))
    numbers = job.source(Waiting(30), uid="numbers").map(failing, uid="failing")
    assert run(_counted(job, numbers, tmp_path)).code == 0
    assert lines(tmp_path / "out") == _counts(30)


def test_a_log_that_cannot_be_read_when_it_is_folded_ends_the_attempt_and_not_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folded: list[Sequence[Path]] = []

    def fails_once(disk: Disk, logs: Sequence[Path], *groups: int) -> Any:
        folded.append(logs)
        if len(folded) == 1:
            raise CheckpointDamagedError(f"delta log {logs[0]}: it cannot be opened")
        return folding.merge_logs(disk, logs, *groups)

    monkeypatch.setattr(memory, "merge_logs", fails_once)
    monkeypatch.setattr(log_set, "FOLD_LOGS", 2)
    monkeypatch.setattr(log_set, "REWRITTEN", 0)
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE, attempts=3), state_backend="memory")
    numbers = job.source(Waiting(200, 50, 100, 150), uid="numbers")
    ran = run(_counted(job, numbers, tmp_path))
    assert ran.code == 0, ran
    assert f"state of numbers[0] cannot be folded: delta log {folded[0][0]}: it cannot be opened" in caplog.text
    assert len(folded) > 1
    assert sorted(lines(tmp_path / "out")) == sorted(_counts(200))


def test_when_the_restarts_are_used_up_the_job_suspends_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    failing = Failing(60, 61, 62, 63)
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE, attempts=2))
    numbers = job.source(Waiting(100, 50), uid="numbers").map(failing, uid="failing")
    ran = run(_counted(job, numbers, tmp_path))
    assert ran.code == 1
    assert failing.failures == 3
    assert "RuntimeError: number 62" in ran.said
    newest = max(info.id for info in storage(tmp_path).checkpoints())
    last = ran.said.splitlines()[-1]
    assert last.startswith("job: suspended after 2 restarts")
    assert f"checkpoint {newest} is kept; run the job again to go on" in last
    assert lines(tmp_path / "out") == _counts(50)


def test_a_suspended_job_goes_on_when_it_is_started_again(tmp_path: Path) -> None:
    for failing, code in ((Failing(60), 1), (Failing(), 0)):
        job = make_job(tmp_path)
        numbers = job.source(Waiting(100, 50), uid="numbers").map(failing, uid="failing")
        assert run(_counted(job, numbers, tmp_path)).code == code
    assert lines(tmp_path / "out") == _counts(100)


def test_a_record_at_which_a_function_fails_twice_suspends_the_job_at_once(tmp_path: Path) -> None:
    failing = Failing(17, for_ever=True)
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE, attempts=None))
    numbers = job.source(Generator(int, count=100), uid="numbers").map(failing, uid="failing")
    ran = run(_counted(job, numbers, tmp_path))
    assert (ran.code, failing.failures) == (1, 2)
    assert ran.said.splitlines()[-1].startswith("job: suspended after 1 restart")
    assert f"job: {failing.__call__.__code__.co_filename}:" in ran.said
    assert "in map 'failing', subtask 0" in ran.said
    assert "record: generator, index 17" in ran.said


def test_a_poison_record_in_the_input_suspends_at_once_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"n": 1}\n{"n": 2}\n{"n": \n{"n": 4}\n')
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE, attempts=None))
    numbers = job.source(JsonLines(str(tmp_path / "in.jsonl")), uid="in").map(lambda record: int(record["n"]))
    ran = run(_counted(job, numbers, tmp_path))
    assert ran.code == 1
    assert "not JSON" in ran.said
    assert "in.jsonl" in ran.said
    assert "line 3" in ran.said
    assert "restart" not in ran.said.replace("restarts", "")


def test_a_record_that_the_sink_cannot_write_suspends_at_once_and_is_named(tmp_path: Path) -> None:
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE, attempts=None))
    objects = job.source(Generator(lambda index: object() if index == 5 else index, count=9), uid="in")
    objects.sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert "generator, index 5: cannot be written as JSON: $ is an object" in ran.said


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("key", [2.5, None, [1]], ids=repr)
def test_a_key_that_cannot_be_one_suspends_at_once_and_names_the_users_line(
    parallelism: int, key: Any, tmp_path: Path
) -> None:
    job = make_job(tmp_path, restart=Restart.fixed(AT_ONCE, attempts=None), parallelism=parallelism)
    keyed: Any = job.source(Generator(int, count=9), uid="in").key_by(lambda number: key)
    keyed.aggregate(Count(), uid="count").sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 1
    assert "cannot be a key" in ran.said
    assert f"job: {__file__}:" in ran.said
    assert "in aggregate 'count'" in ran.said
    assert "  -> use str, bytes, int, bool" in ran.said


def test_keys_of_two_types_are_refused_though_each_subtask_sees_only_one(tmp_path: Path) -> None:
    owners = {key: subtask_of(key_group(pack_key(key), 128), 2, 128) for key in (*range(20), *map(str, range(20)))}
    number = next(key for key, owner in owners.items() if isinstance(key, int) and owner == 0)
    text = next(key for key, owner in owners.items() if isinstance(key, str) and owner == 1)
    job = make_job(tmp_path, parallelism=2)
    keyed: Any = job.source(Generator(int, count=20), uid="in").key_by(lambda n: number if n < 10 else text)
    keyed.aggregate(Count(), uid="count").sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 1
    told = (f"key {text!r} is str, but the keys here are int", f"key {number} is int, but the keys here are str")
    assert any(one in ran.said for one in told), ran


def test_behind_a_shuffle_an_error_names_the_origin_when_the_job_traces_it(tmp_path: Path) -> None:
    for traces, record in ((False, "record: key 3 (origin not known"), (True, "record: generator, index 17")):
        job = make_job(tmp_path, parallelism=2, trace_origins=traces)
        keyed = job.source(Generator(int, count=100), uid="numbers").key_by(lambda number: number % 7)
        failing = Failing(17)
        keyed.map(failing, uid="failing").sink(FileSink(tmp_path / "out"), uid="out")
        assert record in run(job).said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_a_last_checkpoint_from_which_the_next_run_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    def interrupting(index: int) -> int:
        if index == 600:
            os.kill(os.getpid(), number)
        return index

    def build(function: Any, count: int | None) -> Job:
        job = make_job(tmp_path)
        return _counted(job, job.source(Generator(function, count=count, rate_per_second=50_000), uid="in"), tmp_path)

    ran = run(build(interrupting, None))
    assert ran.code == 0
    assert "stopping with a last checkpoint" in ran.said
    newest = storage(tmp_path).checkpoints()[-1]
    assert newest.manifest is not None
    assert (newest.manifest.kind, newest.is_marked) == ("stop", True)
    last = ran.said.splitlines()[-1]
    assert last.startswith("job: stopped")
    assert f"checkpoint {newest.id} is kept; run the job again to go on" in last
    stopped_at = newest.manifest.positions["in"]["0/1"]
    assert lines(tmp_path / "out") == _counts(stopped_at)
    assert run(build(int, stopped_at + 500)).code == 0
    assert lines(tmp_path / "out") == _counts(stopped_at + 500)


class HeldBack(Sink[Any]):
    """Takes nothing until two checkpoints were abandoned, or never anything."""

    delivery = "at_least_once"

    def __init__(self, *, for_ever: bool = False) -> None:
        self.for_ever = for_ever

    def writer(self, context: SinkContext) -> HeldBackWriter:
        return HeldBackWriter(self.for_ever)


class Abandoned(logging.Handler):
    """Sees the warnings that a checkpoint was abandoned."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 2
        self.seen = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.left -= "was abandoned" in record.getMessage()
        if not self.left:
            self.seen.set()


class HeldBackWriter:
    def __init__(self, for_ever: bool) -> None:
        self._abandoned = Abandoned()
        self._go = asyncio.Event() if for_ever else self._abandoned.seen

    async def open(self) -> None:
        logging.getLogger("streamlet.checkpoint").addHandler(self._abandoned)

    async def write(self, batch: Batch[Any]) -> None:
        await self._go.wait()

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        return []

    async def released(self, committables: Sequence[Committable]) -> None: ...

    async def close(self) -> None:
        logging.getLogger("streamlet.checkpoint").removeHandler(self._abandoned)


def test_a_source_that_was_held_back_over_two_abandoned_checkpoints_still_sends_both_barriers(tmp_path: Path) -> None:
    job = make_job(tmp_path, checkpoint_timeout=timedelta(milliseconds=50), stalled_intervals=10**6)
    slow = job.source(Generator(int, count=200), uid="slow")
    slow.sink(HeldBack(), uid="held-back")
    fast = job.source(Generator(int, count=200), uid="fast")
    slow.union(fast, uid="both").sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    assert sorted(lines(tmp_path / "out")) == sorted([*range(200), *range(200)])


def test_checkpoints_that_never_complete_fail_the_attempt_and_name_who_is_missing(tmp_path: Path) -> None:
    job = make_job(tmp_path, checkpoint_timeout=timedelta(milliseconds=20), stalled_intervals=2)
    job.source(Generator(int, count=200), uid="numbers").sink(HeldBack(for_ever=True), uid="never")
    ran = run(job)
    assert ran.code == 1
    assert "no checkpoint was completed for" in ran.said
    assert "timed out waiting for numbers[0] (the barrier has not come)" in ran.said
