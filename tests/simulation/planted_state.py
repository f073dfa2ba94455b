"""Planted bugs of keyed state: freezing, logs, folds, memory, rescaling."""

from __future__ import annotations

from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from streamlet.checkpoint.pending import PendingCheckpoint
from streamlet.clock import RisingClock
from streamlet.operators.aggregates.rolling import AddTwo
from streamlet.runtime.task import routing
from streamlet.state.backends import folding, memory, rescale
from streamlet.state.backends.logged import LoggedStore
from streamlet.state.encoding.key_type import KEY_TYPE_NOTE
from streamlet.state.log.delta import Delta
from streamlet.state.log.log_set import LogSet
from streamlet.state.log.replayed import Replayed
from streamlet.state.memory import slot_table
from streamlet.state.memory.eviction import Eviction
from streamlet.state.snapshot import StoreSnapshot
from streamlet.testing.loop import SimulatedLoop
from streamlet.testing.patches import Patches
from tests.simulation.planting import planted


@planted
def snapshot_aliases_live_state(patches: Patches) -> None:
    def pack(original: Any) -> Any:
        def aliasing(self: Any, chunk: list[Any]) -> None:
            for cell in chunk:
                cell.old = cell.value
            original(self, chunk)

        return aliasing

    patches.put(Delta, "_pack_frame", pack)


@planted
def cell_that_changes_before_it_is_packed_keeps_nothing(patches: Patches) -> None:
    patches.put(LoggedStore, "is_packing", lambda _: property(lambda self: False))


@planted
def pair_that_changes_before_it_is_packed_keeps_half_of_what_it_was(patches: Patches) -> None:
    def add(original: Any) -> Any:
        def aliasing(self: Any, batch: Any, *columns: Any) -> None:
            original(self, batch, *columns)
            for cell in map(self.cells.cell, batch.keys):
                if isinstance(cell.old, tuple):
                    cell.old = (cell.old[0], cell.second)

        return aliasing

    patches.put(AddTwo, "_add", add)


@planted
def delta_of_a_failed_log_is_dropped(patches: Patches) -> None:
    def write(original: Any) -> Any:
        def forgetting(self: Any) -> Any:
            try:
                return original(self)
            except Exception:
                self._unwritten.clear()
                raise

        return forgetting

    patches.put(LogSet, "write", write)


@planted
def log_of_an_abandoned_checkpoint_is_left_out(patches: Patches) -> None:
    abandoned: set[int] = set()

    def abandon(original: Any) -> Any:
        def noting(self: Any, reason: str) -> Any:
            abandoned.add(self.checkpoint_id)
            return original(self, reason)

        return noting

    def named_by(original: Any) -> Any:
        return lambda self, cut: tuple(ref for ref in original(self, cut) if ref.cut not in abandoned)

    patches.put(PendingCheckpoint, "abandon", abandon)
    patches.put(LogSet, "named_by", named_by)


@planted
def second_freeze_over_an_unpacked_one(patches: Patches) -> None:
    def freeze(original: Any) -> Any:
        def over(self: Any, checkpoint_id: int) -> None:
            self._frozen = None
            original(self, checkpoint_id)

        return over

    patches.put(LoggedStore, "freeze", freeze)


@planted
def logged_cell_is_evicted_as_clean(patches: Patches) -> None:
    patches.put(Eviction, "evict", lambda original: lambda self, folded, *rest: original(self, folded + 1, *rest))


@planted
def fold_covers_logs_that_it_has_not_read(patches: Patches) -> None:
    def rebase(original: Any) -> Any:
        def too_far(self: Any, cut: int, *args: Any) -> Any:
            return original(self, max([cut, *(one.ref.cut for one in self.closed)]), *args)

        return too_far

    patches.put(LogSet, "rebase", rebase)


@planted
def rewrite_leaves_out_what_was_restored(patches: Patches) -> None:
    def init(original: Any) -> Any:
        def __init__(self: Any, *args: Any) -> None:
            original(self, *args)
            self._restored = None

        return __init__

    patches.put(Delta, "__init__", init)


@planted
def rewrite_takes_only_what_has_changed(patches: Patches) -> None:
    patches.put(LoggedStore, "_everything", lambda _: lambda self: self.dirty)


@planted
def rewrite_deletes_a_key_that_is_there_again(patches: Patches) -> None:
    def unmarked(self: Eviction, cell: Any) -> None:
        self._buried += 1

    patches.put(Eviction, "bury", lambda _: unmarked)


@planted
def rewrite_stands_on_the_base_of_a_fold_under_way(patches: Patches) -> None:
    patches.add(LoggedStore, "_is_folding", property(lambda self: False, lambda self, value: None))


@planted
def restored_logs_are_ignored(patches: Patches) -> None:
    patches.put(Replayed, "replay", lambda _: lambda self, disk, logs: None)


@planted
def tombstones_are_lost_in_a_fold(patches: Patches) -> None:
    def merge(original: Any) -> Any:
        def forgetting(disk: Any, logs: Any, *groups: int) -> Any:
            merged: dict[bytes, Any] = {}
            for one in logs:
                merged.update(
                    {key: value for key, value in original(disk, [one], *groups).items() if value is not None}
                )
            return merged

        return forgetting

    patches.put(memory, "merge_logs", merge)
    patches.put(folding, "merge_logs", merge)


@planted
def rescaling_drops_a_key_group(patches: Patches) -> None:
    def part(original: Any) -> Any:
        def smaller(snapshots: Any, files: Any, scratch: Any, groups: Any, states: Any) -> Any:
            return original(snapshots, files, scratch, (groups[0], groups[1] - 1), states)

        return smaller

    patches.put(memory, "read_part", part)


def _without_their_states(snapshots: Any) -> Any:
    return [msgspec.structs.replace(one, states=()) for one in snapshots]


@planted
def state_that_went_to_another_store_is_read_where_it_was(patches: Patches) -> None:
    def part(original: Any) -> Any:
        return lambda snapshots, *args: original(_without_their_states(snapshots), *args)

    patches.put(StoreSnapshot, "is_of", _of_these_groups)
    patches.put(memory, "read_part", part)
    patches.put(rescale, "read_part", part)  # that of RocksDB


def _of_these_groups(_: Any) -> Any:
    return lambda self, store: (self.first_group, self.end_group) == (store.first_group, store.end_group)


@planted
def only_one_note_of_a_key_class_goes_to_another_store(patches: Patches) -> None:
    patches.put(rescale, "KEY_NOTES", lambda _: (KEY_TYPE_NOTE,))


@planted
def wall_clock_may_go_back(patches: Patches) -> None:
    patches.put(RisingClock, "now_ms", lambda _: lambda self: self._now_ms())


@planted
def wall_clock_of_before_a_restart_is_forgotten(patches: Patches) -> None:
    patches.put(RisingClock, "not_before", lambda _: lambda self, time_ms: None)


@planted
def key_hash_is_salted_per_process(patches: Patches) -> None:
    salt = [0]

    def init(original: Any) -> Any:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            salt[0] += 1
            original(self, *args, **kwargs)

        return __init__

    patches.put(SimulatedLoop, "__init__", init)
    patches.put(slot_table, "xxh3_64_intdigest", lambda original: lambda data, _: original(data, salt[0]))
    patches.put(routing, "key_group", lambda _: lambda packed, groups: xxh3_64_intdigest(packed, salt[0]) % groups)
