"""How long a record is on its way, Kafka to Kafka: `python -m tests.benchmarks latency --rates 1000 50000`.

An open loop: records are due at a fixed rate, and a record's time is counted from when it was due to when a
read_committed reader has its result, so a queue that builds up anywhere counts in full.  Each is a keyed running count;
every result is matched with its record.  `by hand` is a loop over a Kafka client in C that keeps nothing: what broker
and machine allow.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks import programs
from tests.benchmarks.feeder import feed
from tests.benchmarks.meter import Meter
from tests.benchmarks.output_topic import PARTITIONS
from tests.benchmarks.payments import payments
from tests.benchmarks.reporting import Report, percentiles_ms, with_common_options
from tests.kafka.broker import Kafka, a_kafka

BY_HAND = "by hand"
CASES = {
    "exactly_once, 1s": ("exactly_once", "1s"),
    "exactly_once, 200ms": ("exactly_once", "200ms"),
    "at_least_once": ("at_least_once", "1s"),
    BY_HAND: ("", ""),
}
_BEFORE = 100
"""Records that only wake the job up."""
_PATIENCE_SECONDS = 60.0
_LEAD_SECONDS = 2.0
"""Until the feeder runs."""


class Spend(msgspec.Struct, gc=False):
    user: str
    count: int


class Reader:
    """Notes when each result was there."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.arrived: list[tuple[float, list[bytes]]] = []
        self.count = 0
        common = {"bootstrap.servers": bootstrap, "group.id": "latency", "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer({**common, "isolation.level": "read_committed", "fetch.wait.max.ms": 5})
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])

    def until(self, count: int) -> None:
        """Reads until so many results came in all."""
        quiet_since = time.monotonic()
        while self.count < count:
            messages = self._consumer.consume(2_000, timeout=0.002)
            now = time.monotonic()
            if messages:
                self.arrived.append((now, [message.value() or b"" for message in messages]))
                self.count += len(messages)
                quiet_since = now
            elif now - quiet_since > _PATIENCE_SECONDS:
                raise TimeoutError(f"{self.count} of {count} results, and none for {_PATIENCE_SECONDS:g} s")

    def close(self) -> None:
        self._consumer.close()

    def seconds(self, first: int, count: int, rate: float, at: float) -> list[float]:
        """From when each payment was due to when its result was there, for those from `first` to `count`."""
        numbers: dict[str, array[int]] = {}
        for number, payment in enumerate(payments(count)):
            numbers.setdefault(payment.user, array("q")).append(number)
        decode = msgspec.json.Decoder(Spend).decode
        seen: dict[int, float] = {}
        for now, values in self.arrived:
            for value in values:
                result = decode(value)
                number = numbers[result.user][result.count - 1]
                seen.setdefault(number, now - at - (number - _BEFORE) / rate)
        assert len(seen) == count, f"{len(seen)} different results of {count} records"
        return [seconds for number, seconds in seen.items() if number >= first]


def one_run(kafka: Kafka, case: str, rate: float, options: argparse.Namespace) -> dict[str, Any]:
    """Offers records for some seconds to a fresh job."""
    delivery, interval = CASES[case]
    name = uuid.uuid4().hex[:8]
    topics = {"IN_TOPIC": f"latency-in-{name}", "OUT_TOPIC": f"latency-out-{name}"}
    for topic in topics.values():
        kafka.create_topic(topic, PARTITIONS)
    folder = Path(tempfile.mkdtemp(prefix="streamlet-latency-"))
    environment = {"BOOTSTRAP": kafka.bootstrap, "WORK": "spend", "DELIVERY": delivery, **topics}
    if options.linger is not None:
        environment["LINGER_SECONDS"] = str(options.linger)
    program = programs.by_poll()
    if case != BY_HAND:
        program = programs.job(folder, 1, interval, with_lateness=options.lateness)
    reader = Reader(kafka.bootstrap, topics["OUT_TOPIC"])
    count, warm = int(rate * options.seconds), int(rate * options.warm)
    try:
        with program.running(environment, folder) as process:
            meter = Meter(process.pid)
            feed(kafka.bootstrap, topics["IN_TOPIC"], 0, _BEFORE, 1000.0, time.monotonic())
            reader.until(_BEFORE)
            at = time.monotonic() + _LEAD_SECONDS
            before = meter.cpu_seconds
            with _feeder(kafka.bootstrap, topics["IN_TOPIC"], warm + count, rate, at) as feeder:
                reader.until(_BEFORE + warm + count)
                spent = meter.cpu_seconds - before
                said, _ = feeder.communicate(timeout=_PATIENCE_SECONDS)
        meter.close()
        seconds = reader.seconds(_BEFORE + warm, _BEFORE + warm + count, rate, at)
        return {
            **percentiles_ms(seconds),
            "records": len(seconds),
            "feeder_late_ms": float(said),
            "cores": round(spent / (options.seconds + options.warm), 3),
            **{f"late_{figure}": value for figure, value in program.lateness().items()},
        }
    except BaseException:
        print((folder / f"{program.name}.log").read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        reader.close()
        shutil.rmtree(folder, ignore_errors=True)
        for topic in topics.values():
            kafka.delete_topic(topic)


@contextlib.contextmanager
def _feeder(bootstrap: str, topic: str, count: int, rate: float, at: float) -> Iterator[subprocess.Popen[str]]:
    """A process of its own: this one reads."""
    command = [sys.executable, "-m", "tests.benchmarks.feeder", bootstrap, topic]
    command += [str(_BEFORE), str(count), str(rate), str(at)]
    with subprocess.Popen(command, env={**os.environ, **programs.PATHS}, stdout=subprocess.PIPE, text=True) as feeder:
        try:
            yield feeder
        finally:
            feeder.kill()


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks latency", description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[1_000.0, 50_000.0], help="records per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm", type=float, default=3.0, help="seconds before, which do not count")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--linger", type=float, help="at-least-once: the sink's linger_seconds")
    parser.add_argument("--lateness", action="store_true", help="measure by how much the job's event loop is late")
    options = with_common_options(parser, rounds=1).parse_args(arguments)
    report = Report("latency", options.json)
    with a_kafka(os.environ) as kafka:
        for number in range(options.rounds):
            for rate in options.rates:
                for case in options.only:
                    report.add(f"{case}, {rate:,.0f}/s", number, one_run(kafka, case, rate, options))
    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
