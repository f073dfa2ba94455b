"""How a task's output batches reach the subtasks of the next task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamlet.elements import Barrier, Batch, Element
from streamlet.errors import KeyTypeError
from streamlet.graph.job_graph import Routing
from streamlet.operators.keying import bad_key
from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.channel import Sender
from streamlet.state.encoding.key_groups import key_group, pack_key, subtask_of
from streamlet.state.encoding.key_type import key_type_of

_CACHED_KEYS = 500_000


class Router:
    """One output of a subtask: channels to those subtasks of the next task that may get rows from here."""

    def __init__(
        self,
        routing: Routing,
        subtask: int,
        channels: Sequence[Sender],
        key_groups: int,
        place: Place,
        *,
        traces_origins: bool,
        defers_bad_keys: bool = False,
    ) -> None:
        """`place` is that of the operator behind it, for messages; with `defers_bad_keys` it is for that to say what
        becomes of a row whose key is none."""
        self._place = place
        self._routing = routing
        self._channels = channels
        self._turn = subtask % len(channels)
        self._owners = _OwnerTable(key_groups, len(channels))
        self._defers_bad_keys = defers_bad_keys
        self._traces_origins = traces_origins
        self._backlogs = list(dict.fromkeys(channel.backlog for channel in channels))
        self._last_barrier = 0
        self.work_seconds = 0.0
        """How long the receivers will need for all that was sent."""

    def has_room(self, wake: Callable[[], None]) -> bool:
        """True when everybody behind it has room for more, as far as it is known here; else `wake` is called once that
        may be."""
        for backlog in self._backlogs:
            if not backlog.has_room(self._last_barrier):
                backlog.wake_when_roomy(self._last_barrier, wake)
                return False
        return True

    async def deliver(self, batch: Batch[Any]) -> None:
        """Sends the rows to where they belong, whether there is room or not."""
        whole = batch
        if not self._traces_origins and batch.origin is not None:
            batch = Batch(batch.values, batch.timestamps, batch.keys)
        if self._routing is Routing.BROADCAST:
            for channel in self._channels:
                self._send(channel, batch)
        elif len(self._channels) == 1:
            self._send(self._channels[0], batch)
        elif self._routing is Routing.HASH:
            self._by_key(batch, whole)
        else:
            channel = self._channels[self._turn]
            self._turn = (self._turn + 1) % len(self._channels)
            self._send(channel, batch)

    def broadcast(self, element: Element) -> None:
        """Sends an element to every subtask that could get rows from here: barriers and ends go this way."""
        if isinstance(element, Barrier):
            self._last_barrier = element.checkpoint_id
        for channel in self._channels:
            channel.send(element)

    def _send(self, channel: Sender, batch: Batch[Any]) -> None:
        self.work_seconds += len(batch) * channel.backlog.seconds_per_record
        channel.send(batch)

    def _by_key(self, batch: Batch[Any], whole: Batch[Any]) -> None:
        """`whole` still has the origins of the rows, for messages."""
        rows: list[list[int]] = [[] for _ in self._channels]
        try:
            owners = self._owners.of(batch.keys or ())
        except KeyTypeError as error:
            if not self._defers_bad_keys:
                raise bad_key(error, self._place, whole) from error
            owners = list(map(self._owners.of_any, batch.keys or ()))
        for row, owner in enumerate(owners):
            rows[owner].append(row)
        for channel, chosen in zip(self._channels, rows, strict=True):
            if len(chosen) == len(batch):
                self._send(channel, batch)
            elif chosen:
                self._send(channel, batch.take(chosen))


class _OwnerTable(dict[Any, int]):
    """Key -> the subtask that owns its key group; a bounded cache of a pure function."""

    def __init__(self, key_groups: int, parallelism: int) -> None:
        super().__init__()
        self._key_groups = key_groups
        self._parallelism = parallelism

    def of(self, keys: Sequence[Any]) -> list[int]:
        """Gives the owner of each key; raises `KeyTypeError` with the row of the first that can be none."""
        if len(self) > _CACHED_KEYS:
            self.clear()
        owners: list[int] = []
        try:
            owners.extend(map(self.__getitem__, keys))
        except (KeyTypeError, TypeError, ValueError, OverflowError) as cause:  # TypeError: a key without a hash
            row = len(owners)
            try:
                key_type_of(keys[row])
            except KeyTypeError as error:
                raise KeyTypeError(error.message, index=row, remedy=error.remedy) from None
            raise KeyTypeError(
                f"key {keys[row]!r:.80} cannot be written: {cause}",
                index=row,
                remedy="integers of a key have 64 bits, its text has no lone surrogates",
            ) from cause
        return owners

    def of_any(self, key: Any) -> int:
        """The owner of a key, or of what is none: the first subtask, which will say so."""
        try:
            return self[key]
        except (KeyTypeError, TypeError, ValueError, OverflowError):
            return 0

    def __missing__(self, key: Any) -> int:
        key_type_of(key)
        group = key_group(pack_key(key), self._key_groups)
        owner = self[key] = subtask_of(group, self._parallelism, self._key_groups)
        return owner
