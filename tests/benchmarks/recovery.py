"""How fast a job is back after `kill -9`: `python -m tests.benchmarks.recovery --state 100MB 1GB --kills 20`.

A job from Kafka to Kafka builds that much keyed state in RocksDB.  Then input goes on coming, the job is killed at
random times and started again at once by the same command, and the time from the kill to the first record that the new
process has written and committed is taken, as a read_committed reader sees it.  At the end every output record is
checked.  Figures only: no time is asserted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from streamlet.config import parse_bytes
from tests.benchmarks.output_topic import PARTITIONS, Ends
from tests.benchmarks.reporting import Report, with_common_options
from tests.kafka.broker import Kafka, a_kafka
from tests.kafka.reading import check_running_counts, fill_topic, read_committed
from tests.recovery.running_jobs import JobHome, RunningJob, a_home
from tests.recovery.spending import Feeder, Witness

JOB = Path(__file__).with_name("recovery_job.py")
_LONGEST_SECONDS = 900.0
_LOOK_SECONDS = 0.01
_MOMENTS = ("restored", "first_record", "recovered")


class Offered:
    """The input: every user once, then random ones at a rate."""

    def __init__(self, kafka: Kafka, topic: str, keys: int) -> None:
        self.fed: list[tuple[str, int]] = []
        self._kafka, self._topic, self._keys = kafka, topic, keys
        self._random = random.Random(11)

    def each_once(self) -> None:
        self._write([(f"user-{number}", number % 997) for number in range(self._keys)])

    def some(self, count: int) -> None:
        pick = self._random.randrange
        self._write([(f"user-{pick(self._keys)}", pick(1000)) for _ in range(count)])

    def _write(self, made: list[tuple[str, int]]) -> None:
        lines = ((name.encode(), json.dumps({"user": name, "amount": amount}).encode()) for name, amount in made)
        large = {"batch.size": 262_144, "queue.buffering.max.messages": 500_000, "enable.idempotence": False}
        fill_topic(self._kafka.bootstrap, self._topic, lines, options=large)
        self.fed += made


class Reader:
    """Sees what is committed, from the end of the topic on."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        common = {"bootstrap.servers": bootstrap, "group.id": "recovery", "enable.auto.commit": False, "log_level": 0}
        self._ends = Consumer({**common, "isolation.level": "read_uncommitted"})
        self._reader = Consumer({**common, "isolation.level": "read_committed", "fetch.wait.max.ms": 10})
        self._reader.assign([TopicPartition(topic, partition, end) for partition, end in self.ends().items()])

    def ends(self) -> dict[int, int]:
        """Where everything that was ever written ends, committed or not."""
        found = {}
        for partition in range(PARTITIONS):
            found[partition] = self._ends.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=30)[1]
        return found

    def look(self) -> dict[int, int]:
        """Reads what is there, waiting a little; gives the last offset of each partition that had something."""
        messages = self._reader.consume(10_000, timeout=_LOOK_SECONDS)
        return {one.partition() or 0: one.offset() or 0 for one in messages if one.error() is None}

    def close(self) -> None:
        self._ends.close()
        self._reader.close()


def one_size(kafka: Kafka, text: str, options: argparse.Namespace) -> dict[str, Any]:
    """Builds the state, kills, and gives the figures."""
    keys = parse_bytes(text) // options.value_bytes
    name = uuid.uuid4().hex[:8]
    topics = {"IN_TOPIC": f"recovery-in-{name}", "OUT_TOPIC": f"recovery-out-{name}"}
    for topic in topics.values():
        kafka.create_topic(topic, PARTITIONS)
    folder = Path(tempfile.mkdtemp(prefix="streamlet-recovery-"))
    environment = {
        "BOOTSTRAP": kafka.bootstrap,
        "VALUE_BYTES": str(options.value_bytes),
        "INTERVAL_MS": str(int(options.interval * 1000)),
        "FIRST": str(folder / "first"),
        **topics,
    }
    offered = Offered(kafka, topics["IN_TOPIC"], keys)
    try:
        offered.each_once()
        with a_home(JOB, folder / "state", environment) as home:
            figures = _killed_again_and_again(kafka, home, folder, topics["OUT_TOPIC"], offered, options)
        figures["state_on_disk_mb"] = round(_disk_bytes(folder / "state") / (1 << 20))
        if not options.unchecked:
            check_running_counts(offered.fed, read_committed(kafka.bootstrap, topics["OUT_TOPIC"], timeout_seconds=300))
        return {"keys": keys, "checked": not options.unchecked, **figures}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for topic in topics.values():
            kafka.delete_topic(topic)


def _killed_again_and_again(
    kafka: Kafka, home: JobHome, folder: Path, out_topic: str, offered: Offered, options: argparse.Namespace
) -> dict[str, Any]:
    job = home.start()
    first_record = _first_record(folder, job) - job.started
    ends = Ends(kafka.bootstrap, out_topic)
    _wait(lambda: ends.stable() >= len(offered.fed), job, "the state is built")
    reader = Reader(kafka.bootstrap, out_topic)
    pick = random.Random(options.seed)
    feeder = Feeder(offered.some, 10_000_000, max(1, options.rate // 10), options.rate)
    spans: list[dict[str, float]] = []
    try:
        for _ in range(options.kills):
            until = time.monotonic() + pick.uniform(2.0, 5.0) * options.interval
            while time.monotonic() < until:
                reader.look()
            (folder / "first").unlink()
            killed = time.monotonic()
            job.kill()
            job = home.start()
            spans.append(_back(job, folder, reader, killed))
            print(json.dumps({"kill": len(spans), **spans[-1]}), file=sys.stderr, flush=True)
    finally:
        feeder.cancel()
        reader.close()
    # Records are counted here, for the offsets of a topic count the markers of transactions too.
    witness = Witness(kafka.bootstrap, out_topic)
    try:
        _wait(lambda: witness.look(_LOOK_SECONDS) >= len(offered.fed), job, "everything that was fed is committed")
    finally:
        witness.close()
    code = job.stop()
    assert code == 0, job.said
    return {"kills": options.kills, "start_to_first_record_s": round(first_record, 3), **_spread(spans)}


def _back(job: RunningJob, folder: Path, reader: Reader, killed: float) -> dict[str, float]:
    """Seconds from the kill: the next process has said that it restored, has its first record, is back."""
    behind = reader.ends()
    restored = 0.0
    while not any(offset >= behind[partition] for partition, offset in reader.look().items()):
        if not restored and ": restored checkpoint " in job.said:
            restored = time.monotonic()
        _must_run(job, killed, "new output")
    back = time.monotonic()
    return {
        "restored": round((restored or back) - killed, 3),
        "first_record": round(_first_record(folder, job) - killed, 3),
        "recovered": round(back - killed, 3),
    }


def _first_record(folder: Path, job: RunningJob) -> float:
    """When the job took in its first record."""
    _wait((folder / "first").exists, job, "its first record")
    _wait(lambda: bool((folder / "first").read_text()), job, "its first record")
    return float((folder / "first").read_text())


def _wait(condition: Callable[[], bool], job: RunningJob, what: str) -> None:
    began = time.monotonic()
    while not condition():
        _must_run(job, began, what)
        time.sleep(_LOOK_SECONDS)


def _must_run(job: RunningJob, since: float, what: str) -> None:
    if job.has_ended or time.monotonic() - since > _LONGEST_SECONDS:
        raise SystemExit(f"no {what}; the job said:\n{job.said[-4000:]}")


def _spread(spans: Sequence[dict[str, float]]) -> dict[str, float]:
    found = {}
    for moment in _MOMENTS:
        values = sorted(span[moment] for span in spans)
        found[f"kill_to_{moment}_p50_s"] = round(statistics.median(values), 3)
        found[f"kill_to_{moment}_p95_s"] = values[math.ceil(0.95 * len(values)) - 1]
        found[f"kill_to_{moment}_max_s"] = values[-1]
    return found


def _disk_bytes(folder: Path) -> int:
    """What the state directory takes, each file once however many names it has."""
    found = {one.st_ino: one.st_size for path in folder.rglob("*") if not path.is_symlink() for one in (path.stat(),)}
    return sum(found.values())


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks recovery", description=__doc__)
    parser.add_argument("--state", nargs="+", default=["100MB"], metavar="SIZE")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between the job's checkpoints")
    parser.add_argument("--value-bytes", type=int, default=1000, help="state of one key")
    parser.add_argument("--rate", type=int, default=2000, help="records per second that are offered meanwhile")
    parser.add_argument("--seed", type=int, default=1, help="of the times of the kills")
    parser.add_argument("--unchecked", action="store_true", help="do not check the output")
    options = with_common_options(parser, rounds=1).parse_args(arguments)
    report = Report("recovery", options.json)
    with a_kafka(os.environ) as kafka:
        for number in range(options.rounds):
            for size in options.state:
                report.add(size, number, one_size(kafka, size, options))
    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
