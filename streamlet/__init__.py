"""streamlet: exactly-once stateful stream processing in plain Python.

This module has the names of a first job, at most 35.  More of them, by what they are for:

- `streamlet.windows`: kinds of windows, triggers, functions over whole windows
- `streamlet.aggregates`: all aggregate functions, and the contract for your own
- `streamlet.errors`: what can be raised
- `streamlet.config`: the settings of a job
- `streamlet.dsl`: types of the building blocks, for annotations
- `streamlet.connect`: the contracts of sources, sinks and formats, for authors of connectors
- `streamlet.testing`: brokers, disks and networks that run inside of a test

`streamlet help` prints the guide.  Read the code in this order: `elements` (what flows), `source` and `sink` (the two
contracts of connectors), `dsl` (what a user writes), `graph` (how it is laid out), `operators` (what happens to a
batch), `state` (what is remembered), `checkpoint` (the protocol), `runtime` (tasks, channels, attempts), `ports` (what
all of it may ask of the machine), `cli`.
"""

from streamlet.config import Restart
from streamlet.dsl.job import Job
from streamlet.dsl.stream import Stream
from streamlet.elements import OutputTag
from streamlet.formats import Bytes, Json, Text
from streamlet.operators.aggregates.functions import Count, Max, Mean, Min, Sum
from streamlet.operators.asynchronous.retry import Retry
from streamlet.operators.error_policy import DeadLetter
from streamlet.operators.process_function import (
    BroadcastContext,
    KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ProcessContext,
    TimerContext,
)
from streamlet.operators.watermark_strategy import WatermarkStrategy
from streamlet.operators.windows.assigners import (
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    Window,
    WindowAssigner,
)
from streamlet.operators.windows.triggers import EveryDuration, EveryRecords
from streamlet.state.broadcast import BroadcastState
from streamlet.state.descriptors import AggregatingState, ListState, MapState, ReducingState, ValueState
from streamlet.state.lifetimes import StateTtl

__all__ = [
    "AggregatingState",
    "BroadcastContext",
    "BroadcastState",
    "Bytes",
    "Count",
    "DeadLetter",
    "EveryDuration",
    "EveryRecords",
    "Job",
    "Json",
    "KeyedBroadcastProcessFunction",
    "KeyedCoProcessFunction",
    "KeyedProcessFunction",
    "ListState",
    "MapState",
    "Max",
    "Mean",
    "Min",
    "OutputTag",
    "ProcessContext",
    "ReducingState",
    "Restart",
    "Retry",
    "SessionWindows",
    "SlidingWindows",
    "StateTtl",
    "Stream",
    "Sum",
    "Text",
    "TimerContext",
    "TumblingWindows",
    "ValueState",
    "WatermarkStrategy",
    "Window",
    "WindowAssigner",
]
