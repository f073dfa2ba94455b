"""Records out of a function of their index."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from streamlet.connect import Batch, ConfigError, JobDefinitionError, Position, ReaderContext, Source, UserFunctionError

T = TypeVar("T")
R = TypeVar("R")

LONGEST_WAIT_SECONDS = 0.2
SHORTEST_WAIT_SECONDS = 0.005
"""A high rate gives a batch this often rather than a record at a time."""


class Generator(Source[T], Generic[T]):
    """Gives `function(0)`, `function(1)`, ...: `count` records, or without it no end.

    Exactly-once as long as `function` depends on nothing but the index: a replay calls it again.  Split s of n gives
    the indices s, s+n, s+2n ...; their positions are the next index.  `rate_per_second` bounds all splits together,
    by a schedule: after a pause what is late is given at once.  `timestamp` gives a record's time (epoch ms) from its
    index.

    ```python
    Generator(lambda i: {"user": f"u{i % 10}", "amount": i}, count=1000, timestamp=lambda i: i * 100)
    ```
    """

    def __init__(
        self,
        function: Callable[[int], T],
        *,
        count: int | None = None,
        rate_per_second: float | None = None,
        splits: int = 1,
        timestamp: Callable[[int], int] | None = None,
    ) -> None:
        if count is not None and count < 0:
            raise JobDefinitionError(f"count={count} of Generator", remedy="say 0 or more, or None for no end")
        if rate_per_second is not None and not rate_per_second > 0:
            raise JobDefinitionError(f"rate_per_second={rate_per_second} of Generator", remedy="say more than 0")
        if splits < 1:
            raise JobDefinitionError(f"splits={splits} of Generator", remedy="say 1 or more")
        self.bounded = count is not None
        self.function = function
        self.timestamp = timestamp
        self.count = count
        self.rate_per_second = rate_per_second
        self.splits = splits

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        names = {f"{split}/{self.splits}": split for split in range(self.splits)}
        if strange := [name for name in known if name not in names]:
            raise ConfigError(
                f"the checkpoint has generator split {strange[0]}, but this generator has splits={self.splits}",
                remedy=f"go back to splits={strange[0].rpartition('/')[2]}, or start the job without its history",
            )
        if wrong := [name for name, position in known.items() if type(position) is not int or position < 0]:
            raise ConfigError(
                f"the checkpoint has generator split {wrong[0]} at {known[wrong[0]]!r:.100}, which is no index",
                remedy="did the source's uid belong to a source of another kind? Give it a uid of its own",
            )
        return {name: start for name, start in names.items() if name not in known}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> GeneratorReader[T]:
        return GeneratorReader(self, context, splits)


class GeneratorOrigin:
    """Names rows by their index."""

    def __init__(self, indices: range) -> None:
        self._indices = indices

    def describe(self, row: int) -> str:
        return f"generator, index {self._indices[row]}"


class GeneratorReader(Generic[T]):
    """Gives a batch of one split after a batch of another."""

    def __init__(self, source: Generator[T], context: ReaderContext, splits: Mapping[str, Position]) -> None:
        self._source = source
        self._context = context
        self._turns: deque[tuple[str, int]] = deque(splits.items())
        self._given = 0
        self._started: float | None = None

    def add_splits(self, splits: Mapping[str, Position]) -> None:
        self._turns.extend(splits.items())

    async def fetch(self) -> Sequence[Batch[T]] | None:
        while self._turns and self._is_read(self._turns[0][1]):
            self._turns.popleft()
        if not self._turns:
            if self._source.bounded:
                return None
            await asyncio.sleep(LONGEST_WAIT_SECONDS)
            return []
        allowed, wait_seconds = self._allowance()
        if allowed < 1:
            await asyncio.sleep(wait_seconds)
            allowed, _ = self._allowance()
            if allowed < 1:
                return []
        return [self._make_batch(allowed)]

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        pass

    async def close(self) -> None:
        pass

    def _is_read(self, position: int) -> bool:
        return self._source.count is not None and position >= self._source.count

    def _allowance(self) -> tuple[int, float]:
        """How many records may be given now, and how long until the next one."""
        size = self._context.batch_limit()
        if self._source.rate_per_second is None:
            return size, 0.0
        now = self._context.clock.monotonic()
        if self._started is None:
            self._started = now
        rate = self._source.rate_per_second * len(self._turns) / self._source.splits
        due = (now - self._started) * rate - self._given
        return min(size, int(due)), min(LONGEST_WAIT_SECONDS, max(SHORTEST_WAIT_SECONDS, (1 - due) / rate))

    def _make_batch(self, allowed: int) -> Batch[T]:
        split, position = self._turns[0]
        step = self._source.splits
        end = position + allowed * step
        if self._source.count is not None:
            end = min(end, self._source.count)
        indices = range(position, end, step)
        values, failure = _apply(self._source.function, indices)
        timestamps: list[int] | None = None
        if self._source.timestamp is not None:
            timestamps, late_failure = _apply(self._source.timestamp, indices[: len(values)])
            failure = late_failure or failure
            values = values[: len(timestamps)]
        if failure is not None and not values:
            raise failure
        indices = indices[: len(values)]  # what came before a failing record is given; the next fetch meets it first
        self._given += len(indices)
        next_position = indices[-1] + step
        self._turns[0] = (split, next_position)
        self._turns.rotate(-1)
        return Batch(values, timestamps, split=split, next_position=next_position, origin=GeneratorOrigin(indices))


def _apply(function: Callable[[int], R], indices: range) -> tuple[list[R], UserFunctionError | None]:
    """Calls a user's function for each index, up to the first that fails."""
    out: list[R] = []
    error: Exception | None = None
    try:
        out.extend(map(function, indices))
    except Exception as raised:
        error = raised
    if len(out) == len(indices):
        return out, None
    what = f"{type(error).__name__}: {error}" if error is not None else "StopIteration"
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    name = getattr(function, "__qualname__", repr(function))
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else name
    failure = UserFunctionError(
        f"generator function {name} raised {what}, at index {indices[len(out)]} ({place})",
        place=place,
        remedy="make it a function of the index that never fails",
    )
    failure.__cause__ = error
    return out, failure
