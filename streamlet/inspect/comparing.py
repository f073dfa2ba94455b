"""A checkpoint in words, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.inspect.checkpoint import CheckpointView, KeyedView, snapshots_of
from streamlet.inspect.entries import Entry, entries_of
from streamlet.state.encoding.key_groups import namespace_of
from streamlet.state.snapshot import StateSpec

_MOST_SPLITS = 20


def describe_checkpoint(info: CheckpointInfo) -> Iterator[str]:
    """Gives what a manifest says, line by line."""
    manifest = info.manifest
    assert manifest is not None, "only what can be read is described"
    made = datetime.fromtimestamp(manifest.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield f"checkpoint {info.id} of job {manifest.job!r}, {manifest.kind}, in {info.path}"
    yield f"made {made} by attempt {manifest.attempt}, restored from {manifest.restored_from or 'nothing'}"
    yield f"its output is {'committed' if info.is_marked else 'not yet known to be committed'}"
    yield f"{info.files_bytes:,} bytes in {len(manifest.file_names())} files, {manifest.key_groups} key groups"
    for uid, positions in sorted(manifest.positions.items()):
        yield f"source {uid}: {len(positions)} splits"
        for split, position in sorted(positions.items())[:_MOST_SPLITS]:
            yield f"  {split}: {position}"
        if len(positions) > _MOST_SPLITS:
            yield f"  and {len(positions) - _MOST_SPLITS} more"
    for spec in manifest.states:
        count = manifest.parallelism.get(spec.uid)
        yield f"state {spec.uid} / {spec.name}: {describe_type(spec)}{f', {count} subtasks' if count else ''}"
    for uid, units in sorted(_prepared(manifest).items()):
        records = sum(one.committable.records for one in units)
        yield f"sink {uid}: {records:,} records prepared in {len(units)} units{_until(units)}"


def describe_type(spec: StateSpec) -> str:
    """The declared type of a state, with its kind."""
    return f"{spec.kind} of {f'{spec.key_type} to ' if spec.key_type else ''}{spec.type}"


def differences(before: CheckpointView, after: CheckpointView, *, entries: bool) -> Iterator[str]:
    """Says in what two checkpoints differ, line by line; with `entries` also how many entries of each state."""
    one, other = before.manifest, after.manifest
    for what, left, right in (
        ("job", one.job, other.job),
        ("key groups", one.key_groups, other.key_groups),
    ):
        if left != right:
            yield f"{what}: {left} -> {right}"
    yield from _changes("parallelism of", one.parallelism, other.parallelism)
    for uid in sorted(one.positions.keys() | other.positions.keys()):
        known, now = one.positions.get(uid, {}), other.positions.get(uid, {})
        yield from _changes(f"source {uid}:", known, now)
    types = {(spec.uid, spec.name): describe_type(spec) for spec in one.states}
    types_now = {(spec.uid, spec.name): describe_type(spec) for spec in other.states}
    yield from _changes("state", _joined(types), _joined(types_now))
    yield from _changes("snapshot of", snapshots_of(one), snapshots_of(other), shows_values=False)
    if entries:
        for uid, name in [one for one in types if one in types_now]:
            left_state, right_state = before[uid][name], after[uid][name]
            if isinstance(left_state, KeyedView) and isinstance(right_state, KeyedView):
                yield from _entry_changes(left_state, right_state)


def _joined(types: Mapping[tuple[str, str], str]) -> dict[str, str]:
    return {f"{uid} / {name}": text for (uid, name), text in types.items()}


def _changes(
    what: str, before: Mapping[str, Any], after: Mapping[str, Any], *, shows_values: bool = True
) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{what} {name}: gone"
        elif name not in before:
            yield f"{what} {name}: new{f', {after[name]}' if shows_values else ''}"
        elif before[name] != after[name]:
            yield f"{what} {name}: {f'{before[name]} -> {after[name]}' if shows_values else 'changed'}"


def _entry_changes(before: KeyedView, after: KeyedView) -> Iterator[str]:
    """Goes over the entries of both side by side: they come in the same order."""
    added = removed = changed = 0
    left, right = _placed(before), _placed(after)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            removed += 1
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            added += 1
            other = next(right, None)
        else:
            changed += one[1] != other[1]
            one, other = next(left, None), next(right, None)
    if added or removed or changed:
        yield f"state {before.uid} / {before.name}: {added:,} entries new, {removed:,} gone, {changed:,} changed"


def _placed(state: KeyedView) -> Iterator[Entry]:
    """Entries without the number of their state, which is another one in another job; without the lengths of lists."""
    for stored, value in entries_of(state.stores, state.spec.id):
        if state.kind != "list" or namespace_of(stored):
            yield stored[:2] + stored[4:], value


def _prepared(manifest: Manifest) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for listed in manifest.committables:
        found.setdefault(listed.sink_uid, []).append(listed)
    return found


def _until(units: list[Any]) -> str:
    deadlines = [one.committable.deadline_ms for one in units if one.committable.deadline_ms is not None]
    if not deadlines:
        return ""
    return f", to be committed before {datetime.fromtimestamp(min(deadlines) / 1000, UTC):%Y-%m-%d %H:%M:%S UTC}"
