"""What became of a prepared transaction: asks its coordinator, then the log. Changes nothing."""

from __future__ import annotations

from typing import NamedTuple

from streamlet.connect import Outcome
from streamlet_connectors.kafka.protocol import codes, fetch_api, requests, wire
from streamlet_connectors.kafka.protocol.client import KafkaConnection
from streamlet_connectors.kafka.protocol.errors import CorruptRecordsError, TransportError
from streamlet_connectors.kafka.protocol.fetch_api import Fetched
from streamlet_connectors.kafka.protocol.unpacking import record_batches
from streamlet_connectors.kafka.writing.coordination import ask
from streamlet_connectors.kafka.writing.transaction import Prepared

_SCAN_BYTES = 4 << 20
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
    """False for "open" by the log, which may only mean that a marker is still on its way."""


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
        request = fetch_api.fetch({topic: [(partition, offset)]}, max_wait_ms=0, max_bytes=1, partition_max_bytes=1)
        (fetched,) = await connection.send_to_leader(topic, partition, request)
        if fetched.error in codes.STALE_LEADER:
            raise TransportError(f"{where}: reading gives {codes.code_name(fetched.error)}")
        finding = judge(fetched, prepared.producer_id, prepared.epoch, offset)
        if finding.outcome is Outcome.OPEN:
            try:
                finding = await _find_marker(connection, prepared, topic, partition, offset) or finding
            except CorruptRecordsError as error:
                finding = Finding(Outcome.UNKNOWN, error.message)
        if finding.outcome is not Outcome.UNKNOWN:
            return finding._replace(reason=f"{where}: {finding.reason}")
        reasons.append(f"{where}: {finding.reason}")
    return Finding(Outcome.UNKNOWN, "; ".join(reasons))


async def _find_marker(
    connection: KafkaConnection, prepared: Prepared, topic: str, partition: int, offset: int
) -> Finding | None:
    """Reads on until the marker that ended the transaction; None when there is none yet.

    Needed where an older open transaction, perhaps another one of ours, keeps the last stable offset below: then the
    list of aborted transactions does not reach that far.  A producer has one transaction at a time, so the first marker
    of the producer id behind a record of the transaction is its own, whatever epoch a time-out gave it.
    """
    position, is_ours = offset, False
    while True:
        request = fetch_api.fetch(
            {topic: [(partition, position)]},
            max_wait_ms=0,
            max_bytes=_SCAN_BYTES,
            partition_max_bytes=_SCAN_BYTES,
            isolation=requests.READ_UNCOMMITTED,
        )
        (fetched,) = await connection.send_to_leader(topic, partition, request)
        batches = list(record_batches(fetched.records))
        if fetched.error or not batches or batches[-1].head.next_offset <= position:
            return None
        for whole in batches:
            whole.require_checksum()
            batch = whole.head
            if batch.producer_id != prepared.producer_id or batch.next_offset <= offset:
                pass
            elif not batch.is_control_batch:
                is_ours = is_ours or batch.producer_epoch == prepared.epoch
            elif is_ours:
                is_abort = wire.ControlRecord.parse(next(iter(whole.records())).key) == wire.ABORT_MARKER
                outcome = Outcome.ABORTED if is_abort else Outcome.COMMITTED
                return Finding(outcome, f"the log says so at offset {batch.base_offset}")
            position = batch.next_offset


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
    try:
        for whole in record_batches(fetched.records):
            batch = whole.head
            is_ours = not batch.is_control_batch and (batch.producer_id, batch.producer_epoch) == (producer_id, epoch)
            if is_ours:
                whole.require_checksum()
                if any(record.offset == offset for record in whole.records()):
                    return Finding(Outcome.COMMITTED, "its first record is there, and is committed")
    except CorruptRecordsError as error:
        return Finding(Outcome.UNKNOWN, error.message)
    return Finding(Outcome.UNKNOWN, "its first record is not there any more")
