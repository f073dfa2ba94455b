"""Gives a store its part of other stores' snapshots: another parallelism, or operators chained differently.

Takes time in proportion to the state, since every base that overlaps is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from streamlet.errors import CheckpointDamagedError
from streamlet.state.backends.rocksdb_database import RocksBase, write_sst
from streamlet.state.declaration import StateDeclaration
from streamlet.state.encoding.key_groups import META_STATE, group_prefix, state_of, stored_key
from streamlet.state.encoding.key_type import KEY_NOTES
from streamlet.state.log.replayed import Replayed
from streamlet.state.snapshot import SnapshotFiles, StoreSnapshot
from streamlet.state.upgrade.entries import upgraded

CACHE_BYTES = 4 << 20
"""Reading from one end to the other uses no block twice."""

Entry = tuple[bytes, bytes]
Groups = tuple[int, int]


def write_part(
    out: Path,
    snapshots: Sequence[StoreSnapshot],
    files: SnapshotFiles,
    scratch: Path,
    groups: Groups,
    states: Mapping[int, StateDeclaration],
) -> int:
    """Writes the entries of these key groups and states as one SST; gives their number, 0 for no file. Blocks."""
    with read_part(snapshots, files, scratch, groups, states) as entries:
        return write_sst(out, iter(entries))


@contextmanager
def read_part(
    snapshots: Sequence[StoreSnapshot],
    files: SnapshotFiles,
    scratch: Path,
    groups: Groups,
    states: Mapping[int, StateDeclaration],
) -> Iterator[Iterator[Entry]]:
    """Gives the entries of these key groups and states in the order of their keys, with values as the states are
    declared now. Blocks.

    Of each snapshot only states are read that it says it holds: its files may have more, from before a state went to
    another store, and that is over.

    `scratch` is a folder for opened bases, on the file system of the checkpoint; it is emptied.
    """
    files.disk.remove_tree(scratch)
    sources: list[Generator[Entry, None, None]] = []
    notes: list[Entry] = []
    with ExitStack() as stack:
        stack.callback(files.disk.remove_tree, scratch)
        for number, snapshot in enumerate(snapshots):
            if snapshot.first_group >= groups[1] or snapshot.end_group <= groups[0]:
                continue
            base = None
            if snapshot.base:
                base = RocksBase.link(files, snapshot.base, scratch / str(number), CACHE_BYTES)
                stack.callback(base.close)
            held = set(states).intersection(snapshot.states) if snapshot.states else set(states)
            replayed = Replayed()
            logs = [files.path(log.file) for log in snapshot.logs]
            replayed.replay_part(files.disk, logs, *_with(groups, snapshot.first_group), {*held, META_STATE})
            notes = notes or _key_notes(snapshot, base, replayed, groups[0])
            source = _entries(base, replayed, groups, held)
            stack.callback(source.close)
            sources.append(source)
        if len(sources) == 1:
            # Merging costs as much as all else that is done for an entry.
            yield upgraded(_with_notes(sources[0], notes), states)
        else:
            yield upgraded(_without_doubles(heapq.merge(*sources, notes)), states)


def _with(groups: Groups, group: int) -> Groups:
    """The key groups from the lowest to the highest of these, and one more: where a store keeps its notes."""
    return min(groups[0], group), max(groups[1], group + 1)


def _key_notes(snapshot: StoreSnapshot, base: RocksBase | None, replayed: Replayed, first_group: int) -> list[Entry]:
    """What the old store noted of its keys, moved to where the new store looks for it."""
    places = {
        stored_key(snapshot.first_group, META_STATE, note): stored_key(first_group, META_STATE, note)
        for note in KEY_NOTES
    }
    known: dict[bytes, bytes | None] = {}
    if base is not None:
        known.update(zip(places, base.get(tuple(places)), strict=True))
    known.update((place, bytes(noted)) for place in places if (noted := replayed.entries.get(place)) is not None)
    return sorted((places[place], noted) for place, noted in known.items() if noted is not None)


def _entries(
    base: RocksBase | None, replayed: Replayed, groups: Groups, states: Collection[int]
) -> Generator[Entry, None, None]:
    """One store's entries in order: what its logs say, and what its base has that the logs do not speak of."""
    low, high = group_prefix(groups[0]), group_prefix(groups[1])
    logged = replayed.entries
    newer: list[Entry] = sorted(
        (key, bytes(value))
        for key, value in logged.items()
        if value is not None and low <= key[:2] < high and state_of(key) in states
    )
    if base is None:
        yield from newer
        return
    older = _wanted(base.range(low), high, frozenset(id.to_bytes(2, "big") for id in states), logged)
    yield from heapq.merge(newer, older) if newer else older


def _wanted(
    entries: Iterator[Entry], high: bytes, states: frozenset[bytes], logged: Mapping[bytes, object]
) -> Iterator[Entry]:
    """What a base has of these states, below `high`, that the logs do not speak of."""
    for entry in entries:
        key = entry[0]
        if key >= high:
            return
        if key[2:4] in states and key not in logged:
            yield entry


def _with_notes(entries: Iterator[Entry], notes: Sequence[Entry]) -> Iterator[Entry]:
    """The entries of one store, with its few notes at their places."""
    if not notes:
        yield from entries
        return
    first = notes[0][0]
    for entry in entries:
        if entry[0] > first:
            yield from notes
            yield entry
            yield from entries
            return
        yield entry
    yield from notes


def _without_doubles(entries: Iterable[Entry]) -> Iterator[Entry]:
    last = b""
    for entry in entries:
        if entry[0] == last:
            raise CheckpointDamagedError(
                f"two stores of the checkpoint hold the same entry of state {state_of(last)}: {last!r}",
                remedy="the manifest names stores that do not belong together: restore another checkpoint with --from",
            )
        last = entry[0]
        yield entry
