"""`crash_everywhere` on jobs of users: right ones pass, and what is wrong in a function is found and named."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlet import Job, KeyedProcessFunction, ProcessContext, ValueState
from streamlet.errors import ConfigError, StreamletError
from streamlet.testing import CollectSink, ListSource, OutputDiffers, crash_everywhere
from streamlet.testing.memory import ProcessMemory

Pair = tuple[str, int]
RECORDS: list[Pair] = [("abc"[number % 3], number) for number in range(200)]
counted = 0
called: list[int] = []


class Total(KeyedProcessFunction[str, Pair, Pair]):
    total = ValueState(int)

    def process_element(self, value: Pair, ctx: ProcessContext[str]) -> Iterator[Pair]:
        self.total.update((self.total.value() or 0) + value[1])
        yield ctx.key, self.total.value() or 0


class TotalBesideState(Total):
    def __init__(self) -> None:
        self.records = 0

    def process_element(self, value: Pair, ctx: ProcessContext[str]) -> Iterator[Pair]:
        self.records += 1
        for key, total in super().process_element(value, ctx):
            yield key, total + self.records


class NumbersSeen:
    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __call__(self, value: Pair) -> Pair:
        self.seen.add(value[1])
        return value[0], len(self.seen)


def unchanged(value: Pair) -> Pair:
    return value


def numbered(value: Pair) -> Pair:
    global counted
    counted += 1
    return value[0], counted


def drawn(value: Pair) -> Pair:
    return value[0], value[1] + random.randrange(1000)


def dated(value: Pair) -> Pair:
    return value[0], int(time.time())


def noted(value: Pair) -> Pair:
    called.append(value[1])
    return value


def _job(function: Callable[[Pair], Pair] = unchanged, total: Total | None = None, **settings: Any) -> Job:
    job = Job("totals", **settings)
    pairs = job.source(ListSource[Pair]([]), uid="pairs").map(function, uid="mapped").filter(bool, uid="all")
    totals = pairs.key_by(lambda pair: pair[0]).process(total or Total(), uid="total")
    totals.map(lambda pair: pair, uid="last").sink(CollectSink(), uid="out")
    return job


@pytest.mark.parametrize("parallelism", [1, 2])
def test_a_job_that_keeps_everything_in_declared_state_survives(parallelism: int) -> None:
    crashes = crash_everywhere(_job(parallelism=parallelism), {"pairs": RECORDS}, at_most=40)
    assert crashes.killed == 40
    assert crashes.places > 500


def test_every_place_of_a_short_run_is_tried() -> None:
    crashes = crash_everywhere(_job(), {"pairs": RECORDS[:3]}, at_most=None)
    assert crashes.killed == crashes.places > 100


@pytest.mark.parametrize(
    ("job", "when"),
    [
        pytest.param(_job(numbered), "killed at", id="a counter in a global"),
        pytest.param(_job(drawn), "run a second time", id="random"),
        pytest.param(_job(NumbersSeen()), "killed at", id="a set in __init__"),
        pytest.param(_job(dated), "killed at", id="time of day in a result"),
        pytest.param(_job(total=TotalBesideState()), "killed at", id="state beside declared state"),
    ],
)
def test_what_a_function_remembers_by_itself_is_found_and_named(job: Job, when: str) -> None:
    with pytest.raises(OutputDiffers, match=rf"job 'totals', {when}.* at sink 'out'") as caught:
        crash_everywhere(job, {"pairs": RECORDS})
    assert "first differing record, number" in str(caught.value)
    assert "keep what has to survive in declared state" in str(caught.value)


def test_a_kill_makes_nobody_else_forget_and_leaves_the_users_memory_as_it_was() -> None:
    called[:] = [-1]
    crash_everywhere(_job(noted), {"pairs": RECORDS[:5]}, at_most=4)
    assert called == [-1]


def test_a_job_that_fails_in_the_simulation_names_the_users_line() -> None:
    def fails(value: Pair) -> Pair:
        raise ValueError("no such pair")

    with pytest.raises(StreamletError, match=r"test_crashing\.py:\d+ in fails: ValueError: no such pair"):
        crash_everywhere(_job(fails), {"pairs": RECORDS})


def test_at_most_takes_two_places_or_more() -> None:
    with pytest.raises(ConfigError, match="at_most is 1"):
        crash_everywhere(_job(), {"pairs": RECORDS}, at_most=1)


def test_a_new_process_finds_closures_instances_classes_and_globals_as_they_were() -> None:
    class Counting:
        of_class: dict[str, int]
        __slots__ = ("of_slot",)

        def __init__(self) -> None:
            self.of_slot = [1]

    Counting.of_class = {"a": 1}
    one, in_closure, kept = Counting(), 0, [{"x": {1}}]

    def function() -> None:
        global counted
        nonlocal in_closure
        counted += 1
        in_closure += 1
        one.of_slot = [2]
        Counting.of_class["b"] = 2
        kept[0]["x"].add(2)
        kept.append({})

    before = counted
    memory = ProcessMemory([function])
    function()
    memory.forget()
    assert (counted, in_closure, one.of_slot, Counting.of_class, kept) == (before, 0, [1], {"a": 1}, [{"x": {1}}])
