"""Records in flight in an asynchronous operator: their order, what a checkpoint keeps of them, and how they come back.

A record carries the watermark that stood when it came.  The lowest of them is what the operator holds; only records of
that one watermark are taken out at a time, so that no result overtakes a watermark in either direction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from streamlet.elements import Batch
from streamlet.errors import CheckpointError, StateTypeError, UserFunctionError
from streamlet.operators.operator import OperatorContext
from streamlet.operators.user_code.place import describe_record
from streamlet.state.encoding.codec import Codec, suggested
from streamlet.state.encoding.key_groups import key_group, pack_key, subtask_of
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.encoding.types import SCALARS


class Call:
    """One record in flight."""

    __slots__ = ("attempts", "batch", "error", "has_ended", "packed", "results", "row", "watermark")

    def __init__(self, batch: Batch[Any], row: int, packed: bytes, watermark: int, attempts: int = 0) -> None:
        self.batch = batch
        """Where the record stands, for its columns and for messages."""
        self.row = row
        self.packed = packed
        """The value as it came: the function may change the object."""
        self.watermark = watermark
        self.attempts = attempts
        """How often the function has failed on it."""
        self.has_ended = False
        self.results: list[Any] = []
        self.error: UserFunctionError | None = None
        """Why it has no results, where it is to be left out."""

    @property
    def timestamp(self) -> int | None:
        return self.batch.timestamps[self.row] if self.batch.timestamps is not None else None

    @property
    def slot(self) -> Any:
        return self.batch.keys[self.row] if self.batch.keys is not None else None


class Origins:
    """Names rows by the records that they were made of."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls

    def describe(self, row: int) -> str:
        call = self._calls[row]
        return describe_record(call.batch, call.row)


class Flight(Protocol):
    """All records in flight, oldest first."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Call]: ...

    def add(self, call: Call) -> None:
        """Takes a new record in.

        After a restore with another parallelism event time may begin here below what some older records came behind;
        then they are held as far back as this one.
        """
        ...

    def end(self, call: Call) -> None:
        """Notes that the function has given its results."""
        ...

    def take(self) -> list[Call]:
        """Takes out what may be emitted now, all of one watermark."""
        ...

    @property
    def has_results(self) -> bool:
        """True when `take` would give something."""
        ...

    @property
    def held_watermark(self) -> int | None:
        """The watermark of the oldest record; None when there is none."""
        ...


class OrderedFlight:
    """Records leave in the order in which they came."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def add(self, call: Call) -> None:
        if self._calls and self._calls[-1].watermark > call.watermark:
            for older in self._calls:
                older.watermark = min(older.watermark, call.watermark)
        self._calls.append(call)

    def end(self, call: Call) -> None:
        call.has_ended = True

    def take(self, limit: int | None = None) -> list[Call]:
        calls, taken = self._calls, list[Call]()
        watermark = self.held_watermark
        while calls and calls[0].has_ended and calls[0].watermark == watermark and len(taken) != limit:
            taken.append(calls.popleft())
        return taken

    @property
    def has_results(self) -> bool:
        return bool(self._calls) and self._calls[0].has_ended

    @property
    def held_watermark(self) -> int | None:
        return self._calls[0].watermark if self._calls else None


class _Stretch:
    """The records between two watermarks."""

    __slots__ = ("calls", "ended", "watermark")

    def __init__(self, watermark: int) -> None:
        self.watermark = watermark
        self.calls: dict[Call, None] = {}
        self.ended: list[Call] = []


class UnorderedFlight:
    """Records leave as their results come, but never over a watermark."""

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque()
        self._of: dict[Call, _Stretch] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Call]:
        return (call for stretch in self._stretches for call in stretch.calls)

    def add(self, call: Call) -> None:
        ended: list[Call] = []
        calls: dict[Call, None] = {}
        while self._stretches and self._stretches[-1].watermark > call.watermark:
            last = self._stretches.pop()
            calls, ended = {**last.calls, **calls}, last.ended + ended
        for older in calls:
            older.watermark = call.watermark
            self._join(older)
        for older in ended:
            self._of[older].ended.append(older)
        self._join(call)

    def _join(self, call: Call) -> None:
        if not self._stretches or self._stretches[-1].watermark != call.watermark:
            self._stretches.append(_Stretch(call.watermark))
        stretch = self._of[call] = self._stretches[-1]
        stretch.calls[call] = None

    def end(self, call: Call) -> None:
        call.has_ended = True
        self._of[call].ended.append(call)

    def take(self) -> list[Call]:
        if not self._stretches:
            return []
        first = self._stretches[0]
        taken, first.ended = first.ended, []
        for call in taken:
            del first.calls[call], self._of[call]
        if not first.calls:
            self._stretches.popleft()
        return taken

    @property
    def has_results(self) -> bool:
        return bool(self._stretches) and bool(self._stretches[0].ended)

    @property
    def held_watermark(self) -> int | None:
        return self._stretches[0].watermark if self._stretches else None


class FlightCodec:
    """Records in flight as plain data, and back.

    Without a declared type a value is None, a bool, int, float, str or bytes, or lists and dicts of these: what comes
    back is then exactly what went in.  With one it is any type that state can have.
    """

    def __init__(self, declared: Any, context: OperatorContext) -> None:
        self._context = context
        self._where = f"a record in flight in {context.place.operator}"
        self._codec = Codec(declared, where=self._where, option="type=")
        self._is_typed = not self._codec.is_scalar_only
        self._keys = KeyType(f"the keys of {context.place.operator}")

    def pack(self, value: Any) -> tuple[Any, bytes]:
        """Gives what the function is called with and its bytes; raises `StateTypeError` for what cannot be kept."""
        codec = self._codec
        if not self._is_typed:
            if not _is_plain(value):
                raise StateTypeError(
                    f"{self._where} is of type {type(value).__qualname__}, or holds something, that a checkpoint "
                    "cannot keep without a declared type",
                    remedy=f"say what comes here: type={suggested(value)}; without it None, bool, int, float, str, "
                    "bytes, and lists and dicts of these are kept",
                )
            return value, codec.pack(value)
        if type(value) in codec.plain:
            return value, codec.pack(value)
        stored = codec.encode(value)
        # By way of bytes, so that a restored record is what the first one was.
        return codec.decode(stored), bytes(stored) if codec.holds_bytes else codec.pack(stored)

    def unpack(self, packed: bytes) -> Any:
        """Gives a fresh value."""
        return self._codec.decode(self._codec.unpack(packed))

    def snapshot(self, flight: Flight) -> Any:
        """What a checkpoint keeps; None when nothing is in flight."""
        if not len(flight):
            return None
        self._keys.check([call.slot.key for call in flight if call.slot is not None])
        return {
            "type": self._codec.text,
            "subtask": self._context.subtask,
            "keys": [self._keys.text, self._keys.classes],
            "records": [
                [
                    call.watermark,
                    call.packed,
                    call.timestamp,
                    None if call.slot is None else pack_key(call.slot.key),
                    call.attempts,
                ]
                for call in flight
            ],
        }

    def restore(self, snapshots: list[Any], slot_of: Callable[[Any], Any]) -> list[Call]:
        """Gives this subtask's part of the records, in the order in which to start them: lower watermarks first, and
        those of one key or of one old subtask as they came."""
        found: list[Any] = []
        for snapshot in snapshots:
            if snapshot["type"] != self._codec.text:
                raise CheckpointError(
                    f"{self._context.place}: {self._context.place.operator} takes {self._codec.text}, but the "
                    f"checkpoint has records in flight there of type {snapshot['type']}",
                    remedy="declare the former type again, by type=..., or start without any state by --from none",
                )
            if snapshot["keys"][0]:
                self._keys.restore(*snapshot["keys"])
            found += [one for one in snapshot["records"] if self._is_mine(snapshot["subtask"], one[3])]
        found.sort(key=lambda one: one[0])  # by watermark, and stable
        return [self._call(record, slot_of) for record in found]

    def _is_mine(self, old_subtask: int, packed_key: bytes | None) -> bool:
        context = self._context
        if packed_key is None:
            return old_subtask % context.parallelism == context.subtask
        group = key_group(packed_key, context.key_groups)
        return subtask_of(group, context.parallelism, context.key_groups) == context.subtask

    def _call(self, record: Any, slot_of: Callable[[Any], Any]) -> Call:
        watermark, packed, timestamp, packed_key, attempts = record
        batch = Batch(
            [self.unpack(packed)],
            None if timestamp is None else [timestamp],
            None if packed_key is None else [slot_of(self._keys.decode(packed_key))],
        )
        return Call(batch, 0, packed, watermark, attempts)


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in SCALARS:
        return True
    if kind is list:
        return all(map(_is_plain, value))
    return kind is dict and SCALARS.issuperset(map(type, value)) and all(map(_is_plain, value.values()))
