"""Jobs inside of a program with a loop of its own."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from pathlib import Path

import pytest

from streamlet.errors import ConfigError, UserFunctionError
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.unit.job_kit import Failing, lines, make_job, run


def test_a_job_runs_beside_the_body_and_its_end_is_waited_for(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Generator(lambda i: i, count=30), uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")

    async def program() -> tuple[str, int]:
        async with job.running() as running:
            ended = await running.finished()
            return ended, running.status()["records"]

    assert asyncio.run(program()) == ("finished", 30)
    assert lines(tmp_path / "out") == list(range(30))


def test_leaving_the_body_stops_the_job_with_a_last_checkpoint_and_another_goes_on(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    source = Generator(lambda i: i, rate_per_second=2_000)
    job.source(source, uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")

    async def program() -> None:
        for _ in range(2):
            async with job.running() as running:
                while not running.status()["records"]:  # noqa: ASYNC110 - turns of the loop
                    await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            async with job.running() as running:
                raise ZeroDivisionError

    asyncio.run(program())
    assert (found := lines(tmp_path / "out")) == list(range(len(found)))
    assert found


def test_two_jobs_run_in_one_loop_and_one_that_fails_leaves_the_other_alone(tmp_path: Path) -> None:
    good = make_job(tmp_path, "good")
    good.source(Generator(lambda i: i, count=50), uid="in").sink(FileSink(str(tmp_path / "good")), uid="out")
    bad = make_job(tmp_path, "bad")
    bad.source(Generator(lambda i: i, count=50), uid="in").map(Failing(7, for_ever=True), uid="f").sink(
        FileSink(str(tmp_path / "bad")), uid="out"
    )

    async def program() -> str:
        async with good.running() as first:
            with pytest.raises(UserFunctionError, match="number 7"):
                async with bad.running() as second:
                    await second.finished()
            return await first.finished()

    assert asyncio.run(program()) == "finished"
    assert lines(tmp_path / "good") == list(range(50))


def test_a_failure_that_nobody_waited_for_is_raised_where_the_body_ends(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Generator(lambda i: i, count=9), uid="in").map(Failing(3, for_ever=True), uid="f").sink(
        FileSink(str(tmp_path / "out")), uid="out"
    )

    async def program() -> None:
        async with job.running() as running:
            while running.status()["state"] != "failed":  # noqa: ASYNC110 - turns of the loop
                await asyncio.sleep(0)

    with pytest.raises(UserFunctionError, match="number 3"):
        asyncio.run(program())


def test_a_program_that_is_cancelled_ends_its_job_first(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    source = Generator(lambda i: i, rate_per_second=2_000)
    job.source(source, uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")

    async def program() -> None:
        async with job.running() as running:
            while not running.status()["records"]:  # noqa: ASYNC110 - turns of the loop
                await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await running.finished()

    async def outer() -> int:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(program())
        return len(asyncio.all_tasks())

    assert asyncio.run(outer()) == 1
    assert run(job, from_checkpoint="none", http="nowhere").code == 2


def test_signals_logging_and_garbage_collection_stay_the_programs(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Generator(lambda i: i, count=5), uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")

    def ours() -> list[object]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGURG)
        handlers = [list(logging.getLogger(name).handlers) for name in ("", "streamlet", "streamlet_connectors")]
        return [*map(signal.getsignal, numbers), gc.isenabled(), *handlers]

    async def program() -> None:
        before = ours()
        async with job.running() as running:
            assert ours() == before
            await running.finished()
        assert ours() == before

    asyncio.run(program())


def test_run_inside_of_a_loop_names_running_and_wrong_options_are_raised(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Generator(lambda i: i, count=5), uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")

    async def program() -> None:
        ran = run(job)
        assert ran.code == 2
        assert "async with job.running() as run" in ran.said
        with pytest.raises(ConfigError, match="parallelism is 0"):
            async with job.running(parallelism=0):
                pass
        with pytest.raises(ConfigError, match="colour"):
            async with job.running(colour="red"):
                pass

    asyncio.run(program())
