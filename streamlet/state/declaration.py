"""A declared state as stores and restores need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from streamlet.state.evolution.needs import Convert, Evolves
from streamlet.state.snapshot import StateSpec

T = TypeVar("T")

Renamed = Mapping[str, str] | None
"""Old name of a field -> its new name; dotted where it lies in a field: `{"visit.at": "since"}`."""
Upgrade = Callable[[Any], T] | None
"""Gives a value of the declared type for one of an earlier type. It gets that as the class of its annotation, where the
checkpoint holds just such values; else as plain data: a dict of a class, the value of an Enum member."""


class StateDeclaration(msgspec.Struct, frozen=True):
    """One state as the store needs it: what the manifest says of it, and the Python types behind the text."""

    spec: StateSpec
    type: Any
    key_type: Any = None
    option: str = ""
    """What says the type, where that is an option of a step and no declaration of the user's: `type=`."""
    evolves: Evolves = Evolves()
    convert: Convert | None = None
    """Makes values of this type of those in the checkpoint that is restored; None where they are good as they are."""
