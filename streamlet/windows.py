"""Everything about windows that a job file can name: kinds of windows, triggers, and functions over whole windows.

A window is a stretch [start, end) of time, in epoch milliseconds.  `keyed.window(...)` takes a `WindowAssigner`, which
says in which windows a record lies.  A `Trigger` says when a window is put out besides its end.  A
`WindowProcessFunction` gets all values of a window.  `streamlet help windows` is the guide.
"""

from streamlet.elements import MAX_TIMESTAMP, MIN_TIMESTAMP
from streamlet.operators.windows.assigners import (
    CountWindows,
    GlobalWindows,
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    Window,
    WindowAssigner,
    WindowResult,
)
from streamlet.operators.windows.contents import WindowContext, WindowProcessFunction
from streamlet.operators.windows.triggers import (
    AtEnd,
    AtEndOfInput,
    EveryDuration,
    EveryRecords,
    Trigger,
    TriggerContext,
)

__all__ = [
    "MAX_TIMESTAMP",
    "MIN_TIMESTAMP",
    "AtEnd",
    "AtEndOfInput",
    "CountWindows",
    "EveryDuration",
    "EveryRecords",
    "GlobalWindows",
    "SessionWindows",
    "SlidingWindows",
    "Trigger",
    "TriggerContext",
    "TumblingWindows",
    "Window",
    "WindowAssigner",
    "WindowContext",
    "WindowProcessFunction",
    "WindowResult",
]
