"""streamlet: exactly-once stateful stream processing in plain Python.

Read it in this order: `elements` (what flows), `source` and `sink` (the two contracts of connectors), `dsl` (what a
user writes), `graph` (how it is laid out), `operators` (what happens to a batch), `state` (what is remembered),
`checkpoint` (the protocol), `runtime` (tasks, channels, attempts), `ports` (what all of it may ask of the machine),
`cli`.
"""

from streamlet.clock import Clock, SystemClock
from streamlet.config import JobConfig, Restart
from streamlet.dsl.connected import BroadcastConnectedStreams, ConnectedStreams
from streamlet.dsl.job import Job
from streamlet.dsl.keyed import KeyedStream
from streamlet.dsl.policies import OnError
from streamlet.dsl.stream import Stream
from streamlet.dsl.windowed import WindowedStream
from streamlet.elements import (
    MAX_TIMESTAMP,
    MIN_TIMESTAMP,
    Barrier,
    Batch,
    EndOfInput,
    Keyed,
    Origin,
    OutputTag,
    Position,
    Watermark,
)
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
from streamlet.faults import fault_point
from streamlet.formats import Bytes, Format, Json, Recognised, Text, encoded, recognise
from streamlet.machine.paths import why_unusable
from streamlet.operators.aggregates import AggregateFunction, Composed, Count, Max, Mean, Min, Sum
from streamlet.operators.collecting import ApproxDistinct, Collect, Distinct, TopK
from streamlet.operators.guarded import DeadLetter
from streamlet.operators.process_function import (
    BroadcastContext,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ProcessContext,
    TimerContext,
)
from streamlet.operators.retry import Retry
from streamlet.operators.timer_service import TimerService
from streamlet.operators.triggers import AtEnd, AtEndOfInput, EveryDuration, EveryRecords, Trigger, TriggerContext
from streamlet.operators.watermark_strategy import WatermarkStrategy
from streamlet.operators.window_contents import WindowContext, WindowProcessFunction
from streamlet.operators.windows import (
    CountWindows,
    GlobalWindows,
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    Window,
    WindowAssigner,
    WindowResult,
)
from streamlet.outages import Outages
from streamlet.ports import RunBlocking
from streamlet.sink import Committable, Committer, Delivery, Outcome, Sink, SinkContext, SinkWriter
from streamlet.source import LagReader, ReaderContext, Source, SourceReader
from streamlet.state.broadcast import BroadcastState
from streamlet.state.descriptors import AggregatingState, ListState, MapState, ReducingState, ValueState
from streamlet.state.lifetimes import StateTtl
from streamlet.task_group import TaskGroup

__all__ = [
    "MAX_TIMESTAMP",
    "MIN_TIMESTAMP",
    "AggregateFunction",
    "AggregatingState",
    "ApproxDistinct",
    "AtEnd",
    "AtEndOfInput",
    "Barrier",
    "Batch",
    "BroadcastConnectedStreams",
    "BroadcastContext",
    "BroadcastState",
    "Bytes",
    "Clock",
    "Collect",
    "Committable",
    "Committer",
    "Composed",
    "ConfigError",
    "ConnectedStreams",
    "Count",
    "CountWindows",
    "DeadLetter",
    "DecodeError",
    "Delivery",
    "Distinct",
    "EncodeError",
    "EndOfInput",
    "EveryDuration",
    "EveryRecords",
    "FinalError",
    "Format",
    "GlobalWindows",
    "Job",
    "JobConfig",
    "JobDefinitionError",
    "Json",
    "Keyed",
    "KeyedBroadcastProcessFunction",
    "KeyedCoProcessFunction",
    "KeyedProcessFunction",
    "KeyedStream",
    "LagReader",
    "ListState",
    "MapState",
    "Max",
    "Mean",
    "Min",
    "OnError",
    "Origin",
    "Outages",
    "Outcome",
    "OutputLostError",
    "OutputTag",
    "Position",
    "ProcessContext",
    "ReaderContext",
    "Recognised",
    "RecordError",
    "ReducingState",
    "Restart",
    "Retry",
    "RunBlocking",
    "SessionWindows",
    "Sink",
    "SinkContext",
    "SinkError",
    "SinkWriter",
    "SlidingWindows",
    "Source",
    "SourceError",
    "SourceReader",
    "StateTtl",
    "Stream",
    "StreamletError",
    "Sum",
    "SystemClock",
    "TaskGroup",
    "Text",
    "TimerContext",
    "TimerService",
    "TopK",
    "Trigger",
    "TriggerContext",
    "TumblingWindows",
    "UserFunctionError",
    "ValueState",
    "Watermark",
    "WatermarkStrategy",
    "Window",
    "WindowAssigner",
    "WindowContext",
    "WindowProcessFunction",
    "WindowResult",
    "WindowedStream",
    "encoded",
    "fault_point",
    "recognise",
    "why_unusable",
]
