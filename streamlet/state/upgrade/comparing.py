"""The states of a checkpoint beside those of a job: what is found for each, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from streamlet.state.declaration import StateDeclaration
from streamlet.state.descriptor import ttl_timers
from streamlet.state.encoding.codec import Codec
from streamlet.state.evolution.converting import annotation_of, by_decoding, by_function, by_step, can_be_twin, fits
from streamlet.state.evolution.describing import text
from streamlet.state.evolution.differing import Matcher
from streamlet.state.evolution.findings import Allowed, Finding, changing, dropping
from streamlet.state.evolution.needs import Convert, Difference, Need, Wishes
from streamlet.state.evolution.schema import Row, Schema
from streamlet.state.snapshot import StateSpec

Name = tuple[str, str]
"""(uid, state name)."""

_BOUND = ("windows", "entries")
"""States of these kinds point at each other: one of them alone cannot be dropped."""


class GoesOn(NamedTuple):
    """How a state of a checkpoint goes on in the job."""

    convert: Convert | None = None
    """Makes new values of the old ones; None where they are good as they are."""
    begins_anew: bool = False
    """True where it is dropped, and what is declared under its name begins empty."""


class Compared(NamedTuple):
    """What was found for each state, and how those go on that both have."""

    findings: list[Finding]
    goes_on: dict[Name, GoesOn]


def compare(before: Sequence[StateSpec], now: Sequence[StateDeclaration], allowed: Allowed) -> Compared:
    """Compares what a checkpoint has with what the job declares. Nothing is read but the two."""
    old = {(spec.uid, spec.name): spec for spec in before}
    new = {(one.spec.uid, one.spec.name): one for one in now}
    found: dict[Name, tuple[list[Finding], GoesOn]] = {}
    for name, declaration in new.items():
        spec = old.get(name)
        found[name] = (
            ([_finding("new", declaration.spec)], GoesOn()) if spec is None else _one(spec, declaration, allowed)
        )
    for name, spec in old.items():
        if name not in new:
            found[name] = [_gone(spec, {uid for uid, _ in new}, allowed)], GoesOn()
    _drop_what_belongs_together(found, old, allowed)
    return Compared(
        [finding for findings, _ in found.values() for finding in findings],
        {name: how for name, (_, how) in found.items() if name in old and name in new},
    )


def _one(spec: StateSpec, declaration: StateDeclaration, allowed: Allowed) -> tuple[list[Finding], GoesOn]:
    """One state that both have."""
    if spec.schema is None:
        return _by_text(spec, declaration.spec, allowed)
    if _drops(allowed, spec) or (spec.kind != declaration.spec.kind):
        return _another(spec, declaration.spec, allowed)
    settings = _settings(spec, declaration, allowed)
    if any(one.verdict == "refused" for one in settings):
        return settings, GoesOn()
    values, convert = _values(spec, declaration, allowed)
    keys = _map_keys(spec, declaration)
    findings = [*settings, *values, *keys]
    if not findings:
        findings = [_finding("kept", declaration.spec)]
    return findings, GoesOn(convert)


def _values(spec: StateSpec, declaration: StateDeclaration, allowed: Allowed) -> tuple[list[Finding], Convert | None]:
    old, new, evolves = spec.schema, declaration.spec.schema, declaration.evolves
    assert old is not None and new is not None, "looked at before"
    uid, name = spec.uid, spec.name
    matcher = Matcher(
        Wishes(
            evolves.renamed,
            lambda path: allowed.may_drop(uid, name, *path),
            lambda path: allowed.may_change(uid, name, *path),
        )
    )
    step = matcher.match(old, new)
    if step is None and not _refusals(matcher.found):
        return [], None
    place = evolves.place_of_value if isinstance(old, Row) else None
    kept = old.items[place] if isinstance(old, Row) and place is not None else old
    codec = Codec(declaration.type, where=declaration.spec.where, option=declaration.option)
    if evolves.upgrade is not None and _is_for(evolves.upgrade, kept, matcher.found):
        made = by_function(codec, evolves.upgrade, old, place)
        called = getattr(evolves.upgrade, "__name__", "upgrade")
        return [_finding("upgraded", declaration.spec, what=f"by {called} from {text(kept)}")], made
    findings = [_of_difference(one, declaration, kept, allowed) for one in matcher.found]
    if _refusals(matcher.found) or step is None:
        return findings, None
    is_direct = all(one.is_direct for one in matcher.found) and can_be_twin(new)
    return findings, by_decoding(codec, new) if is_direct else by_step(codec, step)


def _is_for(upgrade: Callable[[Any], Any], old: Schema, found: Sequence[Difference]) -> bool:
    """True when a function is meant for these values: by its annotation, or because they cannot go on without."""
    annotated = annotation_of(upgrade)
    if annotated is not None:
        return fits(annotated, old)
    return any(one.need in (Need.UPGRADE, Need.PERMISSION_TO_DROP) for one in found)


def _refusals(found: Sequence[Difference]) -> bool:
    return any(one.need > Need.REWRITE and not one.is_allowed for one in found)


def _of_difference(one: Difference, declaration: StateDeclaration, old: Schema, allowed: Allowed) -> Finding:
    spec, path = declaration.spec, ".".join(one.path)
    if one.need <= Need.REWRITE or one.is_allowed:
        verdict: Any = "dropped" if one.need is Need.PERMISSION_TO_DROP else "upgraded"
        return _finding(verdict, spec, path, one.what)
    here = (spec.uid, spec.name)
    if one.need is Need.PERMISSION_TO_DROP:
        remedy = f"let it go by {dropping(*here, path)}"
        if not declaration.option:
            remedy += f', or say what it is now: renamed={{"{path}": ...}} on the state'
    elif one.need is Need.PERMISSION_TO_CHANGE:
        remedy = f"go on with what is there by {changing(*here, path)}, or begin anew by {dropping(*here, path)}"
    else:
        remedy = f"begin it anew by {dropping(*here)}"
        upgrade = declaration.evolves.upgrade
        if upgrade is not None:
            name = getattr(upgrade, "__name__", "upgrade")
            remedy = f"{name}() is not for it: annotate what it takes as {text(old):.120}, or not at all; or {remedy}"
        elif not declaration.option:
            remedy = (
                f"give the state upgrade=function, which gets {text(old):.120} and gives the new value; or {remedy}"
            )
    return _finding("refused", spec, path, one.what, remedy)


def _map_keys(spec: StateSpec, declaration: StateDeclaration) -> list[Finding]:
    """Keys of a map are stored as they are packed, so they go on only as they were."""
    old, new = spec.key_schema, declaration.spec.key_schema
    if old is None or new is None:
        return []
    there, back = Matcher(Wishes()), Matcher(Wishes())
    if there.match(old, new) is None and not there.found and back.match(new, old) is None and not back.found:
        return []
    what = f"its keys were {text(old)} and are {text(new)}"
    remedy = f"give its keys their former type, or begin it anew by {dropping(spec.uid, spec.name)}"
    return [_finding("refused", declaration.spec, "", what, remedy)]


def _settings(spec: StateSpec, declaration: StateDeclaration, allowed: Allowed) -> list[Finding]:
    """What became of settings that decide what the values mean, such as the size of windows."""
    judge = declaration.evolves.judge
    if judge is None or not spec.settings or spec.settings == declaration.spec.settings:
        return []
    findings = []
    for one in judge(spec.settings, declaration.spec.settings):
        is_forced = one.can_be_forced and allowed.may_change(spec.uid, spec.name, one.setting)
        if not one.reason or is_forced:
            findings.append(_finding("upgraded", declaration.spec, one.setting, one.what))
            continue
        remedy = f"put it back; or begin anew by {dropping(spec.uid)}"
        if one.can_be_forced:
            remedy += f"; or go on all the same by {changing(spec.uid, spec.name, one.setting)}"
        findings.append(_finding("refused", declaration.spec, one.setting, f"{one.what}: {one.reason}", remedy))
    return findings


def _another(spec: StateSpec, now: StateSpec, allowed: Allowed) -> tuple[list[Finding], GoesOn]:
    """A state under the name of one that is dropped, or that cannot go on as this kind."""
    if _drops(allowed, spec):
        return [_finding("dropped", now, what="begins empty, as asked")], GoesOn(begins_anew=True)
    what = f"was {_article(spec.kind)} state and is {_article(now.kind)} state"
    remedy = f"give it another name, or begin it anew by {dropping(spec.uid, spec.name)}"
    return [_finding("refused", now, "", what, remedy)], GoesOn()


def _by_text(spec: StateSpec, now: StateSpec, allowed: Allowed) -> tuple[list[Finding], GoesOn]:
    """A state of a checkpoint of the first format, which has types as text only."""
    if _drops(allowed, spec):
        return _another(spec, now, allowed)
    is_noted = bool(spec.made_by) or now.made_by.startswith("(")
    if (
        (spec.kind, spec.type) == (now.kind, now.type)
        and spec.key_type in (now.key_type, now.key_type.partition(";")[0])
        and (not is_noted or spec.made_by == now.made_by)
    ):
        return [_finding("kept", now)], GoesOn()
    what = f"is declared as {type_of(now)}, but the checkpoint has {type_of(spec)}"
    remedy = (
        "go on once with the former job file, so that a checkpoint of the present format is written, then edit; "
        f"or begin it anew by {dropping(spec.uid, spec.name)}"
    )
    return [_finding("refused", now, "", what, remedy)], GoesOn()


def _gone(spec: StateSpec, uids: set[str], allowed: Allowed) -> Finding:
    """A state that the job does not have."""
    if _drops(allowed, spec):
        return _finding("dropped", spec, what="the job does not have it")
    if spec.uid in uids and spec.kind in (*_BOUND, "timers"):
        made = f" of {spec.settings['windows']} windows" if "windows" in spec.settings else ""
        remedy = f"put the step back as it was, or begin it anew by {dropping(spec.uid)}"
        return _finding("refused", spec, "", f"the step keeps another state now than this one{made}", remedy)
    if spec.uid in uids:
        remedy = f"declare it again, or let it go by {dropping(spec.uid, spec.name)}"
        return _finding("refused", spec, "", "the step does not have it any more", remedy)
    remedy = (
        f'give its step uid="{spec.uid}" again, say renamed_from="{spec.uid}" on the step that goes on from it, '
        f"or let it go by {dropping(spec.uid)}"
    )
    return _finding("refused", spec, "", "no step of the job has this uid", remedy)


def _drop_what_belongs_together(
    found: dict[Name, tuple[list[Finding], GoesOn]], old: Mapping[Name, StateSpec], allowed: Allowed
) -> None:
    """Lets all states of a step go where one goes that the others point at, and the timers that free a state."""
    bound = {uid for (uid, _), spec in old.items() if spec.kind in _BOUND}
    dropped = {spec.uid for spec in old.values() if _drops(allowed, spec) and spec.uid in bound}
    freed = {(spec.uid, ttl_timers(spec.name)) for spec in old.values() if _drops(allowed, spec)}
    for name, spec in old.items():
        if spec.uid in dropped or name in freed:
            findings, _ = found[name]
            found[name] = (
                [_finding("dropped", spec, what="with what it belongs to", place=findings[0].place)],
                GoesOn(begins_anew=True),
            )


def type_of(spec: StateSpec) -> str:
    """The type of a state, for messages."""
    types = f"{spec.key_type}, {spec.type}" if spec.key_type else spec.type
    return f"{spec.kind}[{types}]" + (f" of {spec.made_by}" if spec.made_by else "")


def _drops(allowed: Allowed, spec: StateSpec) -> bool:
    return allowed.may_drop(spec.uid, spec.name)


def _finding(
    verdict: Any, spec: StateSpec, path: str = "", what: str = "", remedy: str = "", place: str = ""
) -> Finding:
    return Finding(verdict, "state", spec.uid, spec.name, path, what, remedy, place)


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
