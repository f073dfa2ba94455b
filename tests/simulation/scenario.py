"""What a seed stands for: a small job, its input, how it is run, and what goes wrong."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from streamlet import Restart, WatermarkStrategy
from streamlet.testing.loop import POLICIES, Policy
from tests.simulation.functions import KeyClass, Record

DEADLINE_SECONDS = 4.0
KEYED = ("aggregate", "aggregate", "value", "list", "clearing", "map", "map")
BESIDE = ("aggregate", "clearing", "clearing", "map", "lasting", "lasting", "batched")


@dataclass
class Faults:
    """Probabilities per call, and what happens to whole processes."""

    fetch_fails: float = 0.0
    answer_lost: float = 0.0
    request_lost: float = 0.0
    disk_fails: float = 0.0
    read_fails: float = 0.0
    disk_fails_at: str = ""
    """Only where this is part of the path."""
    disk_says: tuple[int, ...] = (errno.EIO, errno.ENOSPC)
    """What it answers then, by chance."""
    slow_commits: float = 1.0
    """How many times longer a commit takes than other requests."""
    repeats_answers: float = 0.0
    function_fails: float = 0.0
    slow: float = 0.0
    """How often an answer of the outside takes far longer than usual."""
    crashes: tuple[tuple[str, int], ...] = ()
    """For each process until there are no more: what is counted (step, disk, outside, marker), and where it dies."""
    pauses: tuple[bool, ...] = ()
    """For each of `crashes`: the process does not die there but is paused, taken over, and wakes up later."""
    starts: tuple[str, ...] = ()
    """For each of the first processes: `latest`, or `older` for a start with `--from` an older checkpoint."""
    flips: float = 0.0
    """How often a bit of the state directory is another one when a process begins."""
    stops: tuple[float, ...] = ()
    """For each of the first processes: after how many seconds it is asked to stop; 0 for never."""
    power: float = 0.7
    """How often a crash takes the machine with it."""
    power_cuts: tuple[bool, ...] = ()
    """For each of the first processes that die: whether the machine does too. By chance when it says nothing."""
    downtime_seconds: float = 0.0


NO_FAULTS = Faults()
MOST = {
    "fetch_fails": 0.05,
    "answer_lost": 0.05,
    "request_lost": 0.05,
    "disk_fails": 0.15,
    "read_fails": 0.03,
    "repeats_answers": 0.5,
    "slow": 0.2,
    "function_fails": 0.03,
}
"""The highest probability of each fault; a seed that has it draws one below."""


@dataclass
class SourceSpec:
    """One source: its splits and their records."""

    uid: str
    splits: dict[str, list[Record]]
    starts_latest: bool
    """At the first start, what there is already is passed over; there is more as time goes on."""
    slowness: float
    is_bounded: bool = True
    appears: dict[str, float] = field(default_factory=dict)
    """Splits that are not there from the beginning: when they can be discovered, seconds."""


@dataclass
class SinkSpec:
    """One sink: behind the keyed function or before it, and how the outside treats it."""

    uid: str
    at: str
    kind: str
    deadline_seconds: float | None = None


@dataclass
class Shape:
    """Parallelism of one process's plan."""

    default: int
    sources: dict[str, int]
    before: int | None
    keyed: int | None
    regroup: int | None
    beside: tuple[int | None, ...] = ()


@dataclass
class Scenario:
    """Everything that a seed decides but the schedule."""

    seed: int
    policy: Policy
    sources: list[SourceSpec]
    before: list[str]
    keyed: str | None
    regroups: bool
    sinks: list[SinkSpec]
    settings: dict[str, Any]
    shapes: list[Shape]
    faults: Faults
    folds_after: int
    memory_cells: int | None
    """With RocksDB: for about so many cells there is memory."""
    blocking_seconds: float
    slow_calls: dict[str, float]
    answer_seconds: float
    beside: list[str] = field(default_factory=list)
    """More keyed functions behind the same `key_by`, each with a sink: one store has the state of those that run as one
    chain, and which do may change from process to process."""
    keys: KeyClass = "int"
    clock_steps: tuple[tuple[float, float], ...] = ()
    """When the wall clock is set, and by how many seconds."""
    watermarks: WatermarkStrategy[Any] | None = None
    """Of every source; only some tests ask for event time."""
    rewrites: float = 0.0
    """How often a state is written anew where it may be; else it is folded."""
    may_lose: bool = False
    """The outside may abort one of several units of a checkpoint: then the job stops, and is told to go on without."""
    calms_at: float | None = None
    """When all faults end, seconds, whatever process runs then: it must recover by itself.  None: they end where a
    process begins."""

    def shape(self, process: int) -> Shape:
        return self.shapes[min(process, len(self.shapes) - 1)]

    @property
    def is_bounded(self) -> bool:
        """True when the job comes to its end by itself."""
        return all(source.is_bounded for source in self.sources)

    @property
    def keeps_order(self) -> bool:
        """True when records of a split cannot overtake each other before the keyed function."""
        if "unordered" in self.before:
            return False
        moves = len({(shape.default, shape.before) for shape in self.shapes}) > 1
        if "async" in self.before and (moves or any(source.appears for source in self.sources)):
            # With another parallelism, or more splits, a split may come to another subtask than what was in flight of
            # it.
            return False
        return all(
            set(shape.sources.values()) == {shape.default}
            and (not self.before or shape.before in (None, shape.default))
            for shape in self.shapes
        )


def scenario(seed: int) -> Scenario:
    """Makes a scenario; the same seed gives the same one."""
    rng = random.Random(seed)
    sources = _sources(rng)
    keyed = rng.choice(KEYED) if rng.random() < 0.9 else None
    regroups = keyed in ("aggregate", "value", "list") and rng.random() < 0.25
    has_deadline = rng.random() < 0.15
    interval = rng.choice((0.01, 0.03, 0.1))
    one = Scenario(
        seed=seed,
        policy=rng.choice((*POLICIES, "fifo")),
        sources=sources,
        before=[rng.choice(("map", "filter", "flat_map", "lazy")) for _ in range(rng.choice((0, 0, 1, 2)))],
        keyed=keyed,
        regroups=regroups,
        sinks=_sinks(rng, keyed),
        settings={
            "checkpoint_interval": timedelta(seconds=interval),
            "checkpoint_timeout": timedelta(seconds=rng.choice((0.03, 0.1, 1.0, 10.0))),
            "stalled_intervals": rng.choice((3, 10)),
            "batch_records": rng.choice((1, 2, 5, 10)),
            "channel_records": rng.choice((1, 1, 3, 20, 1000)),
            "retain": rng.choice((0, 1, 1, 2)),
            "key_groups": rng.choice((4, 7, 16)),
            "state_backend": "rocksdb" if rng.random() < 0.12 else "memory",
            "verify": rng.choice(("default", "full")),
            "restart": Restart.exponential(
                timedelta(milliseconds=50), timedelta(seconds=2), attempts=rng.choice((1, 4, 20))
            ),
        },
        shapes=_shapes(rng, sources, rescales=rng.random() < 0.4),
        faults=_faults(rng),
        folds_after=rng.choice((2, 2, 3, 60)),
        memory_cells=rng.choice((3, 10)) if rng.random() < 0.7 else None,
        slow_calls={
            name: 30.0
            for name in ("finish_fold", "finish_fold", "finish_fold", "write_log", "write_marker", "run")
            if rng.random() < 0.2
        },
        blocking_seconds=rng.choice((0.001, 0.01, 0.05, 0.05, 0.2)),
        answer_seconds=rng.choice((0.001, 0.01, 0.05, 0.05)),
        rewrites=rewrites(seed),
    )
    if one.settings["state_backend"] == "rocksdb":
        one.settings["verify"] = "full" if one.faults.flips else one.settings["verify"]
    if has_deadline:
        _add_deadline(one, rng)
    elif rng.random() < 0.35:
        _stress_state(one, rng)
    if one.keyed == "aggregate" and not (one.regroups or one.may_lose):
        # The engine's own aggregates in half of them; not where output may be lost, since what was in it is told by
        # the totals before and behind.
        one.keyed = random.Random(f"{seed} pair").choice(("aggregate", "pair"))
    _let_recover(one)
    if not has_deadline:
        _share_stores(one)
    _set_clock(one)
    return one


def rewrites(seed: int) -> float:
    """How often a state is written anew and not folded."""
    return random.Random(f"{seed} rewrites").choice((0.0, 0.5, 0.9, 1.0))


def _sources(rng: random.Random) -> list[SourceSpec]:
    found, number = [], 1
    keys = rng.choice((1, 3, 8, 30, 30))
    for source in range(rng.choice((1, 2))):
        splits: dict[str, list[Record]] = {}
        starts_latest = rng.random() < 0.3
        for split in range(rng.choice((1, 2, 3))):
            count = rng.choice((0, 5, 10, 20)) if split else rng.choice((10, 20))
            splits[f"s{source}-{split}"] = [(rng.randrange(keys), number + index) for index in range(count)]
            number += count
        one = SourceSpec(f"source{source}", splits, starts_latest, rng.choice((0.02, 0.06, 0.2)))
        if rng.random() < 0.2:
            one.is_bounded = False
            one.appears = {split: rng.random() * 2 for split in list(splits)[1:] if rng.random() < 0.5}
        found.append(one)
    return found


def _sinks(rng: random.Random, keyed: str | None) -> list[SinkSpec]:
    def one(uid: str, at: str) -> SinkSpec:
        return SinkSpec(uid, at, rng.choice(("pooled", "pooled", "named")))

    sinks = [one("out", "end")]
    if keyed is not None and rng.random() < 0.25:
        sinks.append(one("raw", "before"))
    return sinks


def _add_deadline(one: Scenario, rng: random.Random) -> None:
    """Lets prepared output time out.  With one writer whatever the outside aborts leaves a restore point, so the job
    must always find it; with several there may be none, and then stopping would be right."""
    if rng.random() < 0.4:
        one.may_lose = True
        one.sinks = [SinkSpec(sink.uid, sink.at, "pooled", DEADLINE_SECONDS) for sink in one.sinks]
    else:
        one.sinks = [SinkSpec("out", "end", "pooled", DEADLINE_SECONDS)]
        one.shapes = [Shape(1, {source.uid: 1 for source in one.sources}, 1, 1, 1)]
    one.faults.downtime_seconds = DEADLINE_SECONDS
    one.faults.starts = ()
    one.faults.flips = 0.0
    # An abandoned checkpoint leaves its unit to the next one, and of two units one may be lost.
    one.settings["checkpoint_timeout"] = timedelta(seconds=10)
    one.faults.disk_fails = one.faults.read_fails = 0.0
    one.slow_calls, one.blocking_seconds = {}, min(one.blocking_seconds, 0.05)
    # Commits that lag behind leave several checkpoints to settle, of which the outside may have aborted any.
    one.settings["checkpoint_interval"] = timedelta(seconds=0.02)
    one.faults.slow_commits = 50
    one.faults.crashes = tuple((rng.choice(("outside", "marker")), rng.randint(15, 45)) for _ in range(3))


def _stress_state(one: Scenario, rng: random.Random) -> None:
    """Lets logs, folds and abandoned checkpoints meet, with many keys that change now and then."""
    one.keyed = rng.choice(("value", "list", "clearing", "map", "aggregate"))
    one.regroups = False
    number = 1
    for source in one.sources:
        for split in source.splits:
            source.splits[split] = [(rng.randrange(20), number + index) for index in range(40)]
            number += 40
        source.slowness = 0.06
    one.settings["checkpoint_interval"] = timedelta(seconds=0.01)
    one.settings["checkpoint_timeout"] = timedelta(seconds=rng.choice((0.02, 0.02, 0.04, 10.0)))
    one.settings["batch_records"] = 5
    one.settings["stalled_intervals"] = 50
    one.settings["state_backend"] = rng.choice(("memory", "memory", "memory", "rocksdb"))
    one.memory_cells = 5
    one.folds_after = 2
    one.blocking_seconds = 0.02
    one.slow_calls = {rng.choice(("finish_fold", "write_log", "write_log")): 10.0}
    one.faults.crashes = (*one.faults.crashes, ("step", rng.randint(200, 1200)), ("disk", rng.randint(50, 300)))


def _share_stores(one: Scenario) -> None:
    """Puts more functions behind the same keys, of a class even, and lets each be parted from the others and join them
    again, from process to process."""
    rng = random.Random(f"{one.seed} shares")
    one.keys = rng.choice(("int", "int", "named tuple", "struct"))
    if one.keyed is None or rng.random() >= 0.3:
        return
    one.beside = [rng.choice(BESIDE) for _ in range(rng.choice((1, 2)))]
    if not one.is_bounded:
        one.beside = ["clearing" if kind == "batched" else kind for kind in one.beside]  # batches wait for the end
    for number in range(len(one.beside)):
        one.sinks.append(SinkSpec(f"beside{number}", f"beside{number}", rng.choice(("pooled", "named"))))
    for number, shape in enumerate(one.shapes * (4 if len(one.shapes) == 1 else 1)):
        default = rng.choice((1, 1, 1, shape.default))
        sources = rng.choice((dict.fromkeys(shape.sources, default), shape.sources))
        beside = tuple(rng.choice((None, None, 1, 2, 3)) for _ in one.beside)
        one.shapes[number : number + 1] = [
            Shape(default, sources, None, rng.choice((None, None, 1, 2)), shape.regroup, beside)
        ]
    if not (one.faults.starts or one.faults.pauses) and one.calms_at is None:
        one.faults.crashes = (*one.faults.crashes, *(("step", rng.randint(100, 600)) for _ in range(3)))


def _set_clock(one: Scenario) -> None:
    """Sets the wall clock, mostly back, while the job runs and while it does not."""
    rng = random.Random(f"{one.seed} clock")
    if rng.random() < 0.4:
        one.clock_steps = tuple(
            (3 * rng.random(), rng.choice((-0.1, -1.0, -30.0, -3600.0, 0.5, 3600.0))) for _ in range(rng.choice((1, 3)))
        )


def _let_recover(one: Scenario) -> None:
    """Lets the faults of some seeds end under a living process, and those of all in which no other follows: else there
    would be none."""
    rng = random.Random(f"{one.seed} recovers")
    faults = one.faults
    is_alone = not (faults.crashes or faults.stops or faults.starts)
    if faults.downtime_seconds >= DEADLINE_SECONDS or (rng.random() >= 0.2 and not is_alone):
        return
    one.calms_at = 2.5 * rng.random() ** 1.5
    # What the user has to see to, or what may end a job for good, is not what it recovers from.
    faults.flips = faults.function_fails = 0.0
    one.settings["restart"] = Restart.exponential(timedelta(milliseconds=50), timedelta(seconds=2), attempts=None)
    one.settings["checkpoint_timeout"] = max(one.settings["checkpoint_timeout"], timedelta(seconds=0.1))


def _shapes(rng: random.Random, sources: list[SourceSpec], *, rescales: bool) -> list[Shape]:
    def one() -> Shape:
        default = rng.choice((1, 2, 3))
        return Shape(
            default,
            {source.uid: rng.choice((1, default, 2)) for source in sources},
            rng.choice((None, None, 1, 2)),
            rng.choice((None, None, 1, 3)),
            rng.choice((None, 2)),
        )

    if not rescales:
        return [one()]
    return [one() for _ in range(4)]


def _faults(rng: random.Random) -> Faults:
    """Each seed switches a few on: all at once would hide what each can show."""
    faults = Faults()
    for name, most in MOST.items():
        if rng.random() < 0.35:
            setattr(faults, name, rng.random() * most)
    faults.disk_fails_at = rng.choice(("", "scratch", "scratch", "scratch", "files/", "chk-", "marker"))
    faults.disk_fails *= {"": 0.2, "scratch": 3}.get(faults.disk_fails_at, 1)
    faults.slow_commits = rng.choice((1, 1, 1, 10, 50))
    crashes = []
    for _ in range(rng.choice((0, 1, 1, 2, 3, 4))):
        kind = rng.choice(("step", "disk", "disk", "outside", "marker"))
        longest = {"step": 1000, "disk": 150, "outside": 40, "marker": 6}[kind]
        crashes.append((kind, 1 + int(longest * rng.random() ** 1.5)))
    faults.crashes = tuple(crashes)
    if rng.random() < 0.2:
        faults.stops = tuple(rng.choice((0.0, rng.random() * 2)) for _ in range(2))
    if rng.random() < 0.35:
        faults.pauses = tuple(rng.random() < 0.5 for _ in crashes)
    if rng.random() < 0.15:
        faults.starts = tuple(rng.choice(("latest", "older")) for _ in range(4))
    if rng.random() < 0.15:
        faults.flips = 0.7
    if rng.random() < 0.15:
        # Again and again while it restores and settles.
        faults.crashes = (*faults.crashes, *((rng.choice(("disk", "outside")), rng.randint(1, 40)) for _ in range(4)))
    faults.power = rng.choice((0.0, 0.7, 1.0))
    faults.downtime_seconds = rng.choice((0.0, 0.0, 1.0))
    return faults
