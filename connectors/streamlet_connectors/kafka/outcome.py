"""What became of a prepared transaction: asks its coordinator, then the log. Changes nothing."""

from __future__ import annotations

from typing import NamedTuple

from streamlet import Outcome
from streamlet_connectors.kafka import codes, requests, wire
from streamlet_connectors.kafka.client import KafkaConnection
from streamlet_connectors.kafka.coordination import ask
from streamlet_connectors.kafka.errors import TransportError
from streamlet_connectors.kafka.requests import Fetched
from streamlet_connectors.kafka.transaction import Prepared

_NO_ID = bytes(16).hex()
_BY_STATE = {
    "Ongoing": Outcome.OPEN,
    "PrepareCommit": Outcome.COMMITTED,
    "CompleteCommit": Outcome.COMMITTED,
}
"""PrepareCommit is as final as CompleteCommit: the coordinator has it on disk, and EndTxn answers 0 there."""


class Finding(NamedTuple):
    """An outcome and what it was seen by, for messages."""

    outcome: Outcome
    reason: str
    is_certain: bool = True
    """False for "open" by the log: markers on their way, or an older transaction of somebody else, look the same."""


async def find(connection: KafkaConnection, prepared: Prepared, *, seconds: float) -> Finding:
    """Asks the coordinator, which knows while nobody has taken the id again; else the log."""
    request = requests.describe_transaction(prepared.transactional_id)
    what = f"asking for the transaction on {prepared.where}"
    info = await ask(connection, prepared.transactional_id, request, seconds=seconds, what=what)
    if not info.error and (info.producer_id, info.epoch) == (prepared.producer_id, prepared.epoch):
        outcome = _BY_STATE.get(info.state)
        if outcome is not None:
            return Finding(outcome, f"its coordinator says {info.state}")
    return await probe(connection, prepared)


async def probe(connection: KafkaConnection, prepared: Prepared) -> Finding:
    """Reads what the log says: the outcome is one for all partitions, so the next is asked only on "unknown".

    Raises `TransportError` when the log could not be read now.
    """
    reasons = []
    for topic, topic_id, partition, offset in prepared.partitions:
        where = f"topic {topic}, partition {partition}, offset {offset}"
        seen = (await connection.look([topic])).get(topic)
        if seen is None or seen.error == codes.UNKNOWN_TOPIC_OR_PARTITION or seen.id.hex() not in (topic_id, _NO_ID):
            reasons.append(f"{where}: the topic is gone, or is not the same any more")
            continue
        if seen.error or partition >= seen.partitions:
            raise TransportError(f"{where}: looking for its broker gives {codes.code_name(seen.error)}")
        request = requests.fetch({topic: [(partition, offset)]}, max_wait_ms=0, max_bytes=1, partition_max_bytes=1)
        (fetched,) = await connection.send_to_leader(topic, partition, request)
        if fetched.error in codes.STALE_LEADER:
            raise TransportError(f"{where}: reading gives {codes.code_name(fetched.error)}")
        outcome, reason, is_certain = judge(fetched, prepared.producer_id, prepared.epoch, offset)
        if outcome is not Outcome.UNKNOWN:
            return Finding(outcome, f"{where}: {reason}", is_certain)
        reasons.append(f"{where}: {reason}")
    return Finding(Outcome.UNKNOWN, "; ".join(reasons))


def judge(fetched: Fetched, producer_id: int, epoch: int, offset: int) -> Finding:
    """Judges one read_committed Fetch at the first offset of a transaction.

    "Committed" is said on positive evidence only: that record is there, in a batch of that producer id and epoch, is
    below the last stable offset and is not aborted.  A topic that was created again, or compacted, is "unknown".
    """
    if fetched.error:
        return Finding(Outcome.UNKNOWN, f"reading there gives {codes.code_name(fetched.error)}")
    if fetched.last_stable_offset <= offset:
        return Finding(Outcome.OPEN, f"the last stable offset is {fetched.last_stable_offset}", False)
    if (producer_id, offset) in fetched.aborted:
        return Finding(Outcome.ABORTED, "the log says that it was aborted")
    records = wire.MemoryRecords(fetched.records)
    while records.has_next():
        batch = records.next_batch()
        is_ours = not batch.is_control_batch and (batch.producer_id, batch.producer_epoch) == (producer_id, epoch)
        if is_ours and any(record.offset == offset for record in batch):
            return Finding(Outcome.COMMITTED, "its first record is there, and is committed")
    return Finding(Outcome.UNKNOWN, "its first record is not there any more")
