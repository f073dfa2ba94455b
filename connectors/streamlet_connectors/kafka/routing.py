"""Turns the key of a record into bytes and a partition, once per key and not once per record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import length_hint
from typing import Any, Generic, Literal, TypeVar

import msgspec

from streamlet import Batch, EncodeError, Format, Keyed, UserFunctionError
from streamlet_connectors.kafka.partitioner import partition_of

L = TypeVar("L")
Route = tuple[L, bytes | None]
"""A lane and the key's bytes."""
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
        code = getattr(function, "__code__", None)
        place = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)
        raise UserFunctionError(
            f"the function {option} of a KafkaSink ({place}) raised {type(error).__name__}: {error}\n"
            f"  record: {named_row(batch, first + len(results))}",
            place=place,
        ) from error
    return results


def shortened(key: Any) -> str:
    """Gives a key for a message."""
    text = repr(key)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _choose(partition: Partition, key: Any, count: int, value: Any) -> int:
    return partition(key, value, count)


class Router(Generic[L]):
    """Gives each record of a batch its lane (a partition's writer) and key.

    Records with one key go to one lane, the one that every Java client would choose.  Records without a key go to one
    lane per batch, in turn.
    """

    def __init__(
        self,
        lanes: Sequence[L],
        *,
        key: Callable[[Any], Any] | StreamKey | None,
        key_format: Format[Any] | None,
        partition: Partition | None,
        owns_memo: bool,
    ) -> None:
        self._lanes = lanes
        self._key = key
        self._key_format = key_format
        self._partition = partition
        self._owns_memo = owns_memo
        self._turn = 0
        # By type, because 1, True and 1.0 are one key of a dict and three keys of a topic.
        self._remembered: dict[type, dict[Any, Route[L]]] = {}

    def route(self, batch: Batch[Any]) -> Iterable[Route[L]]:
        """Gives one route per record."""
        if self._partition is not None:
            return self._chosen(batch, self._partition)
        if self._key == "stream":
            if batch.keys is None:
                return self._keyless(batch)
            if self._owns_memo:
                # `or` and not a call: the memo is there but for a key's first record.
                remember = self._remember
                column = iter(batch.keys)
                try:
                    return [keyed.memo or remember(keyed) for keyed in column]
                except EncodeError as error:
                    error.index = len(batch) - length_hint(column) - 1
                    raise
            return self._looked_up([keyed.key for keyed in batch.keys])
        if self._key is None:
            return self._keyless(batch)
        return self._looked_up(applied(self._key, batch.values, "key=", batch))

    def _keyless(self, batch: Batch[Any]) -> Iterable[Route[L]]:
        self._turn = (self._turn + 1) % len(self._lanes)
        return [(self._lanes[self._turn], None)] * len(batch)

    def _remember(self, keyed: Keyed) -> Route[L]:
        route = keyed.memo = self._routed(keyed.key)
        return route

    def _looked_up(self, keys: list[Any]) -> Iterable[Route[L]]:
        types = set(map(type, keys))
        if len(types) != 1:
            return [self._look_up(self._known(type(key)), key, index) for index, key in enumerate(keys)]
        only = types.pop()
        if only is type(None):
            self._turn = (self._turn + 1) % len(self._lanes)
            return [(self._lanes[self._turn], None)] * len(keys)
        known = self._known(only)
        try:
            routes = list(map(known.get, keys))
        except TypeError:
            routes = [None] * len(keys)  # cannot be hashed: each is looked at by itself, and refused there
        return [route or self._look_up(known, keys[index], index) for index, route in enumerate(routes)]

    def _known(self, type_: type) -> dict[Any, Route[L]]:
        known = self._remembered.setdefault(type_, {})
        if len(known) > _REMEMBERED:
            known.clear()
        return known

    def _look_up(self, known: dict[Any, Route[L]], key: Any, index: int) -> Route[L]:
        if key is None:
            return (self._lanes[self._turn], None)
        try:
            route = known.get(key)
            if route is None:
                route = known[key] = self._routed(key, index)
        except TypeError:
            return self._routed(key, index)
        return route

    def _routed(self, key: Any, index: int = 0) -> Route[L]:
        data = self._encoded(key, index)
        if data is None:
            return (self._lanes[self._turn], None)
        return (self._lanes[partition_of(data, len(self._lanes))], data)

    def _encoded(self, key: Any, index: int) -> bytes | None:
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

    def _chosen(self, batch: Batch[Any], partition: Partition) -> Iterable[Route[L]]:
        keys = self._keys(batch)
        count = len(self._lanes)
        routes: list[Route[L]] = []
        for index, (key, value) in enumerate(zip(keys, batch.values, strict=True)):
            (chosen,) = applied(partial(_choose, partition, key, count), [value], "partition=", batch, index)
            if type(chosen) is not int or not 0 <= chosen < count:
                raise EncodeError(
                    f"partition= gave {chosen!r} for key {key!r}, but the topic has the partitions 0 to {count - 1}",
                    index=index,
                    remedy="give an int from 0 to the third argument - 1",
                )
            routes.append((self._lanes[chosen], self._encoded(key, index)))
        return routes

    def _keys(self, batch: Batch[Any]) -> Sequence[Any]:
        if self._key == "stream":
            return [None] * len(batch) if batch.keys is None else [keyed.key for keyed in batch.keys]
        return [None] * len(batch) if self._key is None else applied(self._key, batch.values, "key=", batch)
