"""streamlet: exactly-once stateful stream processing in plain Python."""

from streamlet.clock import Clock, SystemClock
from streamlet.elements import Barrier, Batch, EndOfInput, Keyed, Origin, Position, Watermark
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
)
from streamlet.formats import Bytes, Format, Json, Text
from streamlet.sink import Committable, Committer, Delivery, Outcome, Sink, SinkContext, SinkWriter
from streamlet.source import ReaderContext, RunBlocking, Source, SourceReader

__all__ = [
    "Barrier",
    "Batch",
    "Bytes",
    "Clock",
    "Committable",
    "Committer",
    "ConfigError",
    "DecodeError",
    "Delivery",
    "EncodeError",
    "EndOfInput",
    "FinalError",
    "Format",
    "JobDefinitionError",
    "Json",
    "Keyed",
    "Origin",
    "Outcome",
    "OutputLostError",
    "Position",
    "ReaderContext",
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
    "Text",
    "Watermark",
]
