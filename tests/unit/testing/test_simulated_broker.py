"""The simulated broker as a state machine: time is what the test says."""

from __future__ import annotations

import random

import pytest

from streamlet.testing.kafka import BrokerSettings, SimulatedBroker
from streamlet.testing.kafka.model.batches import RecordBatch, marker, parse, records_of
from streamlet.testing.kafka.model.transactions import State
from tests.kafka.wire_driving import a_batch, batches_in

START = 1_700_000_000_000
ID = "job.sink.0"


def a_broker(**settings: int | bool) -> SimulatedBroker:
    """A broker with topic `t` of two partitions, at START."""
    broker = SimulatedBroker(BrokerSettings(**settings), random.Random(7))  # type: ignore[arg-type]
    assert broker.topics.create("t", 2, {}) == 0
    broker.advance(START)
    return broker


def opened(broker: SimulatedBroker, now: int = START, timeout_ms: int = 60_000, id: str = ID) -> tuple[int, int]:
    """An open transaction with one record in partition 0."""
    identity = broker.transactions.init_producer_id(id, timeout_ms, now)
    assert identity.error == 0
    _, pid, epoch = identity
    assert broker.add_partitions(id, pid, epoch, [("t", 0)], now) == {("t", 0): 0}
    batch = a_batch([b"v"], id=id, pid=pid, epoch=epoch, timestamps=[now])
    assert broker.produce(id, "t", 0, batch).error == 0
    return pid, epoch


def state(broker: SimulatedBroker, id: str = ID) -> State:
    known = broker.transactions.get(id)
    assert known is not None
    return known.state


def offsets(broker: SimulatedBroker, partition: int = 0) -> tuple[int, int, int]:
    """(start, last stable, end)."""
    log = broker.topics.log("t", partition)
    assert log is not None
    return log.start_offset, log.last_stable_offset, log.end_offset


def test_until_the_markers_are_written_a_transaction_is_decided_and_busy() -> None:
    broker = a_broker(marker_delay_ms=500)
    pid, epoch = opened(broker)
    assert broker.transactions.end(ID, pid, epoch, START, commit=True) == 0
    assert state(broker) is State.PREPARE_COMMIT
    for now in (START, START + 499):
        broker.advance(now)
        assert broker.transactions.end(ID, pid, epoch, now, commit=True) == 51
        assert broker.transactions.end(ID, pid, epoch, now, commit=False) == 51
        assert broker.transactions.init_producer_id(ID, 60_000, now).error == 51
        assert broker.add_partitions(ID, pid, epoch, [("t", 1)], now) == {("t", 1): 51}
        assert offsets(broker) == (0, 0, 1)
    assert broker.next_event_ms() == START + 500
    broker.advance(START + 500)
    assert state(broker) is State.COMPLETE_COMMIT
    assert offsets(broker) == (0, 2, 2)
    assert broker.transactions.end(ID, pid, epoch, START + 500, commit=True) == 0


def test_a_new_transaction_of_the_same_epoch_may_not_write_before_the_markers_of_the_last_one() -> None:
    broker = a_broker(marker_delay_ms=500)
    pid, epoch = opened(broker)
    broker.transactions.end(ID, pid, epoch, START, commit=True)
    late = a_batch([b"v"], id=ID, pid=pid, epoch=epoch)
    assert broker.produce(ID, "t", 1, late).error == 19


def test_only_the_sweep_enforces_a_time_out_and_a_commit_before_it_succeeds() -> None:
    broker = a_broker(sweep_interval_ms=1000)
    early, late = opened(broker, timeout_ms=100), opened(broker, timeout_ms=100, id="late")
    broker.advance(START + 999)
    assert broker.transactions.end(ID, *early, START + 999, commit=True) == 0
    assert broker.next_event_ms() == START + 1000
    broker.advance(START + 1000)
    broker.advance(START + 1001)
    assert state(broker) is State.COMPLETE_COMMIT
    assert state(broker, "late") is State.COMPLETE_ABORT
    assert broker.transactions.end("late", *late, START + 1001, commit=True) == 90


def test_an_idle_id_expires_and_an_open_transaction_does_not() -> None:
    broker = a_broker(transactional_id_expiration_ms=5000, sweep_interval_ms=1000)
    pid, epoch = opened(broker)
    opened(broker, timeout_ms=900_000, id="open")
    broker.transactions.end(ID, pid, epoch, START, commit=True)
    broker.advance(START + 1)
    broker.advance(START + 4000)
    assert broker.transactions.get(ID) is not None
    broker.advance(START + 6000)
    assert broker.transactions.get(ID) is None
    assert state(broker, "open") is State.ONGOING
    assert broker.transactions.end(ID, pid, epoch, START + 6000, commit=True) == 49
    again = broker.transactions.init_producer_id(ID, 60_000, START + 6000)
    assert (again.producer_id != pid, again.epoch) == (True, 0)


def test_when_the_epochs_are_used_up_the_id_gets_another_producer() -> None:
    broker = a_broker()
    first = broker.transactions.init_producer_id(ID, 60_000, START)
    for _ in range(32_766):
        last = broker.transactions.init_producer_id(ID, 60_000, START)
    assert (last.producer_id, last.epoch) == (first.producer_id, 32_766)
    then = broker.transactions.init_producer_id(ID, 60_000, START)
    assert (then.producer_id != first.producer_id, then.epoch) == (True, 0)


def test_the_same_requests_at_the_same_times_give_the_same_broker() -> None:
    def played() -> tuple[object, ...]:
        broker = a_broker()
        pid, epoch = opened(broker)
        broker.transactions.end(ID, pid, epoch, START + 5, commit=False)
        broker.advance(START + 50)
        log, topic = broker.topics.log("t", 0), broker.topics.get("t")
        assert log is not None
        assert topic is not None
        member = broker.groups.new_member_id("c")
        return broker.cluster_id, topic.id, pid, member, log.read(0, 1 << 20, committed=True, is_first=True)

    assert played() == played()


def test_a_marker_is_a_batch_that_readers_accept() -> None:
    for commit in (True, False):
        made = marker(5, 3, commit=commit, now_ms=START)
        (again,) = parse(made.data) or []
        assert again == made
        (read,) = batches_in(made.at(42, 0).data)
        assert read.is_control_batch
        assert (read.base_offset, read.next_offset, read.producer_id) == (42, 43, 5)
        (record,) = read
        assert record.key == bytes([0, 0, 0, commit])


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_records_are_found_in_batches_of_every_codec(codec: int) -> None:
    data = a_batch([b"x" * 90, b"y" * 90], timestamps=[START, START + 7], key=b"k", codec=codec)
    (batch,) = parse(data) or []
    assert [tuple(one) for one in records_of(batch.at(10, 0))] == [
        (10, START, b"k", b"x" * 90),
        (11, START + 7, b"k", b"y" * 90),
    ]


@pytest.mark.parametrize("damage", [0, 8, 17, 40, 62])
def test_damaged_batches_are_not_parsed(damage: int) -> None:
    data = bytearray(a_batch([b"value"]))
    data[damage] ^= 0xFF
    parsed = parse(bytes(data))
    assert (parsed is None) is (damage not in range(8)), "only the base offset may be anything"
    assert parse(bytes(data[:-1])) is None


def test_a_sequence_goes_on_at_zero_behind_the_largest() -> None:
    broker = a_broker()
    pid = broker.transactions.init_producer_id(None, 0, START).producer_id
    last = a_batch([b"v"], pid=pid, epoch=0, sequence=2**31 - 1, timestamps=[START])
    assert broker.produce(None, "t", 0, last).error == 0
    assert broker.produce(None, "t", 0, a_batch([b"w"], pid=pid, epoch=0, sequence=0, timestamps=[START])) == (0, 1)


def test_retention_deletes_old_batches_and_never_undecided_ones() -> None:
    broker = a_broker()
    for age in (3, 2, 1):
        broker.produce(None, "t", 0, a_batch([b"v"], timestamps=[START - age * 1000]))
    broker.expire_records("t", START - 1500)
    assert offsets(broker) == (2, 3, 3)
    opened(broker)
    broker.expire_records("t", START * 2)
    assert offsets(broker) == (3, 3, 4)


def test_deleted_records_take_their_aborted_transactions_along() -> None:
    broker = a_broker()
    pid, epoch = opened(broker)
    broker.transactions.end(ID, pid, epoch, START, commit=False)
    broker.advance(START + 10)
    broker.produce(None, "t", 0, a_batch([b"v"], timestamps=[START]))
    log = broker.topics.log("t", 0)
    assert log is not None
    assert log.read(0, 1, committed=True, is_first=True).aborted == ((pid, 0),)
    assert log.delete_before(1)
    assert log.read(1, 1 << 20, committed=True, is_first=True).aborted == ((pid, 0),)
    assert log.delete_before(2)
    assert log.read(2, 1 << 20, committed=True, is_first=True).aborted == ()
    assert log.read(1, 1, committed=True, is_first=True).error == 1
    assert not log.delete_before(99)


def test_every_offset_reads_the_batch_that_holds_it() -> None:
    broker = a_broker()
    sizes = [3, 1, 4, 1, 5]
    for size in sizes:
        broker.produce(None, "t", 0, a_batch([b"v"] * size, timestamps=[START] * size))
    log = broker.topics.log("t", 0)
    assert log is not None
    holders: list[RecordBatch] = []
    for offset in range(sum(sizes)):
        (batch,) = parse(log.read(offset, 1, committed=False, is_first=True).records) or []
        assert batch.base_offset <= offset <= batch.last_offset
        holders.append(batch)
    assert len({batch.base_offset for batch in holders}) == len(sizes)
    assert log.read(3, 1, committed=False, is_first=False).records == b""
    assert log.read(14, 1 << 20, committed=False, is_first=True).records == b""


def test_a_deleted_topic_takes_its_group_offsets_along() -> None:
    from streamlet.testing.kafka.model.offsets import GroupOffset

    broker = a_broker()
    group = broker.groups.need("g")
    group.offsets.store({("t", 0): GroupOffset(5), ("u", 0): GroupOffset(6)})
    assert broker.delete_topic("t") == 0
    assert list(group.offsets.places()) == [("u", 0)]
    assert broker.delete_topic("t") == 3
