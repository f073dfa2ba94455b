"""What a seed stands for where Kafka is simulated: a job from topic to topic, and what happens to it and the broker."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from streamlet import Job, Json, Restart
from streamlet.testing.loop import POLICIES, Policy
from streamlet.testing.network import Weather
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from tests.simulation import functions
from tests.simulation.functions import Record
from tests.simulation.scenario import rewrites

INPUT, OUTPUT, RAW = "in", "out", "raw"
TIMEOUT_SECONDS = 6.0
CONNECT_TIMEOUT = 5.0
KEYED = ("aggregate", "value", "clearing", "map", "list")


@dataclass
class Feed:
    """Records that come into a partition of the input at a time, as one batch."""

    at: float
    partition: int
    records: list[Record]
    decided_after: float | None = None
    """In a transaction that is open for so long; None for none."""
    is_aborted: bool = False


@dataclass
class Trouble:
    """Something that happens to the broker at a time."""

    at: float
    kind: str
    seconds: float


@dataclass
class KafkaScenario:
    """Everything that a seed decides but the schedule."""

    seed: int
    policy: Policy
    broker_policy: Policy
    feeds: list[Feed]
    partitions: dict[str, int]
    is_bounded: bool
    keyed: str | None
    has_raw: bool
    parallelisms: list[int]
    """For each process, the last one for all that follow."""
    settings: dict[str, Any]
    weather: Weather
    marker_delay_ms: int
    troubles: list[Trouble] = field(default_factory=list)
    crashes: tuple[tuple[str, int], ...] = ()
    """For each process until there are no more: what is counted (step, disk, request, marker), and where it dies."""
    sleepers: frozenset[int] = frozenset()
    """Those that do not die there but stand still, and wake up when another has taken over."""
    naps: tuple[float, ...] = (1.0,)
    """How long they sleep on after that."""
    power: float = 0.5
    downtime_seconds: float = 0.0
    timeout_seconds: float = 900.0
    request_timeout_seconds: float = 2.0
    folds_after: int = 3
    rewrites: float = 0.0
    memory_cells: int | None = None
    delays: tuple[tuple[str, int, float], ...] = ()
    """(api, how many requests of it pass before, seconds): one request that the broker handles so much later."""
    disk_fails: float = 0.0
    """How often a call that changes the disk fails."""
    nodes: int = 1
    """Brokers of the cluster."""
    has_silent_group: bool = False
    """Whether the coordinator of the group for lag tools never answers, also when all else is calm."""
    may_stop: bool = False
    """Whether stopping with an error that says what is at risk is right for this one."""
    calms_at: float | None = None
    """When all trouble ends, seconds, whatever process runs then: it must recover by itself.  None: it ends where a
    process begins."""

    def parallelism(self, process: int) -> int:
        return self.parallelisms[min(process, len(self.parallelisms) - 1)]

    @property
    def sinks(self) -> list[str]:
        return [OUTPUT, RAW] if self.has_raw else [OUTPUT]

    def inputs(self) -> list[list[Record]]:
        """What a job must see of each partition, in order."""
        found: list[list[Record]] = [[] for _ in range(self.partitions[INPUT])]
        for feed in self.feeds:
            if not feed.is_aborted:
                found[feed.partition] += feed.records
        return found


def kafka_scenario(seed: int) -> KafkaScenario:
    """Makes a scenario; the same seed gives the same one."""
    rng = random.Random(seed)
    partitions = {INPUT: rng.choice((1, 2, 3)), OUTPUT: rng.choice((1, 2, 3)), RAW: rng.choice((1, 2))}
    is_bounded = rng.random() < 0.5
    times_out = rng.random() < 0.15
    crashes = tuple(_crash(rng) for _ in range(rng.choice((0, 1, 1, 2, 3))))
    parallelisms = [rng.choice((1, 2, 3)) for _ in range(4 if rng.random() < 0.3 else 1)]
    one = KafkaScenario(
        seed=seed,
        policy=rng.choice((*POLICIES, "fifo")),
        broker_policy=rng.choice(POLICIES),
        feeds=_feeds(rng, partitions[INPUT], is_bounded=is_bounded),
        partitions=partitions,
        is_bounded=is_bounded,
        keyed=rng.choice(KEYED) if rng.random() < 0.85 else None,
        has_raw=rng.random() < 0.25,
        parallelisms=parallelisms,
        settings={
            "checkpoint_interval": timedelta(seconds=rng.choice((0.02, 0.05, 0.1))),
            "checkpoint_timeout": timedelta(seconds=rng.choice((0.2, 1.0, 10.0))),
            "stalled_intervals": 200,
            "batch_records": rng.choice((1, 2, 5, 10)),
            "channel_records": rng.choice((1, 3, 1000)),
            "retain": rng.choice((0, 1, 2)),
            "key_groups": rng.choice((4, 7, 16)),
            "state_backend": "memory",
            "restart": Restart.exponential(
                timedelta(milliseconds=50), timedelta(seconds=2), attempts=rng.choice((1, 4, 20))
            ),
        },
        weather=_weather(rng),
        marker_delay_ms=rng.choice((1, 1, 20, 300)),
        troubles=_troubles(rng),
        crashes=crashes,
        sleepers=frozenset(number for number in range(len(crashes)) if rng.random() < 0.25),
        naps=tuple(rng.choice((0.05, 0.5, 3.0)) for _ in range(3)),
        power=rng.choice((0.0, 0.5, 1.0)),
        downtime_seconds=rng.choice((0.0, 0.0, 1.0)),
        folds_after=rng.choice((2, 3, 60)),
        rewrites=rewrites(seed),
        delays=_delays(rng),
        disk_fails=rng.choice((0.0, 0.0, 0.003, 0.02)),
    )
    _add_brokers(one)
    if times_out:
        _let_time_out(one, rng)
    else:
        _let_recover(one)
    return one


def _delays(rng: random.Random) -> tuple[tuple[str, int, float], ...]:
    """Requests that linger at the broker, also when nobody waits for the answer any more."""
    apis = ("EndTxn", "EndTxn", "Produce", "AddPartitionsToTxn", "InitProducerId", "Fetch")
    count = rng.choice((0, 0, 1, 3))
    return tuple((rng.choice(apis), rng.randrange(12), rng.choice((0.1, 1.0, 3.0, 8.0))) for _ in range(count))


def _crash(rng: random.Random) -> tuple[str, int]:
    kind = rng.choice(("step", "disk", "request", "request", "marker"))
    longest = {"step": 6000, "disk": 150, "request": 220, "marker": 10}[kind]
    return kind, 1 + int(longest * rng.random() ** 1.3)


def _feeds(rng: random.Random, partitions: int, *, is_bounded: bool) -> list[Feed]:
    """Batches of one partition after the other; a bounded job sees only what is decided when it starts."""
    keys = rng.choice((1, 3, 8, 20))
    aborts = rng.choice((0.0, 0.2, 0.4))
    transactions = rng.choice((0.0, 0.3))
    feeds: list[Feed] = []
    number = 0
    for partition in range(partitions):
        at, left = 0.0, rng.choice((0, 10, 20)) if partition else rng.choice((10, 25))
        left *= 3 if is_bounded else 1
        while left > 0:
            count = min(left, rng.randint(1, 6))
            is_aborted = rng.random() < aborts
            records = [(rng.randrange(keys), number + index) for index in range(count)]
            number += count
            decided = rng.random() * 0.3 if is_aborted or rng.random() < transactions else None
            feeds.append(Feed(at, partition, records, decided, is_aborted))
            left -= 0 if is_aborted else count
            at += 0.0 if is_bounded else rng.random() * 0.2
    return sorted(feeds, key=lambda feed: (feed.at, feed.partition))


def _weather(rng: random.Random) -> Weather:
    """Each seed switches a few on: all at once would hide what each can show."""
    weather = Weather(latency_seconds=rng.choice((0.001, 0.005, 0.02)))
    for name, most in (("slow", 0.05), ("lost", 0.02), ("cut", 0.02), ("silent", 0.01), ("refused", 0.1)):
        if rng.random() < 0.3:
            setattr(weather, name, rng.random() * most)
    weather.slow_seconds = rng.choice((0.2, 3.0))
    return weather


def _troubles(rng: random.Random) -> list[Trouble]:
    found = []
    for _ in range(rng.choice((0, 0, 1, 2, 4))):
        kind = rng.choice(("restart", "restart", "load", "retention", "stranger", "stranger"))
        found.append(Trouble(rng.random() * 4, kind, rng.choice((0.05, 0.3, 1.0))))
    return sorted(found, key=lambda trouble: trouble.at)


def _add_brokers(one: KafkaScenario) -> None:
    """Some clusters have several brokers, whose leaders move, and one of which leaves for a while or for good."""
    rng = random.Random(f"{one.seed} brokers")
    one.has_silent_group = rng.random() < 0.2
    if rng.random() >= 0.3:
        return
    one.nodes = rng.choice((2, 3))
    kinds = ("leaders move", "leaders move", "broker leaves", "broker leaves for good")
    for _ in range(rng.choice((1, 2, 4))):
        one.troubles.append(Trouble(rng.random() * 3, rng.choice(kinds), rng.choice((0.05, 0.3, 1.0))))
    one.troubles.sort(key=lambda trouble: trouble.at)


def _let_time_out(one: KafkaScenario, rng: random.Random) -> None:
    """Lets prepared output time out while the job is away.  With one writer whatever the broker aborts leaves a restore
    point, so the job must always find it; with several there may be none, and then stopping would be right."""
    one.has_raw = False
    one.parallelisms = [1]
    one.sleepers = frozenset()
    one.timeout_seconds = TIMEOUT_SECONDS
    one.downtime_seconds = TIMEOUT_SECONDS
    one.settings["checkpoint_interval"] = timedelta(seconds=0.02)
    one.settings["checkpoint_timeout"] = timedelta(seconds=4)
    one.settings["restart"] = Restart.fixed(timedelta(seconds=0.1), attempts=20)
    one.weather = Weather(latency_seconds=0.005)
    one.disk_fails = 0.0
    # Commits that linger leave several checkpoints to settle, of which the broker may have aborted any.
    one.delays = (("EndTxn", rng.randrange(4), 3.0), ("EndTxn", 0, 3.0))
    one.troubles = [Trouble(rng.random() * 20, "output retention", 0.0) for _ in range(3)]
    one.crashes = tuple((rng.choice(("request", "marker")), rng.randint(15, 90)) for _ in range(2))


def _let_recover(one: KafkaScenario) -> None:
    """Lets the trouble of some seeds end under a living process, and that of all in which no other follows: else there
    would be none."""
    rng = random.Random(f"{one.seed} recovers")
    if rng.random() >= 0.2 and one.crashes:
        return
    one.calms_at = 3.0 * rng.random() ** 1.5
    one.settings["restart"] = Restart.exponential(timedelta(milliseconds=50), timedelta(seconds=2), attempts=None)
    one.settings["checkpoint_timeout"] = max(one.settings["checkpoint_timeout"], timedelta(seconds=1))


def build(one: KafkaScenario, process: int, bootstrap: str) -> Job:
    """Builds the job as a user's file would."""
    job = Job("simulated", parallelism=one.parallelism(process), **one.settings)
    options: dict[str, Any] = {
        "request_timeout_seconds": one.request_timeout_seconds,
        "connect_timeout_seconds": CONNECT_TIMEOUT,
        "topic_timeout_seconds": 10.0,
    }
    source: KafkaSource[Any] = KafkaSource(
        bootstrap, INPUT, stop="latest" if one.is_bounded else None, group="lag", partition_bytes=1024, **options
    )
    stream = job.source(source, uid="source")

    def sink(topic: str) -> KafkaSink[Any]:
        return KafkaSink(
            bootstrap,
            topic,
            value=Json(),
            key=functions.key_of,
            timestamp="now",
            transaction_timeout_seconds=one.timeout_seconds,
            delivery_timeout_seconds=20.0,
            **options,
        )

    if one.has_raw:
        stream.sink(sink(RAW), uid=RAW)
    end: Any = stream
    if one.keyed is not None:
        end = functions.keyed(one.keyed, stream.key_by(functions.key_of, uid="by-key"), "keyed", None)
    end.sink(sink(OUTPUT), uid=OUTPUT)
    return job
