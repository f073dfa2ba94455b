"""Tumbling windows by how many keys there are, beside a loop by hand, without Kafka: `... benchmarks window_keys`.

From a few keys, so that a record folds into a window that is open, to so many that nearly every record opens one of
its own.  The operator works on its real store, which is frozen, packed and tidied as in a job; the loop has a dict per
open window.  Counted is the CPU time of the thread, firing and checkpoints included.  What both put out is compared.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import Count, Sum, TumblingWindows
from streamlet.connect import Batch
from tests.benchmarks.reporting import Report, with_common_options
from tests.benchmarks.windows import STORES, windows
from tests.unit.operator_kit import Keyed
from tests.unit.state_kit import checkpoint

SIZE_MS, PER_WINDOW, PER_BATCH, DELAY_MS = 10_000, 68_000, 500, 1_000
PER_CHECKPOINT = 50_000
"""About a second's worth of records."""
MEMORY_BYTES = 1 << 30
BY_HAND = "by hand"

Prepared = tuple[list[int], list[int], list[str], int]
"""Values, times and keys of a batch, and the watermark behind it."""
Put = Callable[[str, int, int, int], None]
"""Takes a key, the end of its window, a count and a sum."""


def prepared(records: int, keys: int) -> Iterator[Prepared]:
    """Batches in about the order of time; the last watermark ends every window."""
    chance = random.Random(1)
    names = [f"user-{number}" for number in range(keys)]
    for first in range(0, records, PER_BATCH):
        rows = range(first, min(first + PER_BATCH, records))
        times = [1_000 + row * SIZE_MS // PER_WINDOW - chance.randrange(DELAY_MS) for row in rows]
        watermark = rows[0] * SIZE_MS // PER_WINDOW - 1 if rows[-1] < records - 1 else records * SIZE_MS
        yield [chance.randrange(100) for _ in rows], times, [chance.choice(names) for _ in rows], watermark


def by_hand(batches: Sequence[Prepared], put: Put) -> None:
    """A dict per open window."""
    opened: dict[int, dict[str, list[int]]] = {}
    for values, times, keys, watermark in batches:
        low = high = 0
        current: dict[str, list[int]] = {}
        for value, at, key in zip(values, times, keys, strict=True):
            if not low <= at < high:
                low = at - at % SIZE_MS
                high = low + SIZE_MS
                current = opened.setdefault(low, {})
            kept = current.get(key)
            if kept is None:
                current[key] = [1, value]
            else:
                kept[0] += 1
                kept[1] += value
        while opened and (first := min(opened)) + SIZE_MS - 1 <= watermark:
            for key, (count, total) in opened.pop(first).items():
                put(key, first + SIZE_MS, count, total)


def by_operator(store: type[Any], batches: Sequence[Prepared], put: Put) -> None:
    """The operator, with what its store does beside it."""
    operator = windows(TumblingWindows(timedelta(milliseconds=SIZE_MS)), Count(), Sum())()

    def out(batch: Batch[Any]) -> None:
        for one in batch.values:
            put(one.key, one.window.end, *one.value)

    def process(batch: Batch[Any]) -> None:
        operator.process(batch, out)

    with tempfile.TemporaryDirectory() as folder:
        keyed = Keyed(store, Path(folder), operator)
        keyed.store.eviction.bound_bytes = MEMORY_BYTES
        event_time, since = operator.context.event_time, 0
        for values, times, keys, watermark in batches:
            keyed.lookup.process(Batch(values, times, keys), process)
            event_time.watermark = watermark
            while operator.on_watermark(watermark, out):
                pass
            since += len(values)
            if since >= PER_CHECKPOINT:
                since = 0
                checkpoint(keyed.store, keyed.store.cut + 1)
            if keyed.store.can_evict():
                keyed.store.evict(0.002)
        keyed.store.close()


def measure(program: Callable[[Sequence[Prepared], Put], None], batches: Sequence[Prepared]) -> tuple[Any, Any]:
    """What a record costs; and what was put out."""
    given: list[tuple[str, int, int, int]] = []
    append = given.append
    gc.collect()
    began = time.thread_time()
    program(batches, lambda *result: append(result))
    seconds = time.thread_time() - began
    records = sum(len(values) for values, _, _, _ in batches)
    return {"cpu_us_per_record": round(seconds / records * 1e6, 3), "results": len(given)}, Counter(given)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks window_keys", description=__doc__)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--keys", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--stores", nargs="*", choices=STORES, default=list(STORES))
    options = with_common_options(parser).parse_args(arguments)
    report = Report("window_keys", options.json)
    ratios = []
    gc.disable()  # as in a job
    for keys in options.keys:
        batches = list(prepared(options.records, keys))
        names = {store: f"{keys:,} keys, {store}" for store in options.stores}
        for number in range(options.rounds):
            figures, expected = measure(by_hand, batches)
            report.add(f"{keys:,} keys, {BY_HAND}", number, figures)
            for store, name in names.items():
                figures, given = measure(lambda *both, kind=STORES[store]: by_operator(kind, *both), batches)
                assert given == expected, f"{name}: what came out is not what the loop gives"
                report.add(name, number, figures)
        ratios += [report.ratios(name, f"{keys:,} keys, {BY_HAND}", ["cpu_us_per_record"]) for name in names.values()]
    gc.enable()
    print(report.table(), *ratios, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
