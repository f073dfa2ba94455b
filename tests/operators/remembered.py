"""The law of what an operator remembers: all of it is in its snapshot or in keyed state, so a restored one has it too.

`remembered` lists what an operator holds in memory, attribute by attribute and as deep as there are objects of
streamlet's or of a user's in it; only what a closure hides is not seen.  Behind every checkpoint of a recipe the list
of the restored operator is held against that of the one before: an attribute that differs was in no snapshot.  What may
differ is named in `FORGOTTEN`, and why.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from streamlet.operators.asynchronous.in_flight import Call
from streamlet.operators.asynchronous.map_async import MapAsync
from streamlet.operators.error_policy import LeavingOut
from streamlet.operators.joins.buffers import JoinBuffers
from streamlet.operators.joins.lookup import LookupJoin
from streamlet.operators.joins.operator import KeyedJoin
from streamlet.operators.operator import Operator, OperatorContext
from streamlet.operators.process_function import BroadcastContext, ProcessContext, TimerContext
from streamlet.operators.windows.contents import Contents
from streamlet.operators.windows.operator import WindowOperator
from streamlet.operators.windows.panes import RunningMerges
from streamlet.operators.windows.triggered import TriggeredWindows
from streamlet.operators.windows.triggers import TriggerContext
from streamlet.operators.windows.tumbling import AlignedWindows
from streamlet.state.broadcast import BroadcastTable
from streamlet.state.lifetimes import Lifetimes
from streamlet.state.memory.cells import Slot
from streamlet.turns import LoopTurns

_IN_HAND = "set for each record or timer before anybody looks"
_EVICTED = "what is kept beside the cells is dropped when the store says that some have left memory"
_TOLD = "each life tells of the first one"
_ASKED = "a restore asks again"

FORGOTTEN: dict[type[Any], Mapping[str, str]] = {
    AlignedWindows: {"_open": "cells of the store, found again in it", "_evictions": _EVICTED},
    JoinBuffers: {"_known": "an index over the state, read again from it", "_evictions": _EVICTED},
    RunningMerges: {"_stacks": "made anew from the panes"},
    WindowOperator: {"_has_told_late": _TOLD},
    KeyedJoin: {"_has_told_late": _TOLD},
    LeavingOut: {"_has_told": _TOLD},
    Contents: {"input": _IN_HAND},
    TriggeredWindows: {"_slot": _IN_HAND},
    TriggerContext: {"window": _IN_HAND, "count": _IN_HAND, "state": _IN_HAND},
    ProcessContext: {"key": _IN_HAND, "timestamp": _IN_HAND, "_row": _IN_HAND},
    TimerContext: {"domain": _IN_HAND},
    BroadcastContext: {"timestamp": _IN_HAND},
    Lifetimes: {"told": _IN_HAND},
    BroadcastTable: {"_packed": "the last snapshot, so that one without changes is not packed again"},
    MapAsync: {
        "_waiting": "every call begins anew",
        "_running": "every call begins anew",
        "_has_asked": _ASKED,
        "_turn_began": _IN_HAND,
    },
    LoopTurns: {"held_seconds": _IN_HAND, "_left": _IN_HAND, "_resting": _IN_HAND},
    LookupJoin: {"_has_asked": _ASKED},
    Call: {
        "batch": "it stands in a batch of its own then",
        "row": "it stands in a batch of its own then",
        "has_ended": "it is asked for again",
        "results": "it is asked for again",
        "error": "it is asked for again",
    },
}
"""Class -> attribute -> why an operator may forget it."""

_WALKED = (BroadcastTable, Lifetimes)
"""What is no part of the store among the classes of `streamlet.state`; all others are, and restored with it."""
_OURS = re.compile(r"(streamlet|streamlet_connectors|tests)\.(?!state\.)")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def remembered(operator: Operator) -> dict[str, str]:
    """What an operator remembers in memory, by the path of attributes that leads to it."""
    return dict(_found(operator, type(operator).__name__, ()))


def refuse_what_was_lost(before: Mapping[str, str], restored: Mapping[str, str]) -> None:
    """Fails when a restored operator does not remember what the one before did."""
    lost = [
        f"{path} was {before.get(path, 'not there')} and is {restored.get(path, 'not there')} after a restore"
        for path in sorted(before.keys() | restored.keys())
        if before.get(path) != restored.get(path)
    ]
    assert not lost, "\n".join(
        [*lost, "What an operator remembers belongs into its snapshot or keyed state, or its name into FORGOTTEN."]
    )


def _found(one: Any, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if id(one) in above:
        yield path, "what holds it"
        return
    above = (*above, id(one))
    names = _attributes(one)
    for name in names:
        yield from _found(getattr(one, name), f"{path}.{name}", above)
    if isinstance(one, Mapping):
        yield path, f"{len(one)} entries"
        for number, (key, value) in enumerate(one.items()):
            yield from _found(key, f"{path}.keys[{number}]", above)
            yield from _found(value, f"{path}.values[{number}]", above)
    elif isinstance(one, list | tuple | deque):
        yield path, f"{len(one)} elements"
        for number, value in enumerate(one):
            yield from _found(value, f"{path}[{number}]", above)
    elif isinstance(one, set | frozenset):
        yield path, repr(sorted(map(repr, one)))
    elif not names:
        yield path, _text(one)


def _attributes(one: Any) -> list[str]:
    """The names of what an object remembers; none for one that is no part of an operator."""
    kind = type(one)
    if isinstance(one, OperatorContext | Enum) or not (_OURS.match(kind.__module__ + ".") or kind in _WALKED):
        return []
    names = set(getattr(one, "__dict__", ())) | set(getattr(kind, "__struct_fields__", ()))
    forgotten: set[str] = set()
    for ancestor in kind.__mro__:
        names.update(vars(ancestor).get("__slots__", ()))
        forgotten.update(FORGOTTEN.get(ancestor, ()))
    return sorted(name for name in names - forgotten if hasattr(one, name))


def _text(one: Any) -> str:
    if isinstance(one, Slot):
        return f"the slot of {one.key!r}"
    if type(one).__module__.startswith("streamlet."):
        return type(one).__name__
    return _ADDRESS.sub("", repr(one))
