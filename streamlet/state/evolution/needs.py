"""What a difference between two types needs, and what the job and the command line say about it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Step = Callable[[Any], Any]
Path = tuple[str, ...]
Convert = Callable[[bytes], bytes]
"""From the bytes of an old value to those of a new one."""


class Changed(NamedTuple):
    """One setting that decides what values mean, and that is another one now."""

    setting: str
    what: str
    reason: str = ""
    """Why values that were made under the old one cannot go on; empty where they do."""
    can_be_forced: bool = False
    """True where they can go on all the same, with results that are neither those of the old setting nor of the new."""


Judge = Callable[[dict[str, Any], dict[str, Any]], Iterable[Changed]]
"""Says of old and new settings what has changed."""


class Need(enum.IntEnum):
    """What a difference needs, the least first."""

    NOTHING = 0
    """The old bytes are those of the new type."""
    REWRITE = 1
    """Every value is written anew."""
    PERMISSION_TO_DROP = 2
    """The same, and something is lost: only where the user has said so."""
    PERMISSION_TO_CHANGE = 3
    """What the state means has changed: only where the user has said so."""
    UPGRADE = 4
    """A function of the user's that makes new values of old ones."""


class Difference(NamedTuple):
    """One difference, and where it lies in the value."""

    path: Path
    what: str
    need: Need
    is_allowed: bool = False
    """True where the user has given the permission that it needs."""
    is_direct: bool = False
    """True where the new type reads the old bytes itself."""


class Wishes(NamedTuple):
    """What the job and the command line say about one state."""

    renamed: Mapping[str, str] = {}
    """Old name of a field, dotted where it lies in another one -> its new name."""
    may_drop: Callable[[Path], bool] = lambda path: False
    may_change: Callable[[Path], bool] = lambda path: False


class Evolves(NamedTuple):
    """What a declaration says about values of an earlier type."""

    renamed: Mapping[str, str] = {}
    upgrade: Callable[[Any], Any] | None = None
    judge: Judge | None = None
    place_of_value: int | None = None
    """Where the user's value lies among the times of a state with a ttl."""
