"""The names for authors of connectors: contracts of sources, sinks and formats, and what the engine lends to them.

- A source implements `Source` and `SourceReader`; `streamlet/source.py` has its three laws.
- A sink implements `Sink` and `SinkWriter`; one whose output is exactly-once also `Committer` and `Committable`:
  `streamlet/sink.py` has the rules of a two-phase commit.
- A format implements `Format`: values to bytes and back, a column at a time.
- `ReaderContext` and `SinkContext` lend the clock, threads (`RunBlocking`), `Outages` and counters.  `TaskGroup` starts
  tasks whose errors are not lost; `fault_point` names a place at which tests kill the process.
- After a `SourceError` or `SinkError` the job restarts, after a `FinalError` it does not.  `DecodeError` and
  `EncodeError` are about one record, which error policies can leave out.

A connector imports `streamlet` and `streamlet.connect`, and nothing deeper.
"""

from streamlet.clock import Clock, SystemClock
from streamlet.crash_points import fault_point
from streamlet.elements import Batch, Keyed, Origin, Position
from streamlet.errors import (
    ConfigError,
    DecodeError,
    EncodeError,
    FinalError,
    JobDefinitionError,
    OutputLostError,
    RecordError,
    SinkError,
    SourceError,
    StreamletError,
    UserFunctionError,
)
from streamlet.formats import Format, Recognised, encoded, recognise
from streamlet.machine.paths import why_unusable
from streamlet.outages import Outages
from streamlet.ports import RunBlocking
from streamlet.sink import Committable, Committer, Delivery, Outcome, Sink, SinkContext, SinkWriter
from streamlet.source import LagReader, ReaderContext, Source, SourceReader
from streamlet.task_group import TaskGroup

__all__ = [
    "Batch",
    "Clock",
    "Committable",
    "Committer",
    "ConfigError",
    "DecodeError",
    "Delivery",
    "EncodeError",
    "FinalError",
    "Format",
    "JobDefinitionError",
    "Keyed",
    "LagReader",
    "Origin",
    "Outages",
    "Outcome",
    "OutputLostError",
    "Position",
    "ReaderContext",
    "Recognised",
    "RecordError",
    "RunBlocking",
    "Sink",
    "SinkContext",
    "SinkError",
    "SinkWriter",
    "Source",
    "SourceError",
    "SourceReader",
    "StreamletError",
    "SystemClock",
    "TaskGroup",
    "UserFunctionError",
    "encoded",
    "fault_point",
    "recognise",
    "why_unusable",
]
