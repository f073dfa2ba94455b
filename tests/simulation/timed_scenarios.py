"""Scenarios of the campaign with event time, or with asynchronous functions; always with some crashes."""

from __future__ import annotations

from streamlet import WatermarkStrategy
from tests.simulation import functions
from tests.simulation.oracle import WrongOutput
from tests.simulation.scenario import Scenario, scenario
from tests.simulation.world import simulate

BEFORE = (["async"], ["unordered"], ["async", "unordered"], ["filter", "async"])
CRASHES = tuple(("step", at) for at in (300, 500, 400, 600))


def timed(seed: int) -> Scenario:
    """The scenario of a seed, with event time."""
    one = scenario(seed)
    add_time(one)
    one.faults.crashes = (*one.faults.crashes, *CRASHES[seed % 4 :])
    return one


def asynchronous(seed: int) -> Scenario:
    """The scenario of a seed with asynchronous functions, and often event time."""
    one = scenario(seed)
    one.before = list(BEFORE[seed % len(BEFORE)])
    if seed % 3:
        add_time(one)
    one.faults.crashes = (*one.faults.crashes, *CRASHES[seed // 2 % 4 :])
    return one


def add_time(one: Scenario) -> None:
    """Gives a scenario event time, and a function that has an eye on it."""
    one.keyed, one.regroups = "timed", False
    one.watermarks = WatermarkStrategy.monotonic().with_timestamps(functions.time_of)


def run_timed(seed: int) -> None:
    """Raises for what is wrong with output and event time."""
    _run(timed(seed))


def run_asynchronous(seed: int) -> None:
    """Raises for what is wrong with output and event time."""
    _run(asynchronous(seed))


def _run(one: Scenario) -> None:
    functions.TIME_BROKE.clear()
    try:
        simulate(one)
        if functions.TIME_BROKE:
            raise WrongOutput(functions.TIME_BROKE[0])
    finally:
        functions.TIME_BROKE.clear()
