"""Streams in a test without files, brokers or other processes: `Values` goes in, and `emitted` gives what comes out.

```python
job = Job("test")
payments = job.source(Values([Payment("ann", 5), Payment("ann", 9)]))
assert emitted(payments.key_by("user").sum(lambda payment: payment.amount)) == [5, 14]
```
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from streamlet.config import Restart
from streamlet.dsl.stream import Stream
from streamlet.testing.collecting import run_to_the_end
from streamlet.testing.lists import CollectSink
from streamlet.testing.lists import ListSource as Values

__all__ = ["Values", "emitted"]

T = TypeVar("T")


def emitted(stream: Stream[T]) -> list[T]:
    """Runs the job of a stream until its input ends, and gives what the stream emits.

    It adds a sink to the job and runs it in this process with its state in memory; a failure raises `StreamletError`.
    Call it once per job, from the main thread.
    """
    sink = CollectSink[T]()
    stream.sink(sink, uid="emitted", parallelism=1)
    job = stream._job
    job.config = replace(job.config, restart=Restart.none(), state_backend="memory")
    run_to_the_end(job)
    return sink.values
