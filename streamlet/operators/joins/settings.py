"""What a join by time means, as values in a checkpoint, and what becomes of kept rows when the job file says otherwise.

A row is freed as soon as no partner can come: rows that a wider interval, or a longer tolerance, would still need are
gone, so these are refused.  Narrower ones go on, unless a row without a partner is put out: its time would be over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamlet.state.evolution.needs import Changed

Settings = dict[str, Any]

_FREED = "rows that it would need have been freed"
_OVER = "a row without a partner would be put out after its time"
_UNMARKED = "which of the kept rows have no partner yet is not known"


def judge(old: Settings, new: Settings) -> Iterator[Changed]:
    """Says of each change what it is, and why it is refused, if it is."""
    if old["join"] != new["join"]:
        yield Changed("join", f"was {old['join']} and is {new['join']}", "what is kept of rows is not the same")
        return
    if old["how"] != new["how"]:
        yield Changed("how", _what(old, new, "how"), _UNMARKED if "lower_ms" in new else "")
    for name in ("lower_ms", "upper_ms"):
        if old.get(name) != new.get(name):
            is_wider = (new[name] > old[name]) == (name == "upper_ms")
            reason = _FREED if is_wider else "" if new["how"] == "inner" else _OVER
            yield Changed(name, _what(old, new, name), reason, is_wider)
    if old.get("tolerance_ms") != new.get("tolerance_ms"):
        before, now = old["tolerance_ms"], new["tolerance_ms"]
        is_longer = before is not None and (now is None or now > before)
        yield Changed("tolerance_ms", _what(old, new, "tolerance_ms"), _FREED if is_longer else "", True)


def _what(old: Settings, new: Settings, name: str) -> str:
    return f"{name} was {old[name]} and is {new[name]}"
