"""The generator: a pure function of the index, at a rate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlet.connect import Batch, Position, ReaderContext
from streamlet.errors import ConfigError, JobDefinitionError, UserFunctionError
from streamlet_connectors.generator import Generator

R = TypeVar("R")


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


def never_blocks(function: Callable[..., R], /, *args: Any) -> Awaitable[R]:
    raise AssertionError("the generator has nothing that blocks")


def context(batch_records: int = 4, clock: HandClock | None = None) -> ReaderContext:
    return ReaderContext(
        job="job",
        uid="in",
        subtask=0,
        parallelism=1,
        batch_limit=lambda: batch_records,
        clock=clock or HandClock(),
        run_blocking=never_blocks,
    )


def read_all(source: Generator[Any], splits: dict[str, Position], batch_records: int = 4) -> list[Batch[Any]]:
    async def scenario() -> list[Batch[Any]]:
        reader = source.reader(context(batch_records), splits)
        found: list[Batch[Any]] = []
        while (batches := await reader.fetch()) is not None:
            found += batches
        return found

    return asyncio.run(scenario())


def discovered(source: Generator[Any], known: dict[str, Position] | None = None) -> dict[str, Position]:
    return dict(asyncio.run(source.discover(known or {})))


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 40), splits=st.integers(1, 5), size=st.integers(1, 9))
def test_every_index_comes_once_and_again_exactly_from_every_position(count: int, splits: int, size: int) -> None:
    source = Generator(lambda i: i * i, count=count, splits=splits)
    start = discovered(source)
    batches = read_all(source, start, size)
    assert sorted(v for batch in batches for v in batch.values) == [i * i for i in range(count)]
    positions = dict(start)
    given: list[int] = []
    for batch in batches:
        assert 0 < len(batch.values) <= size
        given += batch.values
        positions[batch.split] = batch.next_position
        rest = [v for more in read_all(source, positions, size + 1) for v in more.values]
        assert sorted(given + rest) == [i * i for i in range(count)]


def test_splits_interleave_the_indices_and_rows_are_named() -> None:
    source = Generator(str, count=7, splits=3, timestamp=lambda i: i * 1000)
    batches = read_all(source, discovered(source))
    assert {batch.split: batch.values for batch in batches} == {
        "0/3": ["0", "3", "6"],
        "1/3": ["1", "4"],
        "2/3": ["2", "5"],
    }
    assert batches[0].timestamps == [0, 3000, 6000]
    assert batches[0].describe_row(1) == "generator, index 3"


def test_a_generator_is_bounded_only_with_a_count() -> None:
    assert Generator(str, count=0).bounded
    assert not Generator(str).bounded


def test_another_number_of_splits_does_not_fit_a_checkpoint() -> None:
    assert discovered(Generator(str, splits=2), {"0/2": 8}) == {"1/2": 1}
    with pytest.raises(ConfigError, match=r"splits=4.*\n.*splits=2"):
        discovered(Generator(str, splits=4), {"0/2": 8})


def test_the_rate_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.seconds += seconds

    monkeypatch.setattr("streamlet_connectors.generator.source.asyncio.sleep", sleep)

    async def scenario() -> None:
        source = Generator(int, rate_per_second=100, splits=2)
        reader = source.reader(context(1000, clock), {"0/2": 0, "1/2": 1})
        given = 0
        while clock.seconds < 110.0:
            for batch in await reader.fetch() or []:
                given += len(batch.values)
            assert given <= (clock.seconds - 100.0) * 100
        assert given == pytest.approx(1000, abs=2)
        half = source.reader(context(1000, clock), {"1/2": 1})
        await half.fetch()
        clock.seconds += 2
        (batch,) = await half.fetch() or []
        assert len(batch.values) + 1 == pytest.approx(100, abs=1)
        slow = Generator(int, rate_per_second=0.1).reader(context(10, clock), {"0/1": 0})
        assert await slow.fetch() == []

    asyncio.run(scenario())
    assert max(slept) == 0.2


def test_what_comes_before_a_failing_index_is_given_before_the_error() -> None:
    def invert(i: int) -> float:
        return 1 / (i - 6)

    def stop(i: int) -> int:
        if i == 6:
            raise StopIteration
        return i

    async def scenario(source: Generator[Any], what: str) -> None:
        reader = source.reader(context(), {"0/1": 0})
        sizes = [len(batch.values) for _ in range(2) for batch in await reader.fetch() or []]
        assert sizes == [4, 2]
        for _ in range(2):
            with pytest.raises(UserFunctionError, match=f"{what}.* at index 6"):
                await reader.fetch()

    asyncio.run(scenario(Generator(invert, count=10), "invert raised ZeroDivisionError: .*"))
    asyncio.run(scenario(Generator(stop, count=10), "stop raised StopIteration"))
    asyncio.run(scenario(Generator(str, count=10, timestamp=lambda i: int(invert(i))), "raised ZeroDivisionError"))


def test_the_error_names_the_users_line() -> None:
    source: Generator[int] = Generator(lambda i: [5, 6][i], count=3)
    with pytest.raises(UserFunctionError, match="at index 2") as caught:
        read_all(source, discovered(source))
    assert caught.value.place.startswith(__file__ + ":")


def test_wrong_options_are_refused_when_the_job_is_defined() -> None:
    wrong: list[Callable[[], object]] = [
        lambda: Generator(str, count=-1),
        lambda: Generator(str, rate_per_second=0),
        lambda: Generator(str, splits=0),
    ]
    for make in wrong:
        with pytest.raises(JobDefinitionError, match="->"):
            make()
