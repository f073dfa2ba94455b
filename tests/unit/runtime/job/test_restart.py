"""When to try again, and when to give up."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from streamlet import Restart
from streamlet.errors import ConfigError
from streamlet.runtime.job.restart import RestartBudget


def _delays(strategy: Restart, failures: list[tuple[float, float]]) -> list[float | None]:
    budget = RestartBudget(strategy, random.Random(1))
    return [budget.failed(now, healthy) for now, healthy in failures]


def test_fixed_waits_the_same_time_and_gives_up_after_its_attempts() -> None:
    strategy = Restart.fixed(timedelta(seconds=2), attempts=2)
    assert _delays(strategy, [(0, 0), (2, 0), (4, 0)]) == [2, 2, None]


def test_none_gives_up_at_once() -> None:
    assert _delays(Restart.none(), [(0, 0)]) == [None]


def test_exponential_doubles_up_to_its_bound() -> None:
    strategy = Restart.exponential(timedelta(seconds=1), timedelta(seconds=5), attempts=5, jitter=0)
    assert _delays(strategy, [(0, 0)] * 6) == [1, 2, 4, 5, 5, None]


def test_exponential_without_a_bound_on_attempts_never_gives_up_or_overflows() -> None:
    strategy = Restart.exponential(attempts=None, jitter=0)
    assert _delays(strategy, [(0, 0)] * 2000)[-1] == 60


def test_jitter_stays_within_its_part_of_the_delay() -> None:
    strategy = Restart.exponential(timedelta(seconds=1), timedelta(seconds=1), attempts=None, jitter=0.1)
    delays = [delay for delay in _delays(strategy, [(0, 0)] * 200) if delay is not None]
    assert 0.9 <= min(delays) < max(delays) <= 1.1


def test_an_attempt_that_was_healthy_long_enough_clears_the_count() -> None:
    strategy = Restart.exponential(timedelta(seconds=1), attempts=2, jitter=0, reset_after=timedelta(seconds=10))
    assert _delays(strategy, [(0, 0), (0, 9.9), (0, 10), (0, 0), (0, 0)]) == [1, 2, 1, 2, None]


def test_failure_rate_gives_up_only_when_failures_come_close_together() -> None:
    strategy = Restart.failure_rate(2, timedelta(seconds=10), timedelta(seconds=1))
    assert _delays(strategy, [(0, 0), (6, 0), (12, 0), (17, 0), (18, 0)]) == [1, 1, 1, 1, None]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Restart.fixed(attempts=-1),
        lambda: Restart.fixed(timedelta(seconds=-1)),
        lambda: Restart.exponential(timedelta(seconds=2), timedelta(seconds=1)),
        lambda: Restart.exponential(jitter=1),
        lambda: Restart.exponential(multiplier=0.5),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match="restart"):
        make()
