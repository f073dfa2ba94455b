"""What windows mean, as values in a checkpoint, and what becomes of open windows when the job file says otherwise.

| change | |
|---|---|
| size, offset, time zone of tumbling windows, or an assigner of one's own | open windows end as they were; later records go into new ones |
| slide of sliding windows, to a multiple; a smaller size where each pane is a slide | open windows go on |
| any other size, slide or offset of sliding windows | refused: a window that began before would lack records |
| gap of sessions | open sessions keep the ends they have, unless a record moves them |
| shorter allowed lateness | goes on |
| longer allowed lateness | refused: a window that has closed would begin anew with late records alone |
| accumulating or discarding | goes on while no window is put out more than once, else refused |
| another number of a trigger or of count windows | goes on, but for count windows that become smaller |
| kind of windows, of time or of trigger | refused |
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import gcd
from typing import TYPE_CHECKING, Any

from streamlet.operators.aggregates.identity import identity_of
from streamlet.operators.windows.assigners import (
    CountWindows,
    GlobalWindows,
    SessionWindows,
    SlidingWindows,
    TumblingWindows,
    WindowAssigner,
)
from streamlet.state.evolution.needs import Changed

if TYPE_CHECKING:
    from streamlet.operators.windows.operator import WindowPolicy

Settings = dict[str, Any]

_KINDS: dict[type, str] = {
    TumblingWindows: "tumbling",
    SlidingWindows: "sliding",
    SessionWindows: "sessions",
    CountWindows: "count",
    GlobalWindows: "global",
}
_SHAPE = ("size_ms", "slide_ms", "offset_ms", "calendar", "own")
_AT_END, _RECORDS, _DURATION = "AtEnd", "EveryRecords", "EveryDuration"


def settings_of(policy: WindowPolicy, kept_as: str) -> Settings:
    """What decides what the values of windows mean. `kept_as` is what the operator makes of a window: its class."""
    assigner, trigger = policy.assigner, policy.trigger
    found: Settings = {
        "windows": _KINDS.get(type(assigner), type(assigner).__name__),
        **_shape_of(assigner),
        "time": assigner.time,
        "trigger": {"kind": type(trigger).__name__, **_plain_attributes(trigger)},
        "lateness_ms": policy.lateness_ms,
        "accumulating": policy.is_accumulating,
        "kept_as": kept_as,
    }
    return found


def judge(old: Settings, new: Settings) -> Iterator[Changed]:
    """Says of each change what it is, and why it is refused, if it is."""
    if old["windows"] != new["windows"]:
        yield Changed(
            "windows", f"were {old['windows']} and are {new['windows']}", "what is kept of them is not the same"
        )
        return
    if old["time"] != new["time"]:
        yield Changed("time", f"was {old['time']} and is {new['time']}", "open windows wait for the other time")
        return
    if old["trigger"] != new["trigger"] or old["kept_as"] != new["kept_as"]:
        yield from _trigger(old, new)
    changed = [name for name in _SHAPE if old.get(name) != new.get(name)]
    if changed:
        yield Changed(changed[0], _changes(old, new, changed), _why_not(old, new))
    if old.get("gap") != new.get("gap"):
        yield Changed("gap", f"gap was {old['gap']} and is {new['gap']}; open sessions keep their ends")
    if old["lateness_ms"] != new["lateness_ms"]:
        is_longer = new["lateness_ms"] > old["lateness_ms"]
        why = "a window that has closed would begin anew with its late records alone" if is_longer else ""
        yield Changed("lateness_ms", _changes(old, new, ["lateness_ms"]), why, True)
    if old["accumulating"] != new["accumulating"]:
        is_once = old["trigger"]["kind"] == _AT_END and not old["lateness_ms"]
        why = "" if is_once else "windows that were put out already would count twice, or lack what they had"
        yield Changed("accumulating", _changes(old, new, ["accumulating"]), why, True)


def _trigger(old: Settings, new: Settings) -> Iterator[Changed]:
    one, other = old["trigger"]["kind"], new["trigger"]["kind"]
    what = f"was {_shown(old['trigger'])} and is {_shown(new['trigger'])}"
    if old["windows"] == "count" and one == other == _RECORDS:
        is_smaller = new["trigger"]["count"] < old["trigger"]["count"]
        yield Changed("size", what, "an open window may hold more already" if is_smaller else "", True)
    elif old["kept_as"] != new["kept_as"]:
        yield Changed("trigger", what, "what is kept of an open window with a trigger is not what is kept without")
    elif (one, other) in ((_RECORDS, _RECORDS), (_DURATION, _DURATION), (_RECORDS, _DURATION)):
        is_session = old["windows"] == "sessions" and other == _DURATION
        yield Changed("trigger", what, "sessions that are open would not be put out early" if is_session else "", True)
    elif old["windows"] == "sessions" and {one, other} == {_AT_END, _RECORDS}:
        yield Changed("trigger", what)
    else:
        yield Changed("trigger", what, "open windows would be put out at times that neither of them says", True)


def _why_not(old: Settings, new: Settings) -> str:
    """Why windows of another size, slide or offset cannot go on; empty where they can."""
    if old["windows"] != "sliding":
        return ""
    reason = "windows that began before the change would lack records, or count some twice"
    size, slide = old["size_ms"], old["slide_ms"]
    pane = gcd(size, slide)
    if old["kept_as"] != "SlidingPanes" or old["offset_ms"] != new["offset_ms"]:
        return reason
    if gcd(new["size_ms"], new["slide_ms"]) != pane:
        return reason
    if new["size_ms"] == size:
        return reason if new["slide_ms"] % slide else ""
    return "" if new["size_ms"] < size and new["slide_ms"] == slide == pane else reason


def _changes(old: Settings, new: Settings, names: list[str]) -> str:
    return ", ".join(f"{name} was {old.get(name)} and is {new.get(name)}" for name in names)


def _shape_of(assigner: WindowAssigner[Any]) -> Settings:
    if isinstance(assigner, TumblingWindows):
        calendar = None if assigner.calendar is None else assigner.calendar.text
        return {"size_ms": assigner.size_ms, "offset_ms": assigner.offset_ms, "calendar": calendar}
    if isinstance(assigner, SlidingWindows):
        return {"size_ms": assigner.size_ms, "slide_ms": assigner.slide_ms, "offset_ms": assigner.offset_ms}
    if isinstance(assigner, SessionWindows):
        gap: Callable[[Any], Any] | None = assigner.gap_of
        return {"gap": assigner.gap_ms if gap is None else identity_of(gap)}
    return {} if isinstance(assigner, GlobalWindows) else {"own": _plain_attributes(assigner)}


def _plain_attributes(one: object) -> Settings:
    return {
        name: value
        for name, value in vars(one).items()
        if not name.startswith("_") and type(value) in (bool, int, float, str)
    }


def _shown(trigger: Settings) -> str:
    return f"{trigger['kind']}({', '.join(f'{k}={v}' for k, v in trigger.items() if k != 'kind')})"
