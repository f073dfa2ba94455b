"""What a job goes on from: chosen checkpoints, other parallelisms, and changes that its state does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, KeyedProcessFunction, ListState, ProcessContext, Sum, ValueState
from streamlet.dsl import KeyedStream
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import BACKENDS, Failing, Ran, Waiting, checkpoint_at, files, lines, make_job, run, storage

COUNT = 100


def _rows(start: int = 0, end: int = COUNT) -> list[list[int]]:
    return [[number % 7, number // 7 + 1] for number in range(start, end)]


def _keyed(job: Job, *pauses: int, failing: Failing | None = None) -> KeyedStream[int, int]:
    numbers = job.source(Waiting(COUNT, *pauses), uid="numbers", parallelism=1)
    return numbers.map(failing or Failing(), uid="failing").key_by(lambda number: number % 7, uid="k")


def _row(rest: int, count: int) -> list[int]:
    return [rest, count]


def _count(folder: Path, *pauses: int, failing: Failing | None = None, **settings: Any) -> Job:
    job = make_job(folder, **settings)
    counts = _keyed(job, *pauses, failing=failing).aggregate(Count(), result=_row, uid="count")
    counts.sink(FileSink(folder / "out"), uid="out")
    return job


def _suspended(folder: Path, **settings: Any) -> int:
    """Leaves a job that failed behind a marked checkpoint of its first 50 numbers; gives that checkpoint."""
    assert run(_count(folder, 50, failing=Failing(55), **settings)).code == 1
    assert lines(folder / "out") == _rows(0, 50)
    return checkpoint_at(folder, 50)


def _refused(ran: Ran, *said: str, code: int = 1) -> None:
    assert ran.code == code, ran
    for text in said:
        assert text in ran.said, ran
    assert "\n  -> " in ran.said


def test_from_none_starts_empty_this_once(tmp_path: Path) -> None:
    _suspended(tmp_path)
    before = files(tmp_path / "out")
    ran = run(_count(tmp_path, 30, failing=Failing(40)), from_checkpoint="none")
    assert ran.code == 1
    assert lines(tmp_path / "out", but=before) == _rows(0, 30)
    assert run(_count(tmp_path)).code == 0
    assert lines(tmp_path / "out", but=before) == _rows()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [int, str])
def test_from_an_id_goes_back_to_that_checkpoint_and_stays_there(
    backend: str, kind: Callable[[int], Any], tmp_path: Path
) -> None:
    assert run(_count(tmp_path, 30, 60, state_backend=backend)).code == 0
    before = files(tmp_path / "out")
    chosen = checkpoint_at(tmp_path, 30)
    ran = run(_count(tmp_path, state_backend=backend, failing=Failing(30)), from_checkpoint=kind(chosen))
    assert f"job: restored checkpoint {chosen} " in ran.said
    assert ran.code == 1
    assert run(_count(tmp_path, state_backend=backend)).code == 0
    assert lines(tmp_path / "out", but=before) == _rows(30)


@pytest.mark.parametrize("backend", BACKENDS)
def test_from_a_path_takes_a_checkpoint_of_another_state_directory(backend: str, tmp_path: Path) -> None:
    assert run(_count(tmp_path, 30, 60, state_backend=backend)).code == 0
    before = files(tmp_path / "out")
    copy = tmp_path / "copy"
    shutil.copytree(storage(tmp_path).folder, copy)
    path = copy / storage(tmp_path).load(checkpoint_at(tmp_path, 60)).path.name
    ran = run(_count(tmp_path, state_backend=backend, state_dir=str(tmp_path / "other")), from_checkpoint=path)
    assert ran.code == 0, ran
    assert lines(tmp_path / "out", but=before) == _rows(60)
    shutil.rmtree(copy)
    assert run(_count(tmp_path, state_backend=backend, state_dir=str(tmp_path / "other"))).code == 0


@pytest.mark.parametrize(
    ("wanted", "message"), [("99999", "there is no checkpoint 99999"), ("/nowhere/at/all", "is no checkpoint")]
)
def test_a_checkpoint_that_is_not_there_is_refused_and_nothing_changes(
    wanted: str, message: str, tmp_path: Path
) -> None:
    _suspended(tmp_path)
    ran = run(_count(tmp_path), from_checkpoint=wanted)
    assert ran.code == 2
    assert message in ran.said
    assert run(_count(tmp_path)).code == 0
    assert lines(tmp_path / "out") == _rows()


@pytest.mark.parametrize(("written", "read"), [("memory", "rocksdb"), ("rocksdb", "memory")])
def test_a_checkpoint_of_one_backend_is_restored_by_the_other(written: str, read: str, tmp_path: Path) -> None:
    _suspended(tmp_path, state_backend=written)
    assert run(_count(tmp_path, state_backend=read)).code == 0
    assert lines(tmp_path / "out") == _rows()


class Last(KeyedProcessFunction[int, int, list[Any]]):
    last = ValueState(int)
    seen = ListState(int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterator[list[Any]]:
        self.seen.add(value)
        yield [ctx.key, self.last.value(), len(self.seen)]
        self.last.update(value)


def _two_states(folder: Path, parallelism: int, *pauses: int, failing: Failing, backend: str) -> Job:
    job = make_job(folder, state_backend=backend)
    # Before it there is one subtask only: of several, one may overtake another with the numbers of a key.
    keyed = _keyed(job, *pauses, failing=failing)
    keyed.process(Last(), uid="last", parallelism=parallelism).sink(FileSink(folder / "last"), uid="last-out")
    sums = keyed.aggregate(Count(), Sum(), result=lambda *row: list(row), uid="sums", parallelism=parallelism)
    sums.sink(FileSink(folder / "sums"), uid="sums-out")
    return job


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parallelisms", [(1, 3, 1), (3, 1, 2), (2, 3, 2)])
def test_state_moves_to_another_parallelism_and_back(
    backend: str, parallelisms: tuple[int, ...], tmp_path: Path
) -> None:
    ends = [(30, Failing(35), 1), (60, Failing(65), 1), (90, Failing(), 0)]
    for parallelism, (pause, failing, code) in zip(parallelisms, ends, strict=True):
        ran = run(_two_states(tmp_path, parallelism, pause, failing=failing, backend=backend))
        assert ran.code == code, ran
    numbers = range(COUNT)
    assert sorted(lines(tmp_path / "last"), key=str) == sorted(
        ([n % 7, n - 7 if n >= 7 else None, n // 7 + 1] for n in numbers), key=str
    )
    assert sorted(lines(tmp_path / "sums")) == sorted([n % 7, n // 7 + 1, sum(range(n % 7, n + 1, 7))] for n in numbers)


def _refused_and_kept(folder: Path, job: Job, *said: str, **options: Any) -> None:
    """The changed job is refused, and the job as it was goes on as if nothing had happened."""
    _refused(run(job, **options), *said, " is kept; run the job again to go on")
    assert run(_count(folder)).code == 0
    assert lines(folder / "out") == _rows()


def _does_not_fit(folder: Path, job: Job, *said: str) -> None:
    """The changed job is refused before anything is written, and the job as it was goes on."""
    before = {path: path.stat().st_mtime_ns for path in sorted((folder / "state").rglob("*"))}
    _refused(run(job), *said, "does not fit the job; nothing was changed", code=2)
    assert {path: path.stat().st_mtime_ns for path in sorted((folder / "state").rglob("*"))} == before
    assert run(_count(folder)).code == 0
    assert lines(folder / "out") == _rows()


def test_another_type_of_state_is_refused_naming_state_and_both_types(tmp_path: Path) -> None:
    _suspended(tmp_path)
    job = make_job(tmp_path)
    total: Sum[int] = Sum(lambda number: float(number), type=float)
    _keyed(job).aggregate(total, result=_row, uid="count").sink(FileSink(tmp_path / "out"), uid="out")
    _does_not_fit(tmp_path, job, "state count.accumulator.count: count is gone", "--allow-dropped-state count")


def test_state_whose_operator_is_gone_is_never_dropped_silently(tmp_path: Path) -> None:
    _suspended(tmp_path)
    job = make_job(tmp_path)
    _keyed(job).map(lambda number: number).sink(FileSink(tmp_path / "out"), uid="out")
    _does_not_fit(tmp_path, job, "state count.accumulator: no step", 'uid="count" again', "--allow-dropped-state count")


def test_another_uid_of_a_stateful_operator_is_refused_with_the_uid_to_give(tmp_path: Path) -> None:
    _suspended(tmp_path)
    job = make_job(tmp_path)
    _keyed(job).aggregate(Count(), result=_row, uid="number").sink(FileSink(tmp_path / "out"), uid="out")
    _does_not_fit(tmp_path, job, "state count.accumulator: no step", 'say renamed_from="count" on the step')


def test_another_number_of_key_groups_is_refused(tmp_path: Path) -> None:
    _suspended(tmp_path)
    _refused_and_kept(tmp_path, _count(tmp_path, key_groups=64), "has 128 key groups, the job has 64")


def test_another_key_type_is_refused(tmp_path: Path) -> None:
    _suspended(tmp_path)
    job = make_job(tmp_path)
    numbers = job.source(Waiting(COUNT), uid="numbers").key_by(lambda number: str(number % 7), uid="k")
    numbers.aggregate(Count(), result=lambda rest, count: [rest, count], uid="count").sink(
        FileSink(tmp_path / "out"), uid="out"
    )
    _refused_and_kept(tmp_path, job, "str, but the keys of the checkpoint are int")


def test_a_checkpoint_that_was_damaged_stops_the_start_and_names_the_file(tmp_path: Path) -> None:
    number = _suspended(tmp_path)
    manifest = storage(tmp_path).load(number).manifest
    assert manifest is not None
    damaged = storage(tmp_path).files / manifest.stores[0].files()[-1].name
    data = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    _refused(run(_count(tmp_path)), str(damaged))
    damaged.write_bytes(data)
    assert run(_count(tmp_path)).code == 0
    assert lines(tmp_path / "out") == _rows()


def _unsettled(folder: Path) -> int:
    """Leaves the job as a crash between decision and marker does, by taking the marker of its last output away."""
    _suspended(folder)
    for info in reversed(storage(folder).checkpoints()):
        assert info.manifest is not None
        if any(listed.checkpoint_id == info.id for listed in info.manifest.committables):
            (info.path / "committed").unlink(missing_ok=True)
            return info.id
        shutil.rmtree(info.path)  # nothing was written any more when it was made
    raise AssertionError("no checkpoint prepared anything")


def test_output_that_waits_for_its_commit_stops_a_job_whose_sink_is_gone(tmp_path: Path) -> None:
    number = _unsettled(tmp_path)
    job = make_job(tmp_path)
    counts = _keyed(job).aggregate(Count(), result=_row, uid="count")
    counts.sink(FileSink(tmp_path / "out"), uid="renamed")
    said = f"no exactly-once sink out any more, but its output of checkpoint {number} is prepared and not committed"
    _refused_and_kept(tmp_path, job, said, "--accept-lost-output")


def test_output_that_waits_for_its_commit_is_committed_at_the_next_start(tmp_path: Path) -> None:
    number = _unsettled(tmp_path)
    ran = run(_count(tmp_path))
    assert ran.code == 0, ran
    assert f"job: restored checkpoint {number} " in ran.said
    assert storage(tmp_path).load(number).is_marked
    assert lines(tmp_path / "out") == _rows()


def test_a_sink_that_is_gone_with_its_output_settled_is_no_matter(tmp_path: Path) -> None:
    _suspended(tmp_path)
    job = make_job(tmp_path)
    counts = _keyed(job).aggregate(Count(), result=_row, uid="count")
    counts.sink(FileSink(tmp_path / "other"), uid="renamed")
    assert run(job).code == 0
    assert lines(tmp_path / "other") == _rows(50)


def test_a_new_stateless_operator_and_a_new_stateful_one_join_a_running_job(tmp_path: Path) -> None:
    _suspended(tmp_path)
    job = make_job(tmp_path)
    keyed = _keyed(job)
    keyed.aggregate(Count(), result=_row, uid="count").filter(bool).sink(FileSink(tmp_path / "out"), uid="out")
    keyed.process(Last(), uid="last").sink(FileSink(tmp_path / "last"), uid="last-out")
    assert run(job).code == 0
    assert lines(tmp_path / "out") == _rows()
    assert [row[2] for row in lines(tmp_path / "last")[:7]] == [1] * 7


def test_a_job_that_lost_all_its_checkpoints_does_not_start_empty(tmp_path: Path) -> None:
    _suspended(tmp_path)
    for info in storage(tmp_path).checkpoints():
        shutil.rmtree(info.path)
    _refused(run(_count(tmp_path)), "there is no checkpoint left to go on from", "--from none")
