"""Jobs in a test without files, brokers or other processes: `Values` goes in, and `emitted` gives what comes out.

```python
job = Job("test")
payments = job.source(Values([Payment("ann", 5), Payment("ann", 9)]))
assert emitted(payments.key_by("user").sum(lambda payment: payment.amount)) == [5, 14]
```
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from streamlet.config import Restart
from streamlet.dsl.stream import Stream
from streamlet.elements import Batch, Position
from streamlet.errors import StreamletError
from streamlet.sink import Committable, Sink, SinkContext
from streamlet.source import ReaderContext, Source

T = TypeVar("T")


class Values(Source[T]):
    """Gives these values, in this order, each in a batch of its own: one split, whose positions count the values."""

    bounded = True

    def __init__(self, values: Sequence[T]) -> None:
        self._values = list(values)

    async def discover(self, known: Mapping[str, Position]) -> Mapping[str, Position]:
        return {} if known else {"values": 0}

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> _Reader[T]:
        return _Reader(self._values, splits)


class _Reader(Generic[T]):
    def __init__(self, values: list[T], splits: Mapping[str, Position]) -> None:
        self._values = values
        self._next: int = splits.get("values", len(values))

    async def fetch(self) -> Sequence[Batch[T]] | None:
        start = self._next
        self._next = len(self._values)
        rest = enumerate(self._values[start:], start + 1)
        return [Batch([value], split="values", next_position=place) for place, value in rest] or None

    def add_splits(self, splits: Mapping[str, Position]) -> None: ...

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None: ...

    async def close(self) -> None: ...


def emitted(stream: Stream[T]) -> list[T]:
    """Runs the job of a stream until its input ends, and gives what the stream emits.

    It adds a sink to the job and runs it in this process with its state in memory; a failure raises `StreamletError`.
    Call it once per job, from the main thread.
    """
    values: list[T] = []
    stream.sink(_Kept(values), uid="emitted", parallelism=1)
    job, said = stream._job, io.StringIO()
    job.config = replace(job.config, restart=Restart.none(), state_backend="memory")
    with tempfile.TemporaryDirectory(prefix="streamlet-test-") as folder:
        code = job.run(state_dir=folder, stream=said)
    if code != 0:
        raise StreamletError(f"job {job.name!r} ended with exit code {code}:\n{said.getvalue()}")
    return values


class _Kept(Sink[T]):
    """Keeps values in a list of the process."""

    delivery = "at_least_once"

    def __init__(self, values: list[T]) -> None:
        self._values = values

    def writer(self, context: SinkContext) -> _Kept[T]:
        return self

    async def open(self) -> None: ...

    async def write(self, batch: Batch[Any]) -> None:
        self._values.extend(batch.values)

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        return []

    async def released(self, committables: Sequence[Committable]) -> None: ...

    async def close(self) -> None: ...
