"""Random edits of a state: each goes on as plain Python says, or is refused with a remedy that works."""

from __future__ import annotations

import random
import re
from dataclasses import asdict, field, make_dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from streamlet import Count, Max, Min, SessionWindows, SlidingWindows, Sum, TumblingWindows, ValueState
from streamlet.aggregates import Composed
from streamlet.operators.aggregates.functions import schema_of_functions
from streamlet.operators.windows.operator import WindowPolicy
from streamlet.operators.windows.settings import judge, settings_of
from streamlet.state.evolution import differing, parts
from streamlet.state.evolution.findings import Allowed, Finding
from streamlet.state.upgrade import comparing
from streamlet.state.upgrade.comparing import compare

EDITS = 500
"""Of each kind; those of types are chains of three."""
S = timedelta(seconds=1)
TYPES: list[Any] = [int, float, str, list[int], int | None]
SAMPLES = {int: 7, float: 1.5, str: "text", list[int]: [1, 2], int | None: None}
DEFAULTS: dict[Any, Any] = {int: 3, float: 2.5, str: "new", int | None: 4}

Fields = dict[str, tuple[Any, Any]]
"""Name -> type, and its default; `...` for none."""


def _declared(fields: Fields, is_struct: bool, renamed: dict[str, str]) -> Any:
    ordered = sorted(fields.items(), key=lambda one: one[1][1] is not ...)
    if is_struct:
        kind: Any = msgspec.defstruct("S", [(n, t) if d is ... else (n, t, d) for n, (t, d) in ordered])
    else:
        kind = make_dataclass("S", [(n, t) if d is ... else (n, t, field(default=d)) for n, (t, d) in ordered])
    return ValueState(kind, renamed=renamed).declare(1, "p", "held")


def _plain(value: Any) -> dict[str, Any]:
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else asdict(value)


def _edited(draw: random.Random, fields: Fields, value: dict[str, Any], gone: list[str]) -> tuple[Fields, Any, Any]:
    """Edited fields, what plain Python makes of the value if all is allowed, and the renames that are declared."""
    fields, value, renamed = dict(fields), dict(value), dict[str, str]()
    for _ in range(draw.randint(1, 3)):
        what = draw.choice(["add", "back", "remove", "rename", "widen", "default"])
        name = draw.choice(list(fields))
        if what in ("add", "back"):
            new = draw.choice(gone) if what == "back" and gone else f"f{draw.randrange(100)}"
            kind = draw.choice(list(DEFAULTS))
            if new not in fields and new not in renamed:
                fields[new] = (kind, DEFAULTS[kind])
                value[new] = DEFAULTS[kind]
        elif what == "remove" and len(fields) > 1 and name in value and name not in renamed.values():
            del fields[name], value[name]
            gone.append(name)
        elif what == "rename" and name not in renamed.values() and not renamed:
            new = f"r{draw.randrange(100)}"
            fields[new], value[new] = fields.pop(name), value.pop(name)
            renamed[name] = new
        elif what == "widen" and fields[name][0] is int:
            default = fields[name][1]
            fields[name] = (float, default if default is ... else float(default))
            value[name] = float(value[name])
        elif what == "default" and fields[name][1] is not ...:
            kind, default = fields[name]
            fields[name] = (kind, default * 2)  # of the class, and not of values that are there
    return fields, value, renamed


def _follow(before: Any, declared: Any) -> Any:
    """Compares, and does what refusals say until it goes on."""
    allowed: set[str] = set()
    for _ in range(10):
        compared = compare([before.spec], [declared], Allowed.of(allowed))
        refused = [one for one in compared.findings if one.verdict == "refused"]
        if not refused:
            return compared.goes_on["p", "held"]
        said = {found for one in refused for found in re.findall(r"--allow-dropped-state (\S+?)(?:,|$)", one.remedy)}
        assert said - allowed, refused
        allowed |= said
    raise AssertionError("no remedy works")


def _play(seed: int) -> None:
    draw = random.Random(seed)
    fields: Fields = {f"a{at}": (kind, ...) for at, kind in enumerate(draw.sample(TYPES, draw.randint(1, 4)))}
    expected: dict[str, Any] = {name: SAMPLES[kind] for name, (kind, _) in fields.items()}
    before = _declared(fields, draw.random() < 0.5, {})
    data = msgspec.msgpack.encode(before.type(**expected))
    gone: list[str] = []
    for _ in range(3):
        known = dict(fields)
        fields, expected, renamed = _edited(draw, fields, expected, gone)
        # A field that went and came back within one edit is the same field for a checkpoint.
        for name in set(fields) & set(known) - set(renamed.values()):
            old = msgspec.msgpack.decode(data)[name]
            expected[name] = float(old) if fields[name][0] is float and type(old) is int else old
        for name in fields.keys() - known.keys() - {new for old, new in renamed.items() if old in known}:
            expected[name] = fields[name][1]  # as the class has it in the end
        if any(fields[n][0] != known[n][0] and fields[n][0] is not float for n in set(fields) & set(known)):
            return  # another type under an old name: begins anew
        declared = _declared(fields, draw.random() < 0.5, renamed)
        how = _follow(before, declared)
        if how.begins_anew:
            return
        data = data if how.convert is None else how.convert(data)
        found = msgspec.msgpack.decode(data, type=declared.type)
        assert _plain(found) == expected, (seed, known, fields)
        assert msgspec.msgpack.decode(data).keys() == fields.keys(), "bytes are just of the declared type"
        before = declared


def _play_parts(seed: int) -> None:
    draw = random.Random(seed)
    made: dict[str, Any] = {"count": Count(), "total": Sum(lambda e: e.a), "least": Min(), "most": Max(lambda e: e.b)}
    values = {"count": 3, "total": 10, "least": 1, "most": 9}
    empty = {"count": 0, "total": 0, "least": None, "most": None}

    def declared(names: list[str], is_named: bool) -> Any:
        if is_named:
            composed: Any = Composed(**{name: made[name] for name in names})
            return composed.schema, list(composed.parts), composed.accumulator_type
        types = tuple(made[name].accumulator_type for name in names)
        return schema_of_functions([made[name] for name in names]), names, tuple[types]  # type: ignore[valid-type]

    def state(schema: Any, kind: Any) -> Any:
        return ValueState(kind).keeping(schema).declare(1, "p", "held")

    is_named = draw.random() < 0.5
    olds, news = (draw.sample(list(made), draw.randint(2, 4)) for _ in range(2))
    schema, order, kind = declared(olds, is_named)
    before, data = state(schema, kind), msgspec.msgpack.encode([values[name] for name in order])
    schema, order, kind = declared(news, is_named)
    how = _follow(before, state(schema, kind))
    found = msgspec.msgpack.decode(data if how.convert is None else how.convert(data))
    assert found == [values[name] if name in olds else empty[name] for name in order], seed


def _play_orphan(seed: int) -> None:
    draw = random.Random(seed)
    kept, gone = ValueState(int).declare(1, "p", "held"), ValueState(int).declare(2, draw.choice("pq"), "gone")
    (refused,) = [one for one in compare([kept.spec, gone.spec], [kept], Allowed()).findings if one.name == "gone"]
    assert refused.verdict == "refused"
    (option,) = re.findall(r"--allow-dropped-state (\S+)", refused.remedy)
    found = compare([kept.spec, gone.spec], [kept], Allowed.of([option])).findings
    assert [(one.name, one.verdict) for one in found] == [("held", "kept"), ("gone", "dropped")]


def _play_windows(seed: int) -> None:
    draw = random.Random(seed)

    def windows() -> Any:
        slide = draw.choice([2, 3, 4, 6])
        assigner: Any = draw.choice(
            [TumblingWindows(slide * S), SlidingWindows(12 * S, slide * S), SessionWindows(slide * S)]
        )
        policy = WindowPolicy(assigner, lateness_ms=draw.choice([0, 5]), is_accumulating=draw.random() < 0.5)
        kept_as = type(assigner).__name__.replace("SlidingWindows", "SlidingPanes")
        return ValueState(int).under(settings_of(policy, kept_as), judge).declare(1, "w", "window")

    before, after = windows(), windows()
    verdicts = {one.verdict for one in compare([before.spec], [after], Allowed()).findings}
    assert (verdicts == {"kept"}) == (before.spec.settings == after.spec.settings), seed
    if "refused" in verdicts:
        dropped = compare([before.spec], [after], Allowed.of(["w"]))
        assert dropped.goes_on["w", "window"].begins_anew


def test_every_edit_goes_on_exactly_or_is_refused_with_a_remedy_that_works() -> None:
    for seed in range(EDITS):
        _play(seed)
        _play_parts(seed)
        _play_orphan(seed)
        _play_windows(seed)


def _by_place(old: list[Any], new: list[Any]) -> dict[int, int]:
    return {at: at for at in range(min(len(old), len(new)))}


def _keeps_stale_bytes(*_: Any) -> Any:
    return lambda value: value


def _from_the_old_class(old: Any, new: Any, moves: Any) -> Any:
    stale = {one.name: "stale" for one in new.fields if one.has_default}
    return lambda value: {**stale, **value}


def _dropped_silently(spec: Any, *_: Any) -> Any:
    return Finding("dropped", "state", spec.uid, spec.name)


@pytest.mark.parametrize(
    "room, name, planted",
    [
        (parts, "_pairs", _by_place),
        (differing, "_class_step", _keeps_stale_bytes),
        (differing, "_class_step", _from_the_old_class),
        (comparing, "_gone", _dropped_silently),
        (comparing, "_settings", lambda *_: []),
    ],
)
def test_planted_bugs_are_found(room: Any, name: str, planted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, name, planted)
    with pytest.raises((AssertionError, msgspec.ValidationError)):
        test_every_edit_goes_on_exactly_or_is_refused_with_a_remedy_that_works()
