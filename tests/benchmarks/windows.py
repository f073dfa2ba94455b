"""Windows and joins in one process, without sources and sinks: `python -m tests.benchmarks windows`.

The running count stands beside them.

`--memory` lets each run in a process of its own over many records of the same keys, on each store, and shows how memory
grows.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import Count, SessionWindows, SlidingWindows, Sum, TumblingWindows
from streamlet.aggregates import AggregateFunction
from streamlet.connect import Batch
from streamlet.dsl.windowed import window_operator
from streamlet.operators.aggregates.rolling import Aggregate
from streamlet.operators.joins.interval import IntervalJoin
from streamlet.operators.joins.operator import Join
from streamlet.operators.operator import Operator
from streamlet.operators.windows.contents import Folded, folding_of
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.operators.windows.sliding import SlidingPanes
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.backends.rocksdb import RocksDbKeyedStore
from streamlet.windows import CountWindows, EveryRecords
from tests.benchmarks.meter import resident_bytes
from tests.benchmarks.reporting import Report, with_common_options
from tests.unit.operator_kit import Keyed
from tests.unit.state_kit import checkpoint, fold

PER_BATCH, STEP_MS, OUT_OF_ORDER_MS = 500, 10, 200
BATCHES_PER_CHECKPOINT = 200
RUNNING_COUNT = "running count"
STORES: dict[str, type[Any]] = {"rocksdb": RocksDbKeyedStore, "memory": MemoryKeyedStore}
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
    RUNNING_COUNT: lambda: Aggregate(Count(), None),
    "tumbling 1 min count": windows(TumblingWindows(MINUTE), Count()),
    "tumbling 10 min count": windows(TumblingWindows(10 * MINUTE), Count()),
    "running sum": lambda: Aggregate(Sum(), None),
    "tumbling 10 min sum": windows(TumblingWindows(10 * MINUTE), Sum()),
    "tumbling 10 min count and sum": windows(TumblingWindows(10 * MINUTE), Count(), Sum()),
    "sliding 1 min by 30 s": windows(SlidingWindows(MINUTE, 30 * SECOND), Count()),
    "sliding 1 min by 1 s": windows(SlidingWindows(MINUTE, SECOND), Count()),
    "sliding 1 min by 1 s, no stacks": without_stacks,
    "sessions of 30 s": windows(SessionWindows(30 * SECOND), Count()),
    "interval join within 5 s": lambda: IntervalJoin(Join(lambda left, right: left + right), -5000, 5000),
    "each 100": windows(CountWindows(100), Count(), trigger=EveryRecords(100), is_accumulating=False),
}


Prepared = tuple[Batch[int], int]
"""A batch, and the watermark behind it."""


def batches(records: int, keys: int) -> Iterator[Prepared]:
    """Batches in about the order of time."""
    chance = random.Random(1)
    names = [f"key-{number}" for number in range(keys)]
    for first in range(0, records, PER_BATCH):
        times = [
            1_000 + (first + row) * STEP_MS + chance.randrange(-OUT_OF_ORDER_MS, OUT_OF_ORDER_MS)
            for row in range(PER_BATCH)
        ]
        values = [chance.randrange(100) for _ in times]
        yield Batch(values, times, [chance.choice(names) for _ in times]), (first + PER_BATCH) * STEP_MS


class Run:
    """One operator over some batches; a join gets them for its sides in turn."""

    def __init__(self, make: Callable[[], Operator], folder: Path, store: type[Any] = MemoryKeyedStore) -> None:
        self.emitted = 0
        self.keyed = Keyed(store, folder, make())

    def take(self, prepared: Iterable[Prepared]) -> None:
        """Works through them."""
        operator, lookup = self.keyed.operator, self.keyed.lookup
        event_time, emit, turn = operator.context.event_time, self._emit, 0
        is_join = isinstance(operator, IntervalJoin)

        def process(found: Batch[Any]) -> None:
            if is_join:
                operator.process_input(turn, found, emit)
            else:
                operator.process(found, emit)

        for batch, watermark in prepared:
            lookup.process(batch, process)
            event_time.watermark = watermark
            while operator.on_watermark(watermark, emit):
                pass
            turn = 1 - turn

    def _emit(self, batch: Batch[Any]) -> None:
        self.emitted += len(batch)


def measure(make: Callable[[], Operator], prepared: Sequence[Prepared]) -> dict[str, float]:
    """What a record costs, and how many results came out."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(make, Path(folder))
        gc.collect()
        gc.disable()
        began = time.process_time()
        run.take(prepared)
        seconds = time.process_time() - began
        gc.enable()
        run.keyed.store.close()
    records = sum(len(batch) for batch, _ in prepared)
    return {
        "records_per_cpu_second": round(records / seconds),
        "cpu_us_per_record": round(seconds / records * 1e6, 3),
        "results": run.emitted,
    }


def measure_memory(make: Callable[[], Operator], store: type[Any], records: int, keys: int) -> dict[str, float]:
    """Resident memory as it grows: after a quarter, half and all of the records."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, json.dumps(_growth(make, store, records, keys)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the measuring process ended with {status}"
    found: dict[str, float] = json.loads(said)
    return found


def _growth(make: Callable[[], Operator], store: type[Any], records: int, keys: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    whole = max(1, records // PER_BATCH)
    marks = {whole // 4: "quarter", whole // 2: "half", whole: "end"}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(make, Path(folder), store)
        for number, one in enumerate(batches(whole * PER_BATCH, keys), 1):
            run.take([one])
            if number % BATCHES_PER_CHECKPOINT == 0:
                _relieve(run.keyed.store)
            if number in marks:
                gc.collect()
                figures[f"rss_mb_at_{marks[number]}"] = round(resident_bytes(os.getpid()) / (1 << 20), 1)
        run.keyed.store.close()
    return figures


def _relieve(store: Any) -> None:
    """What the engine does now and then: a checkpoint, a fold (elsewhere, but here in this process), and eviction."""
    checkpoint(store, store.cut + 1)
    fold(store)
    while store.can_evict():
        store.evict(1.0)


def _memory(options: argparse.Namespace, report: Report) -> None:
    for number in range(options.rounds):
        for name in options.only:
            for store in options.stores:
                figures = measure_memory(PROGRAMS[name], STORES[store], options.records, options.keys)
                report.add(f"{name}, {store}", number, figures)


def _speed(options: argparse.Namespace, report: Report) -> None:
    prepared = list(batches(options.records, options.keys))
    for number in range(options.rounds):
        for name in options.only:
            report.add(name, number, measure(PROGRAMS[name], prepared))


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks windows", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--memory", action="store_true", help="resident memory instead of speed")
    parser.add_argument("--stores", nargs="*", choices=STORES, default=list(STORES), help="where memory is measured")
    parser.add_argument("--only", nargs="*", choices=PROGRAMS, default=list(PROGRAMS))
    options = with_common_options(parser).parse_args(arguments)
    report = Report("windows", options.json)
    (_memory if options.memory else _speed)(options, report)
    print(report.table())
    for name in options.only:
        if ratio := report.ratios(name, RUNNING_COUNT, ["cpu_us_per_record"]):
            print(ratio)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
