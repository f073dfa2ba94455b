"""What may go: pure decisions over what is there. Retention follows references, never ids of files' makers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from streamlet.checkpoint import layout
from streamlet.checkpoint.manifest import Manifest


class CheckpointInfo(msgspec.Struct, frozen=True):
    """A checkpoint that was found: its folder was renamed into place, so it was decided."""

    id: int
    path: Path
    manifest: Manifest | None
    """None when it cannot be read."""
    problem: str | None
    """Why it cannot be read."""
    is_marked: bool
    """Its marker is durable: everything that it and those before it prepared is committed."""
    manifest_bytes: int = 0
    files_bytes: int = 0
    """Sizes of the files that it names, shared ones counted once."""
    remedy: str | None = None
    """What helps where it cannot be read and nothing is damaged: a later streamlet wrote it."""


def newest_marked(infos: Iterable[CheckpointInfo]) -> int | None:
    """Gives the id of the newest checkpoint that is marked and readable."""
    return max((info.id for info in infos if info.is_marked and info.manifest is not None), default=None)


def foreign_instance(info: CheckpointInfo, instance: str) -> str | None:
    """Says that a checkpoint is of another instance of the job: what it prepared has names made of the instance, and
    could not be settled under this one's.  None when it is not, or nobody knows."""
    if info.manifest is None or not instance or info.manifest.instance in ("", instance):
        return None
    return (
        f"{info.path / layout.MANIFEST} was written by another state directory of this job than "
        f"{info.path.parent / layout.INSTANCE} belongs to"
    )


def releasable(infos: Collection[CheckpointInfo], retain: int = 1) -> list[CheckpointInfo]:
    """Gives the checkpoints that nothing needs any more, oldest first.

    Kept always: the newest marked and readable one and every one after it, marked or not, readable or not; beside
    them the `retain` newest marked and readable ones before it.  These go by id and not by parent: after `--from 30`
    the start checkpoint holds what 30 holds, and the one worth keeping is the one that was abandoned.
    """
    boundary = newest_marked(infos)
    if boundary is None:
        return []
    older = sorted((info for info in infos if info.id < boundary), key=lambda info: info.id)
    spare = [info.id for info in older if info.is_marked and info.manifest is not None]
    kept = frozenset(spare[max(0, len(spare) - retain) :] if retain > 0 else ())
    return [info for info in older if info.id not in kept]


def unreferenced(removed: Iterable[Manifest], kept: Iterable[Manifest], protect: Collection[str] = ()) -> list[str]:
    """Gives the files that only removed manifests name, sorted."""
    candidates = frozenset[str]().union(*(manifest.file_names() for manifest in removed))
    needed = frozenset(protect).union(*(manifest.file_names() for manifest in kept))
    return sorted(candidates - needed)
