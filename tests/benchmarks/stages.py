"""What each stage of the keyed count costs in CPU, without a broker: `python -m tests.benchmarks stages`.

The same record batches go through the pieces that the job is made of, one after the other, and through the work of the
hand-written loop, in one thread and in turn.  Counted is the CPU time of that thread in a second pass, when every key
is known: so it can be trusted where other programs are at work too.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streamlet import Count, Json, Sum
from streamlet.connect import Batch
from streamlet.operators.aggregates.rolling import aggregating
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet_connectors.kafka.writing.routing import Router
from tests.benchmarks import handwritten
from tests.benchmarks.output_topic import PARTITIONS
from tests.benchmarks.payments import encoded, payments
from tests.benchmarks.reporting import Report, with_common_options
from tests.unit.operator_kit import Keyed
from tests.unit.state_kit import checkpoint

PER_BATCH, PER_KAFKA_BATCH, BATCH_BYTES = 500, 5_000, 256_000
BATCHES_PER_CHECKPOINT = 800
"""A second's worth."""
_NOW_MS = 1_700_000_000_000
STREAMLET, HANDWRITTEN = "streamlet", "handwritten"


class Payment(msgspec.Struct, frozen=True, gc=False):
    user: str
    amount: int


class Spend(msgspec.Struct, frozen=True, gc=False):
    user: str
    count: int
    sum: int


class PartitionBatch:
    """The open record batch of one partition."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.count = 0
        self.append = DefaultRecordBatchBuilder(2, 0, 1, -1, -1, 0, BATCH_BYTES).append


class Stages:
    """The keyed count, stage by stage."""

    def __init__(self, folder: Path) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._open = [PartitionBatch() for _ in range(PARTITIONS)]
        self._router = Router(self._open, key="stream", key_format=None, partition=None, owns_memo=True)
        self._in, self._out = Json(Payment), Json[Spend]()
        operator = aggregating((Count(), Sum(lambda payment: payment.amount)), Spend)
        self._keyed = Keyed(MemoryKeyedStore, folder, operator)
        self._batches = 0

    def take(self, whole: bytes) -> None:
        """Works through one record batch of Kafka's."""
        rows = filter(None, DefaultRecordBatch(bytearray(whole)))
        while some := self._timed("fetch", list, islice(rows, PER_BATCH)):
            values = self._timed("decode", self._in.decode_batch, [row.value for row in some])
            del some
            keys = self._timed("key", lambda values: [payment.user for payment in values], values)
            found = self._timed("lookup", self._emitted, self._keyed.lookup, Batch(values, None, keys))
            results = self._timed("fold", self._emitted, self._keyed.operator, found)
            lines = self._timed("encode", self._out.encode_batch, results.values)
            self._timed("append", _append, results, lines, self._router)
            self._batches += 1
            if self._batches % BATCHES_PER_CHECKPOINT == 0:
                self._timed("checkpoint", checkpoint, self._keyed.store, self._keyed.store.cut + 1)

    def close(self) -> None:
        self._keyed.store.close()

    def _emitted(self, operator: Any, batch: Batch[Any]) -> Batch[Any]:
        out: list[Batch[Any]] = []
        operator.process(batch, out.append)
        return out[0]

    def _timed(self, stage: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        result = function(*arguments)
        self.spent[stage] += time.thread_time() - began
        return result


def _append(results: Batch[Any], lines: Sequence[bytes], router: Router[PartitionBatch]) -> None:
    # As the writer does it.
    remember, headers = router.remember, list[Any]()
    for keyed, value in zip(results.keys or (), lines, strict=False):
        key = keyed.key.encode()
        target = keyed.memo or remember(keyed, key)
        if target.append(target.count, _NOW_MS, key, value, headers) is None:
            target.begin()
            target.append(0, _NOW_MS, key, value, headers)
        target.count += 1


def record_batches(records: int) -> Iterator[bytes]:
    """The input as a broker gives it."""
    lines = [encoded(number, payment) for number, payment in enumerate(payments(records))]
    for first in range(0, records, PER_KAFKA_BATCH):
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 22)
        for number, line in enumerate(lines[first : first + PER_KAFKA_BATCH]):
            builder.append(number, _NOW_MS + number, b"key", line, [])
        yield bytes(builder.build())


def by_stages(batches: Sequence[bytes], records: int) -> dict[str, float]:
    """CPU nanoseconds per record of each stage of the job."""
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(Path(folder))
        for one in batches:
            stages.take(one)
        stages.spent.clear()
        for one in batches:
            stages.take(one)
        stages.close()
    found = {f"{stage}_ns": round(seconds / records * 1e9) for stage, seconds in stages.spent.items()}
    return {**found, "all_ns": sum(found.values())}


def by_hand(batches: Sequence[bytes], records: int) -> dict[str, float]:
    """CPU nanoseconds per record of the hand-written work."""
    work, targets = handwritten.spend(), [PartitionBatch() for _ in range(PARTITIONS)]
    began = 0.0

    def append(partition: int, now_ms: int, key: bytes | None, value: bytes) -> None:
        target = targets[partition]
        if target.append(target.count, now_ms, key, value, []) is None:
            target.begin()
            target.append(0, now_ms, key, value, [])
        target.count += 1

    for _ in range(2):
        began = time.thread_time()
        for one in batches:
            work(DefaultRecordBatch(bytearray(one)), append)
    return {"all_ns": round((time.thread_time() - began) / records * 1e9)}


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks stages", description=__doc__)
    parser.add_argument("--records", type=int, default=400_000)
    options = with_common_options(parser).parse_args(arguments)
    report = Report("stages", options.json)
    batches = list(record_batches(options.records))
    gc.collect()
    gc.disable()  # as in a job
    try:
        for number in range(options.rounds):
            report.add(HANDWRITTEN, number, by_hand(batches, options.records))
            report.add(STREAMLET, number, by_stages(batches, options.records))
    finally:
        gc.enable()
    print(report.table())
    print(report.ratios(STREAMLET, HANDWRITTEN, ["all_ns"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
