"""Kafka jobs for which one thing goes wrong: nobody stores the offsets for lag tools, or leaders move."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from itertools import pairwise

from streamlet import Restart
from streamlet.testing.network import Weather
from tests.simulation.kafka_scenario import KafkaScenario, Trouble, kafka_scenario
from tests.simulation.kafka_seeds import simulate_kafka
from tests.simulation.oracle import WrongOutput

LONGEST_GAP_SECONDS = 1.0
_INTERVAL_SECONDS = 0.05


def _in_fair_weather(seed: int) -> KafkaScenario:
    """The job and the input of a seed, in fair weather; the input comes over some seconds."""
    one = kafka_scenario(seed)
    settings = {
        **one.settings,
        "checkpoint_interval": timedelta(seconds=_INTERVAL_SECONDS),
        "checkpoint_timeout": timedelta(seconds=10),
        "restart": Restart.exponential(timedelta(milliseconds=50), timedelta(seconds=2), attempts=None),
        "retain": 2,
    }
    return dataclasses.replace(
        one,
        is_bounded=False,
        feeds=[
            dataclasses.replace(feed, at=0.3 * number, decided_after=feed.decided_after and 0.1)
            for number, feed in enumerate(one.feeds[:12])
        ],
        settings=settings,
        weather=Weather(latency_seconds=0.001),
        marker_delay_ms=1,
        troubles=[],
        crashes=(),
        delays=(),
        disk_fails=0.0,
        has_silent_group=False,
        nodes=1,
        timeout_seconds=900.0,
        calms_at=2.5,
    )


def simulate_moves(seed: int) -> None:
    """Leaders move now and then, and a broker leaves for good, while a job reads."""
    troubles = [Trouble(at, "leaders move", 0.0) for at in (0.5, 1.1, 1.7)]
    troubles.append(Trouble(2.0, "broker leaves for good", 0.2))
    simulate_kafka(dataclasses.replace(_in_fair_weather(seed), nodes=3, troubles=troubles))


def simulate_silence(seed: int) -> None:
    """Raises what any simulation raises, and `WrongOutput` when a checkpoint waits for the group."""
    world = simulate_kafka(dataclasses.replace(_in_fair_weather(seed), has_silent_group=True))
    times = world.recovery.marked_at
    longest = max((after - before for before, after in pairwise(times)), default=0.0)
    if len(times) < 5 or longest > LONGEST_GAP_SECONDS:
        raise WrongOutput(f"{len(times)} checkpoints, and {longest:.1f} s between two of them")
