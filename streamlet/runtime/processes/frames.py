"""The bytes that travel between two workers: elements one way, credits and paces the other.

```text
kind u8 | task u16 | input u16 | sender u16 | receiver u16 | records u32 | body        big endian
batch     body: msgpack of Columns
element   body: msgpack of a tagged Watermark, Barrier or EndOfInput
credit    no body: the receiver has taken batches out, of so many records
pace      body: f64 | f64, the seconds that a batch and a record in it take the receivers of a task
```
Split and next position of a batch end in its process: nobody behind a channel asks for them.
"""

from __future__ import annotations

import enum
import struct
from typing import Any

import msgspec

from streamlet.elements import Barrier, Batch, EndOfInput, Watermark
from streamlet.errors import ExchangeError, WorkerDiedError
from streamlet.runtime.task.columns import Part, packed, unpacked
from streamlet.runtime.task.placement import ChannelAddress
from streamlet.state.memory.cells import KeyOfRow, Slot

_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
_HEAD = struct.Struct(">BHHHHI")
_PACE = struct.Struct(">dd")
MOST_RECORDS = 1000


class FrameKind(enum.IntEnum):
    """What a frame is."""

    BATCH = 0
    ELEMENT = 1
    CREDIT = 2
    PACE = 3


class DescribedOrigins(msgspec.Struct, frozen=True):
    """Origins that were put into words before they crossed."""

    texts: list[str | None]

    def describe(self, row: int) -> str:
        return self.texts[row] or "not known"


class Columns(msgspec.Struct, array_like=True, frozen=True):
    """A batch."""

    values: list[Part]
    timestamps: list[int] | None
    keys: list[Part] | None
    has_slots: bool
    origins: list[str | None] | None


_encoder = msgspec.msgpack.Encoder()
_columns = msgspec.msgpack.Decoder(Columns)
_elements: msgspec.msgpack.Decoder[Watermark | Barrier | EndOfInput] = msgspec.msgpack.Decoder(
    Watermark | Barrier | EndOfInput
)


def frame(kind: FrameKind, address: ChannelAddress, records: int = 0, body: bytes = b"") -> bytes:
    """Gives the bytes of a frame."""
    return _HEAD.pack(kind, *address, records) + body


def parsed(data: bytes) -> tuple[int, ChannelAddress, int, bytes]:
    """Takes a frame apart: kind, address, records, body. Raises `WorkerDiedError` for what is none."""
    try:
        kind, task, input_index, sender, receiver, records = _HEAD.unpack_from(data)
        FrameKind(kind)
    except (struct.error, ValueError) as error:
        raise WorkerDiedError(f"another worker has sent {len(data)} bytes that are no frame: {error}") from error
    return kind, ChannelAddress(task, input_index, sender, receiver), records, data[_HEAD.size :]


def batch_body(batch: Batch[Any]) -> bytes:
    """Packs a batch; raises `ExchangeError` for values or keys that cannot cross."""
    keys = batch.keys
    has_slots = bool(keys) and type(keys[0]) in (Slot, KeyOfRow)  # type: ignore[index]
    if has_slots:
        keys = [slot.key for slot in keys or ()]
    columns = Columns(
        packed(batch.values),
        None if batch.timestamps is None else list(batch.timestamps),
        None if keys is None else packed(keys),
        has_slots,
        None if batch.origin is None else [batch.describe_row(row) for row in range(len(batch))],
    )
    return _encoder.encode(columns)


def batch_of(body: bytes) -> Batch[Any]:
    """Gives the batch back; raises `ExchangeError` for a value that is not what its class declares."""
    try:
        columns = _columns.decode(body)
        keys = None if columns.keys is None else unpacked(columns.keys)
        if columns.has_slots:
            keys = [KeyOfRow(key) for key in keys or ()]
        origin = None if columns.origins is None else DescribedOrigins(columns.origins)
        values = unpacked(columns.values)
        for column in (columns.timestamps, keys, columns.origins):
            if column is not None and len(column) != len(values):
                raise ValueError(f"{len(values)} values have {len(column)} times, keys or origins")
        return Batch(values, columns.timestamps, keys, origin=origin)
    except _UNREADABLE as error:
        raise ExchangeError(
            f"a record that came from another process is not what its class declares: {error}",
            remedy="give the fields of the class the types that they really have",
        ) from error


def pace_body(seconds_per_batch: float, seconds_per_record: float) -> bytes:
    """Packs what batches and records take."""
    return _PACE.pack(seconds_per_batch, seconds_per_record)


def pace_of(body: bytes) -> tuple[float, float]:
    """Gives it back; raises `WorkerDiedError` for what is none."""
    try:
        per_batch, per_record = _PACE.unpack(body)
    except struct.error as error:
        raise WorkerDiedError(f"another worker has sent {len(body)} bytes that are no pace: {error}") from error
    return per_batch, per_record


def element_body(element: Watermark | Barrier | EndOfInput) -> bytes:
    """Packs what is no batch."""
    return _encoder.encode(element)


def element_of(body: bytes) -> Watermark | Barrier | EndOfInput:
    """Gives the element back; raises `WorkerDiedError` for what is none."""
    try:
        return _elements.decode(body)
    except _UNREADABLE as error:
        raise WorkerDiedError(f"another worker has sent {len(body)} bytes that are no element: {error}") from error
