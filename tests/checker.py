"""An independent checker of running counts: `python -m tests.checker --bootstrap HOST:PORT --input IN --output OUT`.

Knows nothing of streamlet: it reads both topics with librdkafka (read_committed) and its own JSON.  The n-th input
record of a user, in the order of its partition, must have exactly one output `{"user", "count": n, "sum": the sum of
the first n amounts}`, the outputs of a user are in one partition in the order 1..n, and offsets only rise.
With `--console`, Kafka's own console consumer reads the output too, and must see the same records at the same offsets.

Prints one JSON object and exits 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from tests.kafka.jars import kafka_jars

_EXAMPLES = 5
_QUIET_MS = 5_000
"""So long nothing comes before the console consumer believes that it is at the end."""


class Record(NamedTuple):
    partition: int
    offset: int
    key: bytes
    value: bytes


class Digest:
    """What was read of one partition, in order, as a count and a hash that two readers can compare."""

    def __init__(self) -> None:
        self.records = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, offset: int, key: bytes, value: bytes) -> None:
        self.records += 1
        self._hash.update(b"%d\t%b\t%b\n" % (offset, key, value))

    def __str__(self) -> str:
        return f"{self.records} records, {self._hash.hexdigest()}"


class Check:
    """The sums that each user must come to, and what was found instead."""

    def __init__(self) -> None:
        self.inputs = 0
        self.outputs = 0
        self.lost = self.doubled = self.out_of_order = self.wrong = 0
        self.examples: list[str] = []
        self.digests: dict[int, Digest] = {}
        self._sums: dict[str, array[int]] = {}
        self._next: dict[str, int] = {}
        self._seen_ahead: dict[str, set[int]] = {}
        self._input_partition: dict[str, int] = {}
        self._output_partition: dict[str, int] = {}
        self._offsets: dict[int, int] = {}

    def fed(self, record: Record) -> None:
        """Takes an input record; those of a user must come in the order of their partition."""
        self.inputs += 1
        payment = json.loads(record.value)
        user = payment["user"]
        if self._input_partition.setdefault(user, record.partition) != record.partition:
            raise ValueError(f"the input of {user} is in several partitions: it has no order")
        sums = self._sums.setdefault(user, array("q"))
        sums.append((sums[-1] if sums else 0) + payment["amount"])

    def came(self, record: Record) -> None:
        """Takes an output record, in the order of its partition."""
        self.outputs += 1
        self.digests.setdefault(record.partition, Digest()).add(record.offset, record.key, record.value)
        if record.offset <= self._offsets.get(record.partition, -1):
            self._say("out_of_order", f"offset {record.offset} of partition {record.partition} comes late")
        self._offsets[record.partition] = record.offset
        spend = json.loads(record.value)
        user, count, total = spend["user"], spend["count"], spend["sum"]
        where = f"{user}: count {count} at partition {record.partition}, offset {record.offset}"
        sums = self._sums.get(user, array("q"))
        if not 1 <= count <= len(sums) or sums[count - 1] != total or record.key != user.encode():
            self._say("wrong", f"{where} has sum {total}, key {record.key!r}: no such output is due")
        elif self._output_partition.setdefault(user, record.partition) != record.partition:
            self._say("out_of_order", f"{where}: others of this user are in another partition")
        else:
            self._place(user, count, where)

    def _place(self, user: str, count: int, where: str) -> None:
        due = self._next.get(user, 1)
        ahead = self._seen_ahead.setdefault(user, set())
        if count == due:
            due += 1
            while due in ahead:
                ahead.discard(due)
                due += 1
            self._next[user] = due
        elif count < due or count in ahead:
            self._say("doubled", f"{where} comes again")
        else:
            self._say("out_of_order", f"{where}, but {due} has not come")
            ahead.add(count)

    def end(self) -> None:
        """Everything has come: what is missing is lost."""
        for user, sums in self._sums.items():
            missing = len(sums) - (self._next.get(user, 1) - 1) - len(self._seen_ahead.get(user, ()))
            if missing:
                self._say("lost", f"{user}: {missing} of {len(sums)} outputs are missing", missing)

    def _say(self, what: str, example: str, count: int = 1) -> None:
        setattr(self, what, getattr(self, what) + count)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{what}: {example}")

    @property
    def is_exact(self) -> bool:
        return not (self.lost or self.doubled or self.out_of_order or self.wrong)


def read_topic(bootstrap: str, topic: str, seconds: float) -> Iterator[Record]:
    """Every committed record, each partition in its order; waits for the end of open transactions, or fails."""
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        committed, everything = (_consumer(bootstrap, level) for level in ("read_committed", "read_uncommitted"))
        stack.callback(committed.close)
        stack.callback(everything.close)
        partitions = committed.list_topics(topic, timeout=10).topics[topic].partitions
        for partition in partitions:
            end = _end(committed, topic, partition)
            while end < _end(everything, topic, partition):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"topic {topic}, partition {partition}: a transaction stays open at {end}")
                time.sleep(0.05)
                end = _end(committed, topic, partition)
            committed.assign([TopicPartition(topic, partition, 0)])
            while end and committed.position([TopicPartition(topic, partition)])[0].offset < end:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"topic {topic}, partition {partition}: not read to {end} in {seconds:g} s")
                for message in committed.consume(10_000, timeout=0.1):
                    if message.error() is not None:
                        raise RuntimeError(str(message.error()))
                    yield Record(partition, message.offset() or 0, message.key() or b"", message.value() or b"")


def _end(consumer: Consumer, topic: str, partition: int) -> int:
    """The last stable offset for a read_committed reader, the high watermark for another."""
    end: int = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
    return end


def _consumer(bootstrap: str, isolation: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "independent-checker",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
            "log_level": 0,
        }
    )


def read_with_the_console_consumer(bootstrap: str, topic: str, seconds: float) -> dict[int, Digest]:
    """What Kafka's own console consumer (read_committed) prints of a topic, by partition."""
    show = [f"print.{what}=true" for what in ("partition", "offset", "key")]
    command = [
        *("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.apache.logging.log4j.level=OFF"),
        *("-cp", f"{kafka_jars()}/*"),
        *("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic),
        *("--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", str(_QUIET_MS)),
        *(part for property in show for part in ("--property", property)),
    ]
    digests: dict[int, Digest] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            partition, offset, key, value = line.rstrip(b"\n").split(b"\t")
            place = digests.setdefault(int(partition.removeprefix(b"Partition:")), Digest())
            place.add(int(offset.removeprefix(b"Offset:")), key, value)
        said = process.stderr.read().decode(errors="replace")
        code = process.wait(seconds)
    # It ends by its time-out, which it calls an error; the count in its last line is what it itself believes.
    total = sum(digest.records for digest in digests.values())
    if f"Processed a total of {total} messages" not in said:
        raise RuntimeError(f"the console consumer ended with {code} after {total} records:\n{said[-2000:]}")
    return digests


def check(bootstrap: str, input_topic: str, output_topic: str, *, console: bool, seconds: float) -> dict[str, Any]:
    """Reads both topics and says what is right and wrong with the output."""
    result = Check()
    for record in read_topic(bootstrap, input_topic, seconds):
        result.fed(record)
    for record in read_topic(bootstrap, output_topic, seconds):
        result.came(record)
    result.end()
    mine = {partition: str(digest) for partition, digest in sorted(result.digests.items())}
    said: dict[str, Any] = {
        **{name: getattr(result, name) for name in ("inputs", "outputs", "lost", "doubled", "out_of_order", "wrong")},
        "examples": result.examples,
        "partitions": mine,
    }
    is_exact = result.is_exact
    if console:
        theirs = {
            p: str(d) for p, d in sorted(read_with_the_console_consumer(bootstrap, output_topic, seconds).items())
        }
        said["console_is_equal"] = theirs == mine
        if theirs != mine:
            said["console"] = theirs
            is_exact = False
    return {"exact": is_exact, **said}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--input", required=True, help='topic of JSON {"user", "amount"}')
    parser.add_argument("--output", required=True, help='topic of JSON {"user", "count", "sum"}, keyed by user')
    parser.add_argument("--console", action="store_true", help="ask Kafka's console consumer too (Java)")
    parser.add_argument("--seconds", type=float, default=600.0, help="time limit of each reading")
    given = parser.parse_args()
    said = check(given.bootstrap, given.input, given.output, console=given.console, seconds=given.seconds)
    print(json.dumps(said, indent=2))
    return 0 if said["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
