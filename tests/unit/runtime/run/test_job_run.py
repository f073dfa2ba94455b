"""Whole jobs in this process, against what a loop over the input gives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, KeyedProcessFunction, Mean, ProcessContext, Stream, Sum, ValueState
from streamlet.checkpoint.lock import JobLock
from streamlet.dsl import KeyedStream
from streamlet.machine.local import local_ports
from streamlet.runtime.task.subtask import Subtask
from streamlet_connectors.files import FileSink, JsonLines
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import BACKENDS, lines, make_job, run, storage

NUMBERS = 400


def _user(number: int) -> str:
    return f"user-{number * number % 11}"


def _numbers(job: Job, uid: str = "numbers", *, splits: int = 1, start: int = 0) -> Stream[int]:
    return job.source(Generator(lambda index: index + start, count=NUMBERS, splits=splits), uid=uid)


def _running_sums(numbers: list[int]) -> list[list[Any]]:
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    out: list[list[Any]] = []
    for number in numbers:
        counts[_user(number)] += 1
        sums[_user(number)] += number
        out.append([_user(number), counts[_user(number)], sums[_user(number)]])
    return out


def _row(*columns: Any) -> tuple[Any, ...]:
    return columns


def _sums(stream: KeyedStream[str, int], uid: str = "sums") -> Stream[tuple[Any, ...]]:
    return stream.aggregate(Count(), Sum(), result=_row, uid=uid)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_running_aggregates_of_one_split_are_exact_and_in_order_per_key(
    backend: str, parallelism: int, tmp_path: Path
) -> None:
    job = make_job(tmp_path, state_backend=backend, parallelism=parallelism)
    _sums(_numbers(job).key_by(_user)).sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    assert ran.said.splitlines()[-1] == "job: finished: 400 records read, 400 written and committed"
    rows, expected = lines(tmp_path / "out"), _running_sums(list(range(NUMBERS)))
    assert len(rows) == NUMBERS
    for user in {_user(number) for number in range(NUMBERS)}:
        assert [row for row in rows if row[0] == user] == [row for row in expected if row[0] == user]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parallelism", [1, 2, 3])
def test_with_several_splits_every_record_counts_exactly_once(backend: str, parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, state_backend=backend, parallelism=parallelism)
    _sums(_numbers(job, splits=5).key_by(_user)).sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job)
    assert ran.code == 0, ran
    rows = lines(tmp_path / "out")
    expected = _running_sums(list(range(NUMBERS)))
    assert sorted(row[:2] for row in rows) == sorted(row[:2] for row in expected)
    assert {user: total for user, _, total in sorted(rows)} == {user: total for user, _, total in sorted(expected)}


@pytest.mark.parametrize("parallelism", [1, 3])
def test_json_lines_in_and_out(parallelism: int, tmp_path: Path) -> None:
    for part in range(3):
        text = "".join(f'{{"number": {number}}}\n' for number in range(part, NUMBERS, 3))
        (tmp_path / f"in-{part}.jsonl").write_text(text)
    job = make_job(tmp_path, parallelism=parallelism)
    numbers = job.source(JsonLines(str(tmp_path / "in-*.jsonl")), uid="in").map(lambda record: int(record["number"]))
    _sums(numbers.key_by(_user)).sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    expected = _running_sums(list(range(NUMBERS)))
    assert sorted(row[:2] for row in lines(tmp_path / "out")) == sorted(row[:2] for row in expected)


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_union_gives_the_records_of_both_sources(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    both = _numbers(job, "one").union(_numbers(job, "two", start=1000), uid="both")
    both.sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    rows = lines(tmp_path / "out")
    assert sorted(rows) == [*range(NUMBERS), *range(1000, 1000 + NUMBERS)]
    if parallelism == 1:
        assert [row for row in rows if row < 1000] == list(range(NUMBERS))


def test_a_union_of_a_stream_with_itself_gives_everything_twice(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    numbers = _numbers(job)
    numbers.union(numbers, uid="twice").sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "out")) == sorted([*range(NUMBERS), *range(NUMBERS)])


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_stream_that_splits_and_meets_again_loses_and_doubles_nothing(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    numbers = _numbers(job, splits=3)
    even = numbers.filter(lambda number: number % 2 == 0).map(lambda number: number // 2)
    odd = numbers.filter(lambda number: number % 2 == 1).flat_map(lambda number: [number, -number])
    even.union(odd, uid="both").sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    expected = [number // 2 for number in range(0, NUMBERS, 2)]
    expected += [sign * number for number in range(1, NUMBERS, 2) for sign in (1, -1)]
    assert sorted(lines(tmp_path / "out")) == sorted(expected)


def test_several_sinks_each_get_their_whole_stream(tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=2)
    numbers = _numbers(job)
    numbers.sink(FileSink(tmp_path / "all"), uid="all")
    numbers.filter(lambda number: number % 7 == 0).sink(FileSink(tmp_path / "some"), uid="some")
    keyed = numbers.key_by(_user)
    _sums(keyed).sink(FileSink(tmp_path / "sums"), uid="sums-out", parallelism=1)
    keyed.sink(FileSink(tmp_path / "keyed"), uid="keyed")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "all")) == sorted(lines(tmp_path / "keyed")) == list(range(NUMBERS))
    assert sorted(lines(tmp_path / "some")) == list(range(0, NUMBERS, 7))
    assert sorted(lines(tmp_path / "sums")) == sorted(_running_sums(list(range(NUMBERS))))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parallelism", [1, 2])
def test_two_key_bys_in_a_row_keep_their_states_apart(backend: str, parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, state_backend=backend, parallelism=parallelism)
    counted = _numbers(job).key_by(_user).aggregate(Count(), result=lambda user, count: (user, count), uid="count")
    by_count = counted.key_by(lambda row: row[1])
    by_count.aggregate(Count(), result=lambda count, users: [count, users], uid="users").sink(
        FileSink(tmp_path / "out"), uid="out"
    )
    assert run(job).code == 0
    reached = Counter(count for _, count, _ in _running_sums(list(range(NUMBERS))))
    assert sorted(lines(tmp_path / "out")) == sorted(
        [count, users] for count, total in reached.items() for users in range(1, total + 1)
    )


class Changes(KeyedProcessFunction[str, int, list[Any]]):
    """Emits each number with the one before it of the same key."""

    last = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[list[Any]]:
        yield [ctx.key, self.last.value(), value]
        self.last.update(value)


@pytest.mark.parametrize("parallelism", [1, 2])
def test_operators_behind_the_same_key_by_work_side_by_side(parallelism: int, tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=parallelism)
    keyed = _numbers(job).key_by(_user)
    keyed.process(Changes(), uid="changes").sink(FileSink(tmp_path / "changes"), uid="changes-out")
    keyed.aggregate(Mean(), uid="mean").map(lambda mean: round(mean, 6)).sink(
        FileSink(tmp_path / "mean"), uid="mean-out"
    )
    assert run(job).code == 0
    last: dict[str, int] = {}
    changes = []
    for number in range(NUMBERS):
        changes.append([_user(number), last.get(_user(number)), number])
        last[_user(number)] = number
    assert sorted(map(json.dumps, lines(tmp_path / "changes"))) == sorted(map(json.dumps, changes))
    expected = [round(total / count, 6) for _, count, total in _running_sums(list(range(NUMBERS)))]
    assert sorted(lines(tmp_path / "mean")) == sorted(expected)


def test_subtasks_without_a_split_do_not_hold_anything_up(tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=3)
    _numbers(job, splits=1).sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    assert lines(tmp_path / "out") == list(range(NUMBERS))


def test_a_source_without_records_finishes(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Generator(int, count=0), uid="in").key_by(abs).aggregate(Count(), uid="count").sink(
        FileSink(tmp_path / "out"), uid="out"
    )
    assert run(job).code == 0
    assert lines(tmp_path / "out") == []


def test_the_smallest_batches_and_channels_change_nothing(tmp_path: Path) -> None:
    job = make_job(tmp_path, parallelism=2, batch_records=1, channel_records=1)
    _sums(_numbers(job).key_by(_user)).sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    assert sorted(lines(tmp_path / "out")) == sorted(_running_sums(list(range(NUMBERS))))


def test_batches_that_grow_on_their_way_are_cut_behind_a_shuffle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one subtask puts out at once may take the next one long."""
    process, sizes = Subtask.process, Counter[str]()

    async def noting(self: Subtask, enter: Any, batch: Any) -> int:
        sizes[self.plan.name] = max(sizes[self.plan.name], len(batch))
        return await process(self, enter, batch)

    monkeypatch.setattr(Subtask, "process", noting)
    job = make_job(tmp_path, parallelism=2, batch_records=10)
    _sums(_numbers(job).flat_map(lambda number: [number] * 50, uid="more").key_by(_user)).sink(
        FileSink(tmp_path / "out"), uid="out"
    )
    assert run(job).code == 0
    assert len(sizes) > 1
    assert max(sizes.values()) == 10
    assert sorted(lines(tmp_path / "out")) == sorted(
        _running_sums([number for number in range(NUMBERS) for _ in range(50)])
    )


def test_a_job_that_has_finished_says_so_and_does_nothing_more(tmp_path: Path) -> None:
    def build() -> Job:
        job = make_job(tmp_path)
        _numbers(job).sink(FileSink(tmp_path / "out"), uid="out")
        return job

    assert run(build()).code == 0
    ran = run(build())
    assert ran.code == 0
    assert "job: finished before, in checkpoint" in ran.said
    assert lines(tmp_path / "out") == list(range(NUMBERS))


def test_the_last_checkpoint_of_a_finished_job_is_final_and_marked(tmp_path: Path) -> None:
    job = make_job(tmp_path, retain=0)
    _numbers(job).sink(FileSink(tmp_path / "out"), uid="out")
    assert run(job).code == 0
    (info,) = storage(tmp_path).checkpoints()
    assert info.manifest is not None
    assert (info.manifest.kind, info.is_marked) == ("final", True)


def test_a_job_that_another_holds_is_refused_and_untouched(tmp_path: Path) -> None:
    lock = JobLock(storage(tmp_path).folder, local_ports())
    lock.acquire()
    job = make_job(tmp_path)
    _numbers(job).sink(FileSink(tmp_path / "out"), uid="out")
    try:
        ran = run(job)
    finally:
        lock.release()
    assert ran.code == 3
    assert "is run by process" in ran.said
    assert storage(tmp_path).checkpoints() == []


def test_options_from_python_are_those_of_the_command_line(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    _numbers(job).sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(
        job,
        state_dir=str(tmp_path / "elsewhere"),
        parallelism=2,
        checkpoint_interval=timedelta(seconds=1),
        state_memory="64MB",
        from_checkpoint="none",
    )
    assert ran.code == 0, ran
    assert (tmp_path / "elsewhere" / "job").is_dir()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("parallelism", 0, "parallelism is 0"),
        ("parallelism", "2", "parallelism is '2'"),
        ("checkpoint_interval", "5", "checkpoint_interval '5' is not a duration"),
        ("state_memory", "lots", "state_memory 'lots' is not a size"),
        ("speed", 3, "options are state_dir, from_checkpoint"),
        ("from_checkpoint", "nowhere", "--from 'nowhere' is no checkpoint"),
    ],
)
def test_a_wrong_option_from_python_is_refused_with_a_remedy(
    option: str, value: Any, message: str, tmp_path: Path
) -> None:
    job = make_job(tmp_path)
    _numbers(job).sink(FileSink(tmp_path / "out"), uid="out")
    ran = run(job, **{option: value})
    assert ran.code == 2
    assert message in ran.said
    assert "\n  -> " in ran.said
    assert not (tmp_path / "out").exists()
