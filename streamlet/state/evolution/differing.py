"""How the type of a state differs from what a checkpoint holds, what each difference needs, and the step over it.

Types are matched by names alone: fields by theirs, members of a union by what they are.  A step turns old plain data
(as msgpack has it, without any class) into new plain data; what is new in it is left out, for the new type to fill in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from streamlet.state.evolution.describing import brief, text
from streamlet.state.evolution.needs import Difference, Need, Path, Step, Wishes
from streamlet.state.evolution.parts import match_parts
from streamlet.state.evolution.schema import (
    ANY,
    NO_DEFAULT,
    Accumulators,
    Again,
    Choice,
    Class,
    Field,
    Items,
    Literals,
    Mapping,
    Members,
    Plain,
    Row,
    Schema,
)

_SCALARS = ("None", "bool", "int", "float", "str", "bytes")
_PYTHON: dict[str, type] = {
    "None": type(None),
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
}


class Matcher:
    """Matches an old schema with a new one. `found` has all differences in the end."""

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self.found: list[Difference] = []
        self._classes: dict[tuple[str, str], Step | None] = {}

    def match(self, old: Schema, new: Schema, path: Path = ()) -> Step | None:
        """Notes the differences and gives the step; None where the old data is good as it is."""
        if old == new:
            return None
        known = len(self.found)
        step = self._matched(old, new, path)
        changes = any(one.need > Need.NOTHING for one in self.found[known:])
        return step if changes else None

    def note(self, path: Path, what: str, need: Need, *, is_direct: bool = False) -> None:
        """Notes a difference."""
        may = {Need.PERMISSION_TO_DROP: self.wishes.may_drop, Need.PERMISSION_TO_CHANGE: self.wishes.may_change}
        self.found.append(Difference(path, what, need, need in may and may[need](path), is_direct))

    def _matched(self, old: Schema, new: Schema, path: Path) -> Step | None:
        if isinstance(old, Choice) or isinstance(new, Choice):
            return self._choice(old, new, path)
        match old, new:
            case Plain(), Plain():
                return self._plain(old, new, path)
            case Class(), Class():
                return self._class(old, new, path)
            case Again(), Again() if (old.name, new.name) in self._classes:
                pair = old.name, new.name
                return lambda value: value if (step := self._classes[pair]) is None else step(value)
            case Items(), Items() if old.kind == new.kind:
                item = self.match(old.item, new.item, path)
                return None if item is None else lambda values: [item(value) for value in values]
            case Row(), Row() if len(old.items) == len(new.items):
                steps = [self.match(one, other, path) for one, other in zip(old.items, new.items, strict=True)]
                return lambda values: [
                    value if step is None else step(value) for step, value in zip(steps, values, strict=True)
                ]
            case Mapping(), Mapping():
                return self._mapping(old, new, path)
            case Accumulators(), _:
                return match_parts(self, old, new, path)
            case Members(), Members() if set(old.members.values()) <= set(new.members.values()):
                return None
            case Literals(), Literals() if set(old.values) <= set(new.values):
                return None
            case Literals(), Plain() if all(type(value) is _PYTHON.get(new.name) for value in old.values):
                return None
            case _, Accumulators():
                return match_parts(self, old, new, path)
        self._other(old, new, path)
        return None

    def _other(self, old: Schema, new: Schema, path: Path) -> None:
        one, other = text(old), text(new)
        if isinstance(old, Class) != isinstance(new, Class):
            one, other = brief(old), brief(new)
        self.note(path, f"was {one} and is {other}", Need.UPGRADE)

    def _plain(self, old: Plain, new: Plain, path: Path) -> Step | None:
        is_looser = not new.limits or new.limits == old.limits
        if is_looser and (old.name == new.name or (new == ANY and old.name in _SCALARS)):
            return None
        if is_looser and (old.name, new.name) == ("int", "float"):
            self.note(path, "int is now float", Need.REWRITE, is_direct=True)
            return float
        self._other(old, new, path)
        return None

    def _mapping(self, old: Mapping, new: Mapping, path: Path) -> Step | None:
        key, value = self.match(old.key, new.key, path), self.match(old.value, new.value, path)

        def step(values: dict[Any, Any]) -> dict[Any, Any]:
            return {
                one if key is None else key(one): other if value is None else value(other)
                for one, other in values.items()
            }

        return step

    # -- unions --------------------------------------------------------------------------------------------------------

    def _choice(self, old: Schema, new: Schema, path: Path) -> Step | None:
        olds = old.of if isinstance(old, Choice) else (old,)
        news = new.of if isinstance(new, Choice) else (new,)
        steps: list[tuple[Callable[[Any], bool], Step]] = []
        for one in olds:
            other = self._nearest(one, news)
            if other is None:
                self.note(path, f"could be {brief(one)} and is {brief(new)}", Need.UPGRADE)
                continue
            step = self.match(one, other, path)
            if step is not None:
                steps.append((_is_of(one), step))

        def pick(value: Any) -> Any:
            return next((step(value) for is_of, step in steps if is_of(value)), value)

        return pick

    def _nearest(self, old: Schema, news: Iterable[Schema]) -> Schema | None:
        """The member of a union that takes the old values with the least change."""
        ranked: list[tuple[tuple[int, bool], Schema]] = []
        for new in news:
            trial = Matcher(self.wishes)
            trial._classes = dict(self._classes)
            trial.match(old, new)
            worst = max((one.need for one in trial.found), default=Need.NOTHING)
            is_renamed = isinstance(old, Class) and isinstance(new, Class) and old.name != new.name
            is_one_kind = isinstance(old, Class) and isinstance(new, Class)
            if worst < Need.UPGRADE or is_one_kind or isinstance(old, Accumulators) or type(old) is type(new) is Items:
                ranked.append(((worst, is_renamed), new))
        return min(ranked, key=lambda one: one[0])[1] if ranked else None

    # -- classes -------------------------------------------------------------------------------------------------------

    def _class(self, old: Class, new: Class, path: Path) -> Step | None:
        pair = old.name, new.name
        self._classes[pair] = None
        known = len(self.found)
        moves = self._moves(old, new, path)
        if (old.is_array, old.tag, old.tag_field) != (new.is_array, new.tag, new.tag_field):
            self.note(path, f"{new.name} is stored in another form", Need.REWRITE)
        if new.is_array and [move[1] for move in moves] != [field.name for field in new.fields][: len(moves)]:
            self.note(path, f"fields of {new.name} changed places", Need.REWRITE)
        if not any(one.need > Need.NOTHING for one in self.found[known:]):
            return None
        step = _class_step(old, new, moves)
        self._classes[pair] = step
        return step

    def _moves(self, old: Class, new: Class, path: Path) -> list[tuple[str, str, Step | None]]:
        """Old name, new name and step of each field that goes on."""
        targets: dict[str, Field] = {}
        for field in old.fields:
            to = self._new_name(field, old, new, path)
            if to is None:
                self.note((*path, field.name), f"field {field.name} is gone", Need.PERMISSION_TO_DROP)
            else:
                targets[to] = field
        moves = []
        for field in new.fields:
            before = targets.get(field.name)
            if before is not None:
                moves.append((before.name, field.name, self.match(before.type, field.type, (*path, field.name))))
                if old.omits_defaults and before.default != (field.default if new.omits_defaults else NO_DEFAULT):
                    self.note((*path, field.name), f"the default of {field.name} changed", Need.REWRITE)
            elif field.has_default:
                what, is_by_name = (
                    f"field {field.name} added, begins as its default",
                    not (old.is_array or new.is_array),
                )
                self.note((*path, field.name), what, Need.REWRITE, is_direct=is_by_name and field.default != NO_DEFAULT)
            else:
                self.note((*path, field.name), f"field {field.name} is new and has no default", Need.UPGRADE)
        order = {field.name: place for place, field in enumerate(old.fields)}
        return moves if not old.is_array else sorted(moves, key=lambda move: order[move[0]])

    def _new_name(self, field: Field, old: Class, new: Class, path: Path) -> str | None:
        if new.field(field.name) is not None:
            return field.name
        wanted = self.wishes.renamed.get(".".join((*path, field.name)))
        if wanted is None or new.field(wanted) is None or old.field(wanted) is not None:
            return None
        self.note((*path, wanted), f"field {field.name} is now {wanted}", Need.REWRITE)
        return wanted


def _class_step(old: Class, new: Class, moves: list[tuple[str, str, Step | None]]) -> Step:
    """From the old stored form of a class to the new one, without its new fields."""
    names = [field.name for field in old.fields]
    skipped = int(old.is_array and old.tag is not None)
    fills = {field.name: field.default for field in old.fields if old.omits_defaults and field.default != NO_DEFAULT}
    tag = {} if new.tag is None or new.is_array else {new.tag_field: new.tag}
    tag_item = [new.tag] if new.is_array and new.tag is not None else []
    begins = {one.name: one.default for one in new.fields if new.form == "dataclass" and one.default != NO_DEFAULT}
    filled = [(field.name, None if field.default == NO_DEFAULT else field.default) for field in new.fields]

    def step(value: Any) -> Any:
        before: Any = dict(zip(names, value[skipped:], strict=False)) if old.is_array else value
        if fills:
            before = {**fills, **before}
        made: dict[Any, Any] = {
            to: before[name] if inner is None else inner(before[name]) for name, to, inner in moves if name in before
        }
        if not new.is_array:
            return {**tag, **begins, **made}
        end = max((at for at, (name, _) in enumerate(filled) if name in made), default=-1) + 1
        return [*tag_item, *(made.get(name, default) for name, default in filled[:end])]

    return step


def _is_of(schema: Schema) -> Callable[[Any], bool]:
    """Tells plain data of one member of a union from that of the others."""
    match schema:
        case Plain() if schema.name in _PYTHON:
            kind = _PYTHON[schema.name]
            return lambda value: type(value) is kind
        case Class() if schema.tag is not None and not schema.is_array:
            return lambda value: isinstance(value, dict) and value.get(schema.tag_field) == schema.tag
        case Class() if schema.tag is not None:
            return lambda value: isinstance(value, list) and bool(value) and value[0] == schema.tag
        case Class(is_array=False) | Mapping():
            return lambda value: isinstance(value, dict)
        case Class() | Items() | Row():
            return lambda value: isinstance(value, list)
        case Accumulators():
            return lambda value: value is not None
    return lambda value: value is not None and not isinstance(value, dict | list)
