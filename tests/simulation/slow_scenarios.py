"""Jobs whose functions are slow behind shuffles, in virtual time: however slow, no barrier waits long for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from streamlet.operators import process
from streamlet.operators.user_code.pausing import Pause
from streamlet.runtime.task import subtask
from streamlet.runtime.task.held_back import Queues
from streamlet.runtime.task.source_subtask import SourceSubtask
from streamlet.runtime.task.subtask import Subtask
from streamlet.testing.patches import Patches
from tests.simulation import functions
from tests.simulation.oracle import WrongOutput
from tests.simulation.scenario import Faults, Scenario, Shape, SinkSpec, SourceSpec
from tests.simulation.timed_scenarios import add_time
from tests.simulation.world import simulate

_FIXED_SECONDS, _RECORDS = 1.3, 5
"""From the trigger of a checkpoint until the last subtask has taken its part in it go by at most so many seconds and as
much as so many of the slowest records take, where up to 16 subtasks behind up to three shuffles share one loop."""

Cost = Callable[[functions.Record], float]


def slowest(seed: int) -> float:
    """What the slowest records take, in seconds."""
    return (0.2, 0.05, 0.02, 0.001)[seed // 3 % 4]


def cost_of(seed: int) -> Cost:
    """What a record takes: the same for all, now and then much, or more for one key."""
    slow = slowest(seed)
    return (
        lambda record: slow,
        lambda record: slow if record[1] % 50 == 0 else 0.001,
        lambda record: slow if record[0] == 0 else slow / 20,
    )[seed % 3]


def slow(seed: int) -> Scenario:
    """The scenario of a seed; nothing goes wrong in it."""
    rng = random.Random(f"{seed} slow")
    parallelism = rng.choice((1, 2, 4, 8))
    splits = parallelism * rng.choice((1, 2))
    keys = [0] * 9 + [1] if rng.random() < 0.3 else list(range(20))
    # So many as take no more than some ten seconds.
    cost = cost_of(seed)
    mean = sum(cost((key, number)) for number in range(100) for key in keys) / 100 / len(keys)
    records = int(min(240, 6 / mean)) // splits + 1
    given = {
        f"s{split}": [(rng.choice(keys), split * records + index) for index in range(records)]
        for split in range(splits)
    }
    names = sorted(given)
    two = splits > 1 and rng.random() < 0.5
    parts = [names[::2], names[1::2]] if two else [names]
    sources = [
        SourceSpec(f"source{number}", {name: given[name] for name in part}, starts_latest=False, slowness=0.0)
        for number, part in enumerate(parts)
    ]
    shape = Shape(parallelism, {source.uid: parallelism for source in sources}, None, None, None)
    return Scenario(
        seed=seed,
        policy=rng.choice(("fifo", "jitter")),
        sources=sources,
        before=[rng.choice(("map", "flat_map"))] if rng.random() < 0.5 else [],
        keyed="value",
        regroups=rng.random() < 0.4,
        sinks=[SinkSpec("out", "end", "pooled")],
        settings={
            "checkpoint_interval": timedelta(seconds=0.5),
            "batch_records": 100,
            "key_groups": 16,
            "state_backend": "memory",
        },
        shapes=[shape],
        faults=Faults(),
        folds_after=60,
        memory_cells=None,
        slow_calls={},
        blocking_seconds=0.001,
        answer_seconds=0.001,
    )


def interrupted(seed: int) -> Scenario:
    """The same with kills, and with another parallelism after each: what waited has to be found again."""
    rng = random.Random(f"{seed} interrupted")
    one = slow(seed)
    shapes = [Shape(of, {source.uid: of for source in one.sources}, None, None, None) for of in (2, 1, 4, 3)]
    rng.shuffle(shapes)
    crashes = tuple(("step", rng.randrange(100, 1500)) for _ in range(3))
    settings = {**one.settings, "checkpoint_interval": timedelta(seconds=0.1)}
    faults = Faults(crashes=crashes, power=0.0)
    return replace(one, shapes=[*one.shapes, *shapes], faults=faults, settings=settings)


def run_interrupted_firing(seed: int) -> int:
    """The same with a function that tells of records by timers, which fire in parts of a few."""
    patches = Patches()
    patches.put(process, "TURN", lambda _: 3)
    try:
        return run_interrupted_timed(seed, "firing")
    finally:
        patches.undo()


def run_interrupted_timed(seed: int, keyed: str = "timed") -> int:
    """The same with event time: raises also where a record is late, or a key sees event time go back."""
    one = interrupted(seed)
    add_time(one)
    one.keyed = keyed
    functions.TIME_BROKE.clear()
    try:
        kept = _run_interrupted(seed, one)
        if functions.TIME_BROKE:
            raise WrongOutput(functions.TIME_BROKE[0])
        return kept
    finally:
        functions.TIME_BROKE.clear()


def run_interrupted(seed: int) -> int:
    """Gives how many checkpoints had something that waited; raises for wrong output."""
    return _run_interrupted(seed, interrupted(seed))


def _run_interrupted(seed: int, one: Scenario) -> int:
    patches = Patches()
    kept: list[Any] = []

    def noted(original: Any) -> Any:
        def keeping(self: Any, number: int) -> Any:
            found = original(self, number)
            kept.extend(found or ())
            return found

        return keeping

    patches.put(functions.Remembering, "process_element", partial(_slowly, cost_of(seed), pauses=True))
    patches.put(Queues, "kept", noted)
    if seed % 4:
        patches.put(subtask, "_KEEPING_SECONDS", lambda _: 0.0)
    try:
        simulate(one)
    finally:
        patches.undo()
    return len(kept)


def _slowly(cost: Cost, original: Any, *, pauses: bool = False) -> Any:
    def slowly(self: Any, value: functions.Record, ctx: Any) -> Any:
        loop: Any = asyncio.get_running_loop()
        loop.clock.seconds += cost(value)
        if pauses and value[1] % 5 == 0:
            Pause.ask()
        return original(self, value, ctx)

    return slowly


def run_slow(seed: int) -> float:
    """Gives how long the slowest checkpoint's barriers took; raises for wrong output, and where that was too long."""
    patches = Patches()
    asked: dict[int, float] = {}
    waited: dict[int, float] = {}

    def trigger(original: Any) -> Any:
        def noted(self: Any, message: Any) -> None:
            asked.setdefault(message.checkpoint_id, self._clock.monotonic())
            original(self, message)

        return noted

    def checkpoint(original: Any) -> Any:
        async def noted(self: Any, checkpoint_id: int, positions: Any) -> None:
            waited[checkpoint_id] = self._clock.monotonic() - asked[checkpoint_id]
            await original(self, checkpoint_id, positions)

        return noted

    patches.put(functions.Remembering, "process_element", partial(_slowly, cost_of(seed)))
    patches.put(SourceSubtask, "trigger", trigger)
    patches.put(Subtask, "checkpoint", checkpoint)
    try:
        simulate(slow(seed))
    finally:
        patches.undo()
    if len(waited) < 2:
        raise WrongOutput(f"{len(waited)} checkpoints show nothing")
    longest = max(waited.values())
    if longest > _FIXED_SECONDS + _RECORDS * slowest(seed):
        raise WrongOutput(f"the barriers of a checkpoint took {longest:.2f} s")
    return longest
