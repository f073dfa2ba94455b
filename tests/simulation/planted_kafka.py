"""Planted bugs of the way to Kafka and back."""

from __future__ import annotations

import asyncio
from typing import Any

from streamlet.checkpoint import settling
from streamlet.checkpoint.coordinator import CheckpointCoordinator
from streamlet.checkpoint.messages import AddSplits, Trigger
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.connect import Outcome
from streamlet.runtime.job.restoring import Restorer
from streamlet.runtime.task.subtask import Subtask
from streamlet.testing.patches import Patches
from streamlet_connectors.kafka.protocol import requests
from streamlet_connectors.kafka.protocol.errors import TransportError
from streamlet_connectors.kafka.protocol.offsets import position_at
from streamlet_connectors.kafka.reading.fetching import Fetcher
from streamlet_connectors.kafka.reading.leaders import LeaderFinder
from streamlet_connectors.kafka.reading.reader import KafkaReader
from streamlet_connectors.kafka.reading.records import Chunk
from streamlet_connectors.kafka.writing import delivery, outcome, transaction, transaction_pool, writer
from streamlet_connectors.kafka.writing.committer import KafkaCommitter
from streamlet_connectors.kafka.writing.delivery import Delivery
from streamlet_connectors.kafka.writing.outcome import Finding
from streamlet_connectors.kafka.writing.transaction import Prepared
from streamlet_connectors.kafka.writing.transaction_pool import TransactionPool
from streamlet_connectors.kafka.writing.writer import KafkaWriter
from tests.simulation.kafka_fair_weather import simulate_moves, simulate_silence
from tests.simulation.kafka_scenario import kafka_scenario
from tests.simulation.kafka_seeds import simulate_kafka
from tests.simulation.planting import planted_in

planted = planted_in("kafka", lambda seed: simulate_kafka(kafka_scenario(seed)), range(250))


# --- deciding -------------------------------------------------------------------------------------------------------


@planted
def commit_before_the_manifest_is_durable(patches: Patches) -> None:
    def on_disk(original: Any) -> Any:
        async def early(self: Any, call: Any, *args: Any) -> Any:
            if getattr(call, "__name__", "") == "write_manifest":
                await settling.commit_ordered(
                    args[0].committables, self._committers, sleep=asyncio.sleep, clock=self._clock
                )
            return await original(self, call, *args)

        return early

    patches.put(CheckpointCoordinator, "_on_disk", on_disk)


@planted
def no_fence_at_start(patches: Patches) -> None:
    async def nothing(self: Any, plan: Any, highest: Any) -> None:
        """In place of fencing."""

    patches.put(Restorer, "_fence", lambda _: nothing)


@planted
def fence_spares_nothing(patches: Patches) -> None:
    def fence(original: Any) -> Any:
        async def all_of_them(self: Any, parallelism: int, spare: Any) -> None:
            await original(self, parallelism, ())

        return all_of_them

    patches.put(KafkaCommitter, "fence", fence)


@planted
def earlier_attempts_are_not_shut_out(patches: Patches) -> None:
    """A zombie finds everything as it was."""

    def begin(self: CheckpointStorage, *_: Any) -> int:
        self.files.mkdir(parents=True, exist_ok=True)
        number = self._next_attempt([path.name for path in self.folder.iterdir()])
        self._make_attempt(number)
        return number

    patches.put(CheckpointStorage, "begin_attempt", lambda _: begin)


@planted
def lost_answer_to_a_commit_is_taken_for_success(patches: Patches) -> None:
    patches.put(KafkaCommitter, "_end", lambda _: _end_once)


async def _end_once(self: Any, prepared: Prepared, *, commit: bool) -> int:
    request = requests.end_transaction(prepared.transactional_id, prepared.producer_id, prepared.epoch, commit=commit)
    connection = await self._connected()
    try:
        answer = await connection.send_to_coordinator(
            requests.TRANSACTION_COORDINATOR, prepared.transactional_id, request
        )
    except TransportError:
        return 0
    return int(answer.error) if answer.error not in (14, 15, 16, 51) else 0


@planted
def what_is_below_the_last_stable_offset_is_taken_for_committed(patches: Patches) -> None:
    def judge(fetched: Any, producer_id: int, epoch: int, offset: int) -> Finding:
        if fetched.last_stable_offset <= offset:
            return Finding(Outcome.OPEN, "", False)
        return Finding(Outcome.COMMITTED, "")

    patches.put(outcome, "judge", lambda _: judge)


# --- transactional ids ----------------------------------------------------------------------------------------------


@planted
def id_is_used_again_before_its_commit(patches: Patches) -> None:
    def prepare(original: Any) -> Any:
        async def releasing(self: KafkaWriter, checkpoint_id: int) -> Any:
            prepared = await original(self, checkpoint_id)
            for one in prepared:
                if self._pool is not None:
                    self._pool._free.clear()
                    self._pool._free.append(one.payload["transactional_id"])
            return prepared

        return releasing

    patches.put(KafkaWriter, "prepare_commit", prepare)


@planted
def identity_is_used_for_several_transactions(patches: Patches) -> None:
    """Without InitProducerId for each: a repeated commit commits the next transaction, half written."""
    known: dict[str, Any] = {}

    def initialise(original: Any) -> Any:
        async def once(connection: Any, id: str, timeout_ms: int, **kwargs: Any) -> Any:
            if id not in known:
                known[id] = await original(connection, id, timeout_ms, **kwargs)
            return known[id]

        return once

    def init(original: Any) -> Any:
        def one_id(self: Any, connection: Any, clock: Any, ids: Any, timeout_ms: int) -> None:
            known.clear()
            original(self, connection, clock, list(ids)[:3], timeout_ms)

        return one_id

    patches.put(transaction, "initialise", initialise)
    patches.put(transaction_pool, "initialise", initialise)
    patches.put(TransactionPool, "__init__", init)


# --- writing --------------------------------------------------------------------------------------------------------


@planted
def flush_does_not_wait_for_acknowledgements(patches: Patches) -> None:
    async def at_once(self: Any) -> None:
        self.raise_failure()

    patches.put(Delivery, "flushed", lambda _: at_once)


@planted
def sequence_goes_on_in_the_next_transaction(patches: Patches) -> None:
    def write(original: Any) -> Any:
        async def going_on(self: KafkaWriter, batch: Any) -> None:
            before = [target.sequence for target in self._open]
            is_new = self._producer is None
            if is_new and self._pool is not None:
                await self._delivery.room()
                self._producer = await self._pool.take()
                for target, sequence in zip(self._open, before, strict=True):
                    target.sequence = sequence
            await original(self, batch)

        return going_on

    patches.put(KafkaWriter, "write", write)


@planted
def batches_have_no_transactional_flag(patches: Patches) -> None:
    def seal(builder: Any, producer_id: int, epoch: int, sequence: int, *_: Any, **__: Any) -> bytearray:
        builder.set_producer_state(producer_id, epoch, sequence)
        data: bytearray = builder.build()
        return data

    patches.put(writer, "new_builder", lambda original: lambda limit, **_: original(limit, is_transactional=False))
    patches.put(delivery, "seal", lambda _: seal)


@planted
def write_without_an_answer_is_sent_as_a_new_one(patches: Patches) -> None:
    def deliver(original: Any) -> Any:
        async def produce(self: Delivery, partition: int, request: Any, size: int) -> int:
            try:
                answer = await self._produce_once(partition, request)
            except TransportError:
                # As a client does that has another identity after a reconnect: nobody knows the batch any more.
                await original(self, partition, request, size)
                producer_batch = self._queues[partition][0]
                self._queues[partition].append(
                    delivery.ProducerBatch(
                        producer_batch.builder,
                        producer_batch.records,
                        producer_batch.producer,
                        producer_batch.sequence + producer_batch.records,
                    )
                )
                self.in_flight += producer_batch.size
                return 0
            return answer.base_offset if not answer.error else int(await original(self, partition, request, size))

        return produce

    patches.put(Delivery, "_produce", deliver)


# --- hearing of checkpoints, and of leaders ---------------------------------------------------------------------------


@planted_in("kafka", simulate_silence, range(20))
def a_source_that_hears_of_a_checkpoint_holds_the_next_one(patches: Patches) -> None:
    """The group for lag tools has a coordinator that never answers: the loop that delivers triggers waits for it."""

    def obey(_: Any) -> Any:
        async def waiting(self: Any) -> None:
            while True:
                message = await self._inbox.get()
                if isinstance(message, Trigger):
                    self.trigger(message)
                elif isinstance(message, AddSplits):
                    self.add_splits(message)
                else:
                    await self.source_marked(message.checkpoint_id)

        return waiting

    patches.put(Subtask, "_obey", obey)


@planted_in("kafka", simulate_moves, range(20))
def the_epoch_of_the_first_leader_is_kept(patches: Patches) -> None:
    """Each later one says that it knows a newer epoch, however often it is asked."""

    def judge(original: Any) -> Any:
        def keeping(self: Any, part: Any, infos: Any) -> None:
            known = part.leader_epoch
            original(self, part, infos)
            if known >= 0:
                part.leader_epoch = known

        return keeping

    patches.put(LeaderFinder, "_judge", judge)


# --- reading --------------------------------------------------------------------------------------------------------


@planted
def positions_advance_at_fetch_instead_of_send(patches: Patches) -> None:
    def cut(original: Any) -> Any:
        def ahead(self: KafkaReader, part: Any, rows: Any) -> Any:
            made = original(self, part, rows)
            made[-1].next_position = position_at(part.offset, part.topic_id, part.stop)
            return made

        return ahead

    patches.put(KafkaReader, "_cut", cut)


@planted
def aborted_records_are_not_filtered(patches: Patches) -> None:
    def init(original: Any) -> Any:
        def seeing_all(self: Any, data: bytes, position: int, aborted: Any = (), stop: int | None = None) -> None:
            original(self, data, position, (), stop)

        return seeing_all

    patches.put(Chunk, "__init__", init)


@planted
def undecided_records_are_read(patches: Patches) -> None:
    def init(original: Any) -> Any:
        def reading_all(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **{**kwargs, "isolation": requests.READ_UNCOMMITTED})

        return reading_all

    patches.put(Fetcher, "__init__", init)


@planted
def offsets_are_counted_instead_of_read(patches: Patches) -> None:
    """Markers and aborted records take offsets too."""

    def cut(original: Any) -> Any:
        def counting(self: KafkaReader, part: Any, rows: Any) -> Any:
            counts = self.__dict__.setdefault("counts", {})
            start = counts.get(part.split, rows[0].offset if rows else part.given)
            counts[part.split] = start + len(rows)
            made = original(self, part, rows)
            made[-1].next_position = position_at(counts[part.split], part.topic_id, part.stop)
            return made

        return counting

    patches.put(KafkaReader, "_cut", cut)
