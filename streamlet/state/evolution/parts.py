"""How the functions of an aggregate find their accumulators again: by name, or by what they are; never by place.

Where a function has no name, or had none, it is known by its kind and by what it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlet.state.evolution.describing import text
from streamlet.state.evolution.needs import Need, Path, Step
from streamlet.state.evolution.schema import NO_DEFAULT, Accumulators, Part, Schema

if TYPE_CHECKING:
    from streamlet.state.evolution.differing import Matcher

_HASHED = "function "
"""What a part takes, where only a hash of the function's code tells: `function 3.11:9f1c...`."""


def match_parts(matcher: Matcher, old: Schema, new: Schema, path: Path) -> Step | None:
    """Notes what became of each part, and gives the step from the old accumulators to the new ones."""
    if not isinstance(old, Accumulators) or not isinstance(new, Accumulators):
        matcher.note(path, f"was {text(old)} and is {text(new)}", Need.UPGRADE)
        return None
    pairs = _pairs(list(old.parts), list(new.parts))
    taken = set(pairs.values())
    places: list[tuple[int | None, Step | None, Any]] = []
    for place, part in enumerate(new.parts):
        before = pairs.get(place)
        if before is None:
            _note_new(matcher, part, path)
            places.append((None, None, part.empty))
        else:
            places.append(_went_on(matcher, before, old.parts[before], part, path))
    for at, part in enumerate(old.parts):
        if at not in taken:
            matcher.note((*path, part.label), f"{part.what} is gone", Need.PERMISSION_TO_DROP)
    if (old.in_row, [place for place, _, _ in places]) != (new.in_row, list(range(len(old.parts)))):
        matcher.note(path, "functions changed places", Need.REWRITE)
    return _step(old, new, places)


def _step(old: Accumulators, new: Accumulators, places: list[tuple[int | None, Step | None, Any]]) -> Step:
    def step(value: Any) -> Any:
        before = value if old.in_row else [value]
        made = [
            empty if at is None else before[at] if inner is None else inner(before[at]) for at, inner, empty in places
        ]
        return made if new.in_row else made[0]

    return step


def _went_on(matcher: Matcher, at: int, old: Part, new: Part, path: Path) -> tuple[int | None, Step | None, Any]:
    """The place and step of a part that was found again; no place where it begins anew, as the user has said."""
    own = (*path, new.label)
    problem = ""
    if old.kind != new.kind:
        problem = f"was {old.what} and is {new.what}"
    elif is_other_function(old.of, new.of):
        problem = f"{new.what} was of {old.of}"
    elif old.settings != new.settings:
        problem = f"{new.kind.lower()} had {_settings(old)} and has {_settings(new)}"
    if not problem:
        return at, matcher.match(old.type, new.type, own), None
    if matcher.wishes.may_drop(own) and new.empty != NO_DEFAULT:
        matcher.note(own, problem, Need.PERMISSION_TO_DROP)
        return None, None, new.empty
    if old.kind != new.kind:
        matcher.note(own, problem, Need.UPGRADE)
        return at, None, None
    matcher.note(own, problem, Need.PERMISSION_TO_CHANGE)
    return at, matcher.match(old.type, new.type, own), None


def _note_new(matcher: Matcher, part: Part, path: Path) -> None:
    own = (*path, part.label)
    if part.empty == NO_DEFAULT:
        matcher.note(own, f"{part.what} is new, and its create_accumulator() gives nothing to begin with", Need.UPGRADE)
    else:
        matcher.note(own, f"{part.what} is new, begins empty", Need.REWRITE)


def _pairs(old: list[Part], new: list[Part]) -> dict[int, int]:
    """The place of each new part that was there before -> where it was."""
    found: dict[int, int] = {}
    left = dict(enumerate(old))

    def pair(place: int, at: int) -> None:
        found[place] = at
        del left[at]

    for place, part in enumerate(new):
        at = next((at for at, one in left.items() if part.name and one.name == part.name), None)
        if at is not None:
            pair(place, at)
    for is_alike in (_is_same_but_unnamed, _is_of_one_kind_but_unnamed):
        for place, part in enumerate(new):
            at = next((at for at, one in left.items() if is_alike(one, part)), None)
            if place not in found and at is not None:
                pair(place, at)
    return found


def _is_same_but_unnamed(old: Part, new: Part) -> bool:
    """A name that was given or taken away does not hide a function."""
    return not (old.name and new.name) and old.kind == new.kind and not is_other_function(old.of, new.of)


def _is_of_one_kind_but_unnamed(old: Part, new: Part) -> bool:
    return not old.name and not new.name and old.kind == new.kind


def is_other_function(old: str, new: str) -> bool:
    """True when two functions are known to be different. Hashes of code made by different Pythons tell nothing."""
    if old.startswith(_HASHED) and new.startswith(_HASHED):
        one, other = old.removeprefix(_HASHED).partition(":"), new.removeprefix(_HASHED).partition(":")
        return one[0] == other[0] and one[2] != other[2]
    return old != new


def _settings(part: Part) -> str:
    return ", ".join(f"{name}={value}" for name, value in part.settings.items())
