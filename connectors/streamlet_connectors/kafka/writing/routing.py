"""Turns the keys of records into bytes and partitions, by column; the partition once per key, not once per record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Generic, Literal, TypeVar

import msgspec

from streamlet.connect import Batch, EncodeError, Format, Keyed, UserFunctionError
from streamlet_connectors.kafka.writing.partitioner import partition_of

L = TypeVar("L")
StreamKey = Literal["stream"]
Partition = Callable[[Any, Any, int], int]
"""(key, value, number of partitions) -> partition."""

_REMEMBERED = 100_000
_json = msgspec.json.Encoder(order="deterministic").encode


def encode_key(key: Any) -> bytes | None:
    """Writes a key: text as UTF-8, bytes as they are, None as no key, and everything else as JSON (42 is `42`)."""
    if isinstance(key, str):
        return key.encode()
    if key is None or isinstance(key, bytes):
        return key
    return _json(key)


def named_row(batch: Batch[Any], row: int) -> str:
    """Names a record without showing it: by its origin where known, else by its key and time."""
    origin = batch.describe_row(row)
    if origin is not None:
        return origin
    key = "" if batch.keys is None else f", key {shortened(getattr(batch.keys[row], 'key', batch.keys[row]))}"
    time = "" if batch.timestamps is None else f", time {batch.timestamps[row]} ms"
    return f"row {row} of a batch{key}{time} (Job(trace_origins=True) tells its origin behind a shuffle)"


def applied(
    function: Callable[[Any], Any], values: Sequence[Any], option: str, batch: Batch[Any], first: int = 0
) -> list[Any]:
    """Gives the function's result for each of these values of a batch, which are its rows from `first` on.

    A function that raises StopIteration would end a plain `map` early, and the rest would be lost without a word.
    """
    results: list[Any] = []
    try:
        results.extend(map(function, values))
        if len(results) < len(values):
            raise RuntimeError("StopIteration")
    except Exception as error:
        place, row = place_of(function), first + len(results)
        raise UserFunctionError(
            f"the function {option} of a KafkaSink ({place}) raised {type(error).__name__}: {error}\n"
            f"  record: {named_row(batch, row)}",
            place=place,
            line=place,
            batch=batch,
            row=row,
        ) from error
    return results


def place_of(function: Callable[..., Any]) -> str:
    """Gives file and line of a user's function, for messages."""
    while isinstance(function, partial):
        function = function.args[0] if function.func is _choose else function.func
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


def shortened(key: Any) -> str:
    """Gives a key for a message."""
    text = repr(key)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _choose(partition: Partition, key: Any, count: int, value: Any) -> int:
    return partition(key, value, count)


class Router(Generic[L]):
    """Gives each record of a batch its target (a partition's writer) and the bytes of its key.

    Records with one key go to one target, the one that every Java client would choose.  Records without a key go to one
    target per batch, in turn.  Open batches are true in the sense of `bool`.

    A target is remembered for each key, but the bytes are made again for each record: kept, they would double what lies
    in memory for a key here, and fetching that from where no cache holds it takes longer.
    """

    def __init__(
        self,
        targets: Sequence[L],
        *,
        key: Callable[[Any], Any] | StreamKey | None,
        key_format: Format[Any] | None,
        partition: Partition | None,
        owns_memo: bool,
    ) -> None:
        self._open = targets
        self._key = key
        self._key_format = key_format
        self._partition = partition
        self._owns_memo = owns_memo
        self._turn = 0
        self._remembered: dict[bytes, L] = {}

    def route(self, batch: Batch[Any]) -> tuple[Sequence[L], Sequence[bytes | None]]:
        """Gives the column of targets and that of keys."""
        keys = self._keys(batch)
        if self._partition is not None:
            return self._chosen(batch, keys, self._partition), self._encoded(keys or [None] * len(batch))
        if keys is None:
            return self._next_target(len(batch)), [None] * len(batch)
        data = self._encoded(keys)
        if self._key == "stream" and self._owns_memo and batch.keys is not None:
            remember = self.remember
            return [keyed.memo or remember(keyed, key) for keyed, key in zip(batch.keys, data, strict=True)], data
        return self._looked_up(data), data

    def is_plain(self, batch: Batch[Any]) -> bool:
        """True when records have the stream's keys, which are text as far as the first one tells, and targets stand in
        their `memo`."""
        if not batch.keys or self._key != "stream" or self._key_format is not None or self._partition is not None:
            return False
        return self._owns_memo and type(batch.keys[0].key) is str

    def _keys(self, batch: Batch[Any]) -> list[Any] | None:
        """Gives the keys, not yet written; None where records have none."""
        if self._key == "stream":
            return None if batch.keys is None else [keyed.key for keyed in batch.keys]
        return None if self._key is None else applied(self._key, batch.values, "key=", batch)

    def _next_target(self, count: int) -> list[L]:
        self._turn = (self._turn + 1) % len(self._open)
        return [self._open[self._turn]] * count

    def remember(self, keyed: Keyed, data: bytes | None) -> L:
        """Finds the target of a key, and leaves it there."""
        target = keyed.memo = self._target(data)
        return target

    def _target(self, data: bytes | None) -> L:
        return self._open[self._turn if data is None else partition_of(data, len(self._open))]

    def _looked_up(self, column: Sequence[bytes | None]) -> Sequence[L]:
        if not any(column) and column.count(None) == len(column):
            return self._next_target(len(column))
        known: dict[Any, L] = self._remembered
        if len(known) > _REMEMBERED:
            known.clear()
        targets = list(map(known.get, column))
        if not all(targets):
            for row, target in enumerate(targets):
                if target is None:
                    targets[row] = self._target_of(column[row])
        return targets  # type: ignore[return-value]  # no None is left

    def _target_of(self, data: bytes | None) -> L:
        """The target of what was not known when its batch came; the same key may stand in several rows."""
        if data is None:
            return self._target(None)
        target = self._remembered.get(data)
        if target is None:
            target = self._remembered[data] = self._target(data)
        return target

    def _encoded(self, keys: Sequence[Any]) -> Sequence[bytes | None]:
        try:
            if self._key_format is None:
                return list(map(str.encode, keys))
            if all(key is not None for key in keys):  # a format may know None, but here it is no key
                return self._key_format.encode_batch(keys)
        except (EncodeError, TypeError, ValueError, OverflowError):
            pass  # not all are text, or one cannot be written
        return [self._encoded_one(key, index) for index, key in enumerate(keys)]

    def _encoded_one(self, key: Any, index: int) -> bytes | None:
        if key is None:
            return None
        try:
            return encode_key(key) if self._key_format is None else self._key_format.encode_batch([key])[0]
        except (EncodeError, TypeError, ValueError, OverflowError) as error:
            text = error.message if isinstance(error, EncodeError) else str(error)
            raise EncodeError(
                f"the key {key!r} cannot be written: {text}",
                index=index,
                remedy="use str, bytes, numbers, tuples or structs as keys, or give the sink a key_format",
            ) from error

    def _chosen(self, batch: Batch[Any], keys: Sequence[Any] | None, partition: Partition) -> list[L]:
        count = len(self._open)
        targets: list[L] = []
        for index, (key, value) in enumerate(zip(keys or repeat(None), batch.values, strict=False)):
            (chosen,) = applied(partial(_choose, partition, key, count), [value], "partition=", batch, index)
            if type(chosen) is not int or not 0 <= chosen < count:
                raise EncodeError(
                    f"partition= ({place_of(partition)}) gave {shortened(chosen)} for key {shortened(key)}, but the "
                    f"topic has the partitions 0 to {count - 1}",
                    index=index,
                    remedy="give an int from 0 to the third argument - 1",
                )
            targets.append(self._open[chosen])
        return targets
