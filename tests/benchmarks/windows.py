"""Windows in one process, without sources and sinks: records/s of CPU time beside the running aggregate.

`python -m tests.benchmarks.windows [--records 200000] [--keys 1000] [--rounds 3]`
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import (
    AggregateFunction,
    Batch,
    Count,
    CountWindows,
    EveryRecords,
    SessionWindows,
    SlidingWindows,
    Sum,
    TumblingWindows,
)
from streamlet.dsl.windowed import window_operator
from streamlet.operators.operator import Operator
from streamlet.operators.rolling import Aggregate
from streamlet.operators.sliding_windows import SlidingPanes
from streamlet.operators.window_contents import Folded, folding_of
from streamlet.operators.windowing import WindowPolicy
from streamlet.state.memory import MemoryKeyedStore
from tests.unit.operator_kit import Keyed

PER_BATCH, STEP_MS, OUT_OF_ORDER_MS = 500, 10, 200
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def windows(assigner: Any, *functions: AggregateFunction[Any, Any, Any], **policy: Any) -> Callable[[], Operator]:
    return lambda: window_operator(WindowPolicy(assigner, **policy), Folded(folding_of(functions), None))


def without_stacks() -> Operator:
    """Sliding windows that merge all their panes each time."""
    made = windows(SlidingWindows(MINUTE, SECOND), Count())()
    assert isinstance(made, SlidingPanes)
    made.merges.is_in_use = False
    return made


PROGRAMS: dict[str, Callable[[], Operator]] = {
    "running count": lambda: Aggregate(Count(), None),
    "tumbling 1 min count": windows(TumblingWindows(MINUTE), Count()),
    "tumbling 10 min count": windows(TumblingWindows(10 * MINUTE), Count()),
    "running sum": lambda: Aggregate(Sum(), None),
    "tumbling 10 min sum": windows(TumblingWindows(10 * MINUTE), Sum()),
    "tumbling 10 min count and sum": windows(TumblingWindows(10 * MINUTE), Count(), Sum()),
    "sliding 1 min by 30 s": windows(SlidingWindows(MINUTE, 30 * SECOND), Count()),
    "sliding 1 min by 1 s": windows(SlidingWindows(MINUTE, SECOND), Count()),
    "sliding 1 min by 1 s, no stacks": without_stacks,
    "sessions of 30 s": windows(SessionWindows(30 * SECOND), Count()),
    "each 100": windows(CountWindows(100), Count(), trigger=EveryRecords(100), is_accumulating=False),
}


def batches(records: int, keys: int) -> list[tuple[Batch[int], int]]:
    """Batches in about the order of time, each with the watermark behind it."""
    chance = random.Random(1)
    names = [f"key-{number}" for number in range(keys)]
    made = []
    for first in range(0, records, PER_BATCH):
        times = [
            1_000 + (first + row) * STEP_MS + chance.randrange(-OUT_OF_ORDER_MS, OUT_OF_ORDER_MS)
            for row in range(PER_BATCH)
        ]
        values = [chance.randrange(100) for _ in times]
        made.append((Batch(values, times, [chance.choice(names) for _ in times]), (first + PER_BATCH) * STEP_MS))
    return made


def measure(make: Callable[[], Operator], prepared: list[tuple[Batch[int], int]]) -> tuple[float, int]:
    """Records/s of CPU time, and how many results came out."""
    emitted = 0

    def emit(batch: Batch[Any]) -> None:
        nonlocal emitted
        emitted += len(batch)

    with tempfile.TemporaryDirectory() as folder:
        keyed = Keyed(MemoryKeyedStore, Path(folder), make())
        operator, lookup, event_time = keyed.operator, keyed.lookup, keyed.operator.context.event_time
        gc.collect()
        gc.disable()
        began = time.process_time()
        for batch, watermark in prepared:
            lookup.process(batch, lambda found: operator.process(found, emit))
            event_time.watermark = watermark
            while operator.on_watermark(watermark, emit):
                pass
        seconds = time.process_time() - began
        gc.enable()
        keyed.store.close()
    return sum(len(batch) for batch, _ in prepared) / seconds, emitted


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=200_000)
    options.add_argument("--keys", type=int, default=1_000)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    rates: defaultdict[str, list[float]] = defaultdict(list)
    results = {}
    prepared = batches(chosen.records, chosen.keys)
    for _ in range(chosen.rounds):
        for name, make in PROGRAMS.items():
            rate, results[name] = measure(make, prepared)
            rates[name].append(rate)
    for name, found in rates.items():
        print(
            f"{name:34s} {statistics.median(found) / 1e3:8.0f} k records/s "
            f"({min(found) / 1e3:.0f} to {max(found) / 1e3:.0f}), {results[name]} results"
        )


if __name__ == "__main__":
    main()
