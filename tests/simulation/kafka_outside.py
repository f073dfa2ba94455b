"""What happens around the broker: records come in, strangers write, retention deletes, it restarts, requests linger."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from streamlet.testing.kafka.model import batches
from streamlet.testing.kafka.model.batches import NO_PRODUCER
from streamlet.testing.kafka.model.log import PartitionLog
from streamlet.testing.kafka.simulated import SimulatedKafka
from streamlet.testing.loop import VirtualClock
from streamlet_connectors.kafka.writing.batching import new_builder, seal
from tests.simulation.kafka_oracle import STRANGER, visible
from tests.simulation.kafka_scenario import INPUT, OUTPUT, Feed, KafkaScenario, Trouble


class KafkaOutside:
    """Acts on the broker itself, at its times."""

    def __init__(
        self,
        one: KafkaScenario,
        kafka: SimulatedKafka,
        clock: VirtualClock,
        randomness: random.Random,
        safe_offsets: Callable[[], dict[int, int]],
    ) -> None:
        self.one = one
        self.kafka = kafka
        self.happened = {"broker restart": 0, "leader change": 0, "broker that left": 0}
        self._clock = clock
        self._random = randomness
        self._safe_offsets = safe_offsets
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._producers = 0
        self._is_calm = False
        self._seen: dict[tuple[str, int], dict[int, Any]] = {}
        """Values by offset, also those that retention has deleted since."""
        self._expected = sum(len(records) for records in one.inputs())

    def begin(self) -> None:
        """Makes the topics and plans everything; what belongs to the beginning is there when it returns."""
        self.kafka.start()
        for topic, partitions in self.one.partitions.items():
            self.kafka.broker.topics.create(topic, partitions, {})
        self._silence_the_group()
        for feed in self.one.feeds:
            self.at(0.0 if self.one.is_bounded else feed.at, lambda feed=feed: self._feed(feed))  # type: ignore[misc]
        for trouble in self.one.troubles:
            self.at(trouble.at, lambda trouble=trouble: self._happen(trouble))  # type: ignore[misc]
        for api, passes, seconds in self.one.delays:
            self.kafka.service.faults.delay(api, seconds, is_applied=False, only=_only_after(passes))
        self.happen()

    def _silence_the_group(self) -> None:
        """Nothing may ever wait for who stores the offsets that are for lag tools only."""
        if self.one.has_silent_group:
            self.kafka.service.faults.silence("OffsetCommit", is_applied=False, times=1 << 30)

    def calm_down(self) -> None:
        """No trouble begins any more; what has begun ends."""
        self._is_calm = True
        self.kafka.service.faults.clear()
        self._silence_the_group()

    def happen(self) -> None:
        """Lets everything happen whose time has come."""
        while self._events and self._events[0][0] <= self._clock.seconds:
            heapq.heappop(self._events)[2]()

    def at(self, delay: float, event: Callable[[], None]) -> None:
        """Lets something happen after so many seconds."""
        self._numbers += 1
        heapq.heappush(self._events, (self._clock.seconds + delay, self._numbers, event))

    def next_event(self) -> float | None:
        return self._events[0][0] if self._events else None

    def values(self, topic: str) -> list[list[Any]]:
        """What a read_committed reader sees, or has seen, of the job in each partition."""
        found = []
        for partition, log in enumerate(self._logs(topic)):
            seen = self._seen.setdefault((topic, partition), {})
            seen.update(visible(log))
            found.append([seen[offset] for offset in sorted(seen)])
        return found

    def is_complete(self) -> bool:
        """True when every topic of the job has as many records as it must have."""
        return all(sum(map(len, self.values(topic))) >= self._expected for topic in self.one.sinks)

    # -- what happens

    def _feed(self, feed: Feed) -> None:
        # Aborted records look like any other: whoever reads them makes wrong output of them.
        is_decided_later = feed.decided_after is not None
        log = self._logs(INPUT)[feed.partition]
        decide = self._write(log, [list(record) for record in feed.records], in_transaction=is_decided_later)
        if feed.decided_after is not None:
            after = 0.0 if self.one.is_bounded else feed.decided_after
            self.at(after, lambda: decide(not feed.is_aborted))

    def _happen(self, trouble: Trouble) -> None:
        if self._is_calm:
            return
        if trouble.kind == "restart" and self.kafka.is_up:
            self.happened["broker restart"] += 1
            self.kafka.stop()
            self.at(trouble.seconds, lambda: self.kafka.start(loads_seconds=trouble.seconds))
        elif trouble.kind == "leaders move":
            self._move_leaders()
        elif trouble.kind.startswith("broker leaves"):
            self._let_a_broker_leave(trouble)
        elif trouble.kind == "load" and self.kafka.is_up:
            self.kafka.load(trouble.seconds)
        elif trouble.kind == "retention":
            logs = self._logs(INPUT)
            for partition, offset in self._safe_offsets().items():
                logs[partition].delete_before(self._random.randint(logs[partition].start_offset, offset))
        elif trouble.kind == "output retention":
            self._delete_output()
        elif trouble.kind == "stranger":
            self._let_a_stranger_write(trouble.seconds)

    def _move_leaders(self) -> None:
        nodes = self.kafka.broker.topics.nodes
        for topic in self.one.partitions:
            for log in self._logs(topic):
                log.change_leader(self._random.choice(nodes))
                self.happened["leader change"] += 1
        self.kafka.notify()

    def _let_a_broker_leave(self, trouble: Trouble) -> None:
        """Nobody answers there any more; a little later others lead what it led.  One at least stays."""
        nodes = [node for node in self.kafka.broker.topics.nodes if node not in self.kafka.gone]
        if len(nodes) < 2:
            return
        self.happened["broker that left"] += 1
        node = self._random.choice(nodes)
        self.kafka.kill(node)
        self.at(trouble.seconds, lambda: self.kafka.leave(node))
        if trouble.kind == "broker leaves":
            self.at(2 * trouble.seconds, lambda: self.kafka.rejoin(node))

    def _delete_output(self) -> None:
        """Retention deletes what is decided in a partition, if another still tells how it was decided."""
        self.values(OUTPUT)
        first, *others = self._logs(OUTPUT)
        told = {one.producer_id for log in others for one in log.aborted}
        if all(one.producer_id in told for one in first.aborted):
            first.delete_before(first.last_stable_offset)

    def _let_a_stranger_write(self, seconds: float) -> None:
        """Somebody else has a transaction open on the output for a while."""
        commits = self._random.random() < 0.5
        for log in self._logs(OUTPUT):
            decide = self._write(log, [[STRANGER, 0]], in_transaction=True)
            self.at(seconds, lambda decide=decide: decide(commits))  # type: ignore[misc]

    def _write(self, log: PartitionLog, values: Sequence[Any], *, in_transaction: bool) -> Callable[[bool], None]:
        """Writes one batch; gives what decides it."""
        self._producers += 1
        producer = self._producers if in_transaction else NO_PRODUCER
        builder = new_builder(1 << 20, is_transactional=in_transaction)
        now = self._now_ms()
        for number, value in enumerate(values):
            builder.append(number, now, None, json.dumps(value).encode(), [])
        data = seal(
            builder,
            producer,
            0 if in_transaction else -1,
            0 if in_transaction else -1,
            None,
            is_transactional=in_transaction,
        )
        parsed = batches.parse(bytes(data))
        assert parsed is not None
        (batch,) = parsed
        log.append(batch)
        self.kafka.notify()

        def decide(commits: bool) -> None:
            log.end_transaction(producer, 0, commit=commits, now_ms=self._now_ms())
            self.kafka.notify()

        return decide

    def _logs(self, topic: str) -> list[PartitionLog]:
        found = self.kafka.broker.topics.get(topic)
        assert found is not None
        return found.partitions

    def _now_ms(self) -> int:
        return self.kafka.service.now_ms()


def _only_after(passes: int) -> Callable[[Any], bool]:
    """Lets so many requests pass."""
    seen = [0]

    def only(_: Any) -> bool:
        seen[0] += 1
        return seen[0] > passes

    return only
