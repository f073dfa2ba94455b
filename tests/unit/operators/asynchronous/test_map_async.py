"""Asynchronous functions in one operator, on virtual time: order, bounds, time-outs, retries, and what is kept."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from streamlet import Retry
from streamlet.connect import Batch
from streamlet.errors import CheckpointError, ConfigError, RecordError, UserFunctionError
from streamlet.operators.asynchronous.map_async import CallOptions, MapAsync, filtered, mapped
from streamlet.operators.operator import OperatorContext
from streamlet.operators.user_code.place import Place
from streamlet.testing.loop import SimulatedLoop, VirtualClock

PLACE = Place(__file__, 1, "map_async", "enrich")
PLAIN = CallOptions()
UNORDERED = CallOptions(is_ordered=False)


def on_virtual_time(run: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await run()

    loop = SimulatedLoop(VirtualClock(), random.Random(0))
    try:
        loop.run(main())
    finally:
        loop.bury()


class Flying:
    """An operator and what it emits; to be used on a running loop."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        options: CallOptions = PLAIN,
        *,
        subtask: int = 0,
        parallelism: int = 1,
        restored: list[Any] | None = None,
    ) -> None:
        self.out: list[Batch[Any]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._woken = asyncio.Event()
        self.operator = MapAsync(function, mapped, options)
        self.operator.open(
            OperatorContext(PLACE, subtask, parallelism, None, wake=self._woken.set, spawn=self._spawn, key_groups=8)
        )
        if restored is not None:
            self.operator.restore(restored)

    @property
    def values(self) -> list[Any]:
        return [value for batch in self.out for value in batch.values]

    def _spawn(self, work: Any) -> None:
        self.tasks.append(asyncio.create_task(work))

    def take(self, values: list[Any], at: int | None = None, **columns: Any) -> None:
        if at is not None:
            self.operator.context.event_time.watermark = at
        self.operator.process(Batch(values, **columns), self.out.append)

    async def settle(self) -> None:
        """Until nothing is in flight, or a call has failed, whose error it raises."""
        while self.operator.held_watermark() is not None:
            waiting = asyncio.ensure_future(self._woken.wait())
            running = [one for one in self.tasks if not one.done()]
            await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            for task in self.tasks:
                if task.done():
                    await task
            self.turn()

    def turn(self) -> None:
        self._woken.clear()
        self.operator.on_clock(0, self.out.append)

    def snapshot(self) -> Any:
        found = self.operator.snapshot()
        return None if found is None else msgspec.msgpack.decode(msgspec.msgpack.encode(found))


async def waits(value: int) -> int:
    await asyncio.sleep(value / 1000)
    return value


def test_results_come_in_the_order_of_the_values_or_as_they_are_there() -> None:
    async def run() -> None:
        ordered, unordered = Flying(waits), Flying(waits, UNORDERED)
        for one in ordered, unordered:
            one.take([30, 10, 20])
            await one.settle()
        assert ordered.values == [30, 10, 20]
        assert unordered.values == [10, 20, 30]

    on_virtual_time(run)


def test_no_result_overtakes_a_watermark_in_either_order() -> None:
    async def run() -> None:
        for options in CallOptions(), UNORDERED:
            flying = Flying(waits, options)
            flying.take([30, 10], at=1)
            flying.take([5], at=2)
            flying.take([1], at=3)
            await asyncio.sleep(0.02)
            flying.turn()
            assert flying.values == ([10] if options is UNORDERED else [])
            assert flying.operator.held_watermark() == 1
            await asyncio.sleep(0.02)
            seen = []
            while flying.operator.held_watermark() is not None:
                flying.turn()
                seen.append((len(flying.values), flying.operator.held_watermark()))
            assert seen == [(2, 2), (3, 3), (4, None)]

    on_virtual_time(run)


def test_so_many_calls_run_at_once_and_no_batch_comes_while_so_many_are_in_flight() -> None:
    most = running = 0

    async def counted(value: int) -> int:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (value % 3))
        running -= 1
        return value

    async def run() -> None:
        flying = Flying(counted, CallOptions(capacity=4))
        assert flying.operator.has_room()
        flying.take(list(range(10)))
        assert not flying.operator.has_room()
        await flying.settle()
        assert flying.operator.has_room()
        assert flying.values == list(range(10))

    on_virtual_time(run)
    assert most == 4


def test_a_call_that_fails_is_made_again_later_and_later_on_the_value_as_it_came() -> None:
    calls: list[tuple[int, Any]] = []

    async def third_time(value: dict[str, Any]) -> dict[str, Any]:
        calls.append((round(asyncio.get_running_loop().time() * 10), dict(value)))
        value["seen"] = True
        if len(calls) < 4:
            raise OSError("not yet")
        return value

    async def run() -> None:
        retry = Retry(attempts=4, delay=timedelta(seconds=1), max_delay=timedelta(seconds=3))
        flying = Flying(third_time, CallOptions(retry=retry))
        flying.take([{"id": 1}])
        await flying.settle()
        assert flying.values == [{"id": 1, "seen": True}]

    on_virtual_time(run)
    assert calls == [(at, {"id": 1}) for at in (0, 10, 30, 60)]


def _error_of(function: Callable[[Any], Any], options: CallOptions = PLAIN, value: Any = 7) -> str:
    caught: list[str] = []

    async def run() -> None:
        flying = Flying(function, options)
        flying.take([value], timestamps=[99])
        with pytest.raises(UserFunctionError) as error:
            await flying.settle()
        caught.append(str(error.value))
        assert flying.values == []

    on_virtual_time(run)
    return caught[0]


def test_the_error_of_the_last_attempt_names_the_line_and_the_record() -> None:
    calls = 0

    async def fails(value: int) -> int:
        nonlocal calls
        calls += 1
        raise OSError(f"no answer {calls}")

    text = _error_of(fails, CallOptions(retry=Retry(attempts=2, delay=timedelta(0))))
    assert text.startswith(f"{__file__}:{fails.__code__.co_firstlineno + 3} in fails: OSError: no answer 2")
    assert "in map_async 'enrich', subtask 0" in text
    assert "time 99 ms" in text
    calls = 0
    _error_of(fails, CallOptions(retry=Retry(attempts=9, on=ValueError)))
    assert calls == 1


def test_a_call_that_takes_too_long_names_the_line_where_it_waits() -> None:
    async def hangs(value: int) -> int:
        await asyncio.Event().wait()
        return value

    text = _error_of(hangs, CallOptions(timeout=timedelta(seconds=2)))
    line = hangs.__code__.co_firstlineno + 1
    assert text.startswith(f"{__file__}:{line} in hangs: TimeoutError: no result within 2 s\n    await asyncio.Event")


def test_what_comes_too_late_may_be_replaced_after_the_last_attempt() -> None:
    calls = 0

    async def hangs(value: int) -> int:
        nonlocal calls
        calls += 1
        await asyncio.Event().wait()
        return value

    async def run() -> None:
        retry = Retry(attempts=3, delay=timedelta(seconds=1))
        options = CallOptions(timeout=timedelta(seconds=1), on_timeout=lambda value: -value, retry=retry)
        flying = Flying(hangs, options)
        flying.take([3])
        await flying.settle()
        assert flying.values == [-3]
        assert round(asyncio.get_running_loop().time()) == 3 + 1 + 2

    on_virtual_time(run)
    assert calls == 3


def test_a_time_out_of_the_functions_own_is_its_error() -> None:
    async def gives_up(value: int) -> int:
        raise TimeoutError("my own")

    options = CallOptions(timeout=timedelta(seconds=1), on_timeout=lambda value: value)
    assert "gives_up: TimeoutError: my own" in _error_of(gives_up, options)
    assert "ZeroDivisionError" in _error_of(
        waits, CallOptions(timeout=timedelta(milliseconds=1), on_timeout=lambda value: value // 0)
    )


def test_a_function_that_is_cancelled_from_somewhere_does_not_end_quietly() -> None:
    async def cancelled(value: int) -> int:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting
        return value

    assert "RuntimeError: the function was cancelled" in _error_of(cancelled)
    assert "which cannot be awaited" in _error_of(lambda value: value)


def test_what_is_in_flight_is_kept_as_it_came_with_its_failures() -> None:
    async def changes(value: dict[str, Any]) -> Any:
        value["x"] = "changed"
        if value["n"] == 1:
            raise OSError
        await asyncio.Event().wait()

    kept: list[Any] = []

    async def run() -> None:
        flying = Flying(changes, CallOptions(retry=Retry(attempts=9, delay=timedelta(seconds=5))))
        assert flying.snapshot() is None
        flying.take([{"n": 0}, {"n": 1}], at=5, timestamps=[7, 8])
        await asyncio.sleep(0.001)
        kept.append(flying.snapshot())
        for task in flying.tasks:
            task.cancel()

    async def answered(value: dict[str, Any]) -> Any:
        return value

    async def run_restored() -> None:
        flying = Flying(answered, CallOptions(retry=Retry(attempts=2)), restored=kept)
        assert (flying.operator.held_watermark(), flying.tasks) == (5, [])
        assert [call.attempts for call in flying.operator._flight] == [0, 1]
        flying.take([{"n": 2}], at=6, timestamps=[9])
        flying.turn()
        await flying.settle()
        assert flying.values == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert [time for batch in flying.out for time in batch.timestamps or ()] == [7, 8, 9]

    on_virtual_time(run)
    on_virtual_time(run_restored)


class Slot(msgspec.Struct, eq=False):
    key: Any


def test_another_parallelism_deals_what_is_in_flight_out_by_key_and_starts_lower_watermarks_first() -> None:
    async def run() -> None:
        old = [Flying(waits, subtask=subtask, parallelism=2) for subtask in range(2)]
        for subtask, flying in enumerate(old):
            for at in 10 - subtask, 20 - subtask:
                values = [100 * at + number for number in range(6)]
                flying.take(values, at=at, keys=[Slot(f"k{number}") for number in range(6)])
            flying.take([subtask], at=30)  # without a key: by the old subtask
        snapshots = [flying.snapshot() for flying in old]
        found: list[Any] = []
        for parallelism in 1, 3:
            new = [Flying(waits, subtask=n, parallelism=parallelism, restored=snapshots) for n in range(parallelism)]
            calls = [list(flying.operator._flight) for flying in new]
            assert all([call.watermark for call in one] == sorted(call.watermark for call in one) for one in calls)
            keys = [{call.slot.key for call in one if call.slot is not None} for one in calls]
            assert sum(map(len, keys)) == 6
            found.append(sorted(call.batch.values[0] for one in calls for call in one))
        assert (
            found[0] == found[1] == sorted(call.batch.values[call.row] for one in old for call in one.operator._flight)
        )

    on_virtual_time(run)


@pytest.mark.parametrize("options", [PLAIN, UNORDERED])
def test_restored_records_are_held_as_far_back_as_event_time_begins_anew(options: CallOptions) -> None:
    async def run() -> None:
        flying = Flying(waits, options)
        for at in 5, 20, 30:
            flying.take([at, at + 1], at=at)
        restored = Flying(waits, options, restored=[flying.snapshot()])
        restored.turn()
        await asyncio.sleep(0.025)
        restored.take([9], at=10)
        assert sorted(call.watermark for call in restored.operator._flight) == [5, 5, 10, 10, 10, 10, 10]
        assert restored.operator.held_watermark() == 5
        seen = []
        await asyncio.sleep(0.1)
        while (held := restored.operator.held_watermark()) is not None:
            seen.append(held)
            restored.turn()
        assert seen == [5, 10]
        assert sorted(restored.values) == [5, 6, 9, 20, 21, 30, 31]
        if options is UNORDERED:
            assert restored.values == [5, 6, 20, 21, 30, 31, 9]

    on_virtual_time(run)


class Point(msgspec.Struct):
    x: float
    tags: set[str]


def test_values_of_a_declared_type_come_back_as_what_the_function_was_called_with() -> None:
    async def run() -> None:
        flying = Flying(waits, CallOptions(type=Point))
        flying.take([Point(1, {"a"})])
        (call,) = flying.operator._flight
        assert type(call.batch.values[0].x) is float
        restored = Flying(waits, CallOptions(type=Point), restored=[flying.snapshot()])
        (back,) = restored.operator._flight
        assert back.batch.values == call.batch.values
        with pytest.raises(CheckpointError, match=r"takes int, but the checkpoint has .* of type Point\{"):
            Flying(waits, CallOptions(type=int), restored=[flying.snapshot()])

    on_virtual_time(run)


@pytest.mark.parametrize("value", [1 << 70, "half \ud83d"])
def test_integers_of_any_size_and_half_characters_come_back(value: Any) -> None:
    async def run() -> None:
        flying = Flying(waits)
        flying.take([value])
        restored = Flying(waits, restored=[flying.snapshot()])
        (back,) = restored.operator._flight
        assert back.batch.values == [value]

    on_virtual_time(run)


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, {"a": [(1,)]}, Point(1, set()), object()])
def test_a_value_that_would_not_come_back_as_it_was_is_refused_when_it_comes(value: Any) -> None:
    async def run() -> None:
        flying = Flying(waits)
        with pytest.raises(RecordError, match=r"test_map_async\.py:1: a record in flight in map_async 'enrich'"):
            flying.take([1, value])
        assert flying.operator.held_watermark() is None

    on_virtual_time(run)


def test_rows_with_and_without_times_or_keys_leave_in_batches_of_their_own() -> None:
    async def run() -> None:
        flying = Flying(waits)
        flying.take([1], timestamps=[5])
        flying.take([2, 3])
        flying.take([4], keys=[Slot("k")])
        await asyncio.sleep(0.1)
        await flying.settle()
        assert [(one.values, one.timestamps, one.keys is None) for one in flying.out] == [
            ([1], [5], True),
            ([2, 3], None, True),
            ([4], None, False),
        ]

    on_virtual_time(run)


def test_a_filter_emits_the_value_as_it_came_and_names_its_origin() -> None:
    class Numbered:
        def describe(self, row: int) -> str:
            return f"row {row}"

    async def run() -> None:
        flying = Flying(waits)
        flying.operator = MapAsync(waits, filtered, CallOptions())
        flying.operator.open(OperatorContext(PLACE, 0, 1, None, spawn=flying._spawn, wake=flying._woken.set))
        flying.take([0, 7], origin=Numbered())
        await flying.settle()
        assert flying.values == [7]
        assert flying.out[0].describe_row(0) == "row 1"

    on_virtual_time(run)


NO_RETRIES: list[tuple[dict[str, Any], str]] = [
    ({"attempts": 0}, "retry attempts is 0"),
    ({"delay": timedelta(-1)}, "retry delay is -1 day"),
    ({"delay": timedelta(minutes=1)}, "max_delay 0:00:10"),
    ({"delay": 5}, "retry delay is 5"),
    ({"max_delay": None}, "retry max_delay is None"),
    ({"multiplier": 0.5}, "retry multiplier is 0.5"),
    ({"multiplier": "2"}, "retry multiplier is '2'"),
    ({"on": "OSError"}, "retry on is 'OSError'"),
    ({"on": (OSError, KeyboardInterrupt)}, "retry on is"),
]


@pytest.mark.parametrize(("options", "says"), NO_RETRIES)
def test_a_retry_that_makes_no_sense_is_refused_at_the_users_line(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Retry(**options)
    assert re.match(rf"{re.escape(__file__)}:\d+: ", caught.value.message)
    assert caught.value.remedy


def test_the_wait_before_an_attempt_grows_to_its_bound() -> None:
    retry = Retry(attempts=10_000, delay=timedelta(seconds=1), max_delay=timedelta(seconds=5))
    waited = [retry.delay_after(count, OSError()) for count in (1, 2, 3, 4, 9_999, 10_000)]
    assert waited == [1, 2, 4, 5, 5, None]


@pytest.mark.parametrize("waits", [False, True])
def test_calls_that_hold_the_loop_let_others_run_between_two_of_them(waits: bool) -> None:
    turns, now = [0], [0.0]
    began: list[int] = []

    async def counting() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def blocks(value: int) -> int:
        began.append(turns[0])
        now[0] += 0.3
        if waits:
            await asyncio.sleep(0)
        return value

    async def main() -> None:
        counter = asyncio.ensure_future(counting())
        flying = Flying(blocks, CallOptions(capacity=3))
        flying.operator.open(
            OperatorContext(PLACE, 0, 1, None, wake=flying._woken.set, spawn=flying._spawn, monotonic=lambda: now[0])
        )
        flying.take([*range(9)])
        await flying.settle()
        counter.cancel()
        assert flying.values == [*range(9)]

    on_virtual_time(main)
    assert len(began) == 9
    assert min(after - before for before, after in itertools.pairwise(began)) >= 10, began
