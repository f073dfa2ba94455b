"""A new savepoint out of a checkpoint and rows: state is seeded, repaired, or given to a job under another name.

```text
rows -> spooled logs, per store --fold with the checkpoint's logs--> SST -> ingested into its base -> its files
```
What is deleted becomes a tombstone in those logs, so it stays deleted over whatever base lies below.  Memory is bounded
whatever the number of rows, but for lists: of each key that is imported the list's length is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from streamlet.checkpoint import layout
from streamlet.checkpoint.files import AttemptFiles, Pins
from streamlet.checkpoint.manifest import Manifest, encode
from streamlet.checkpoint.savepoints import failed, keep_files, publish, require_committed, require_free
from streamlet.clock import Clock
from streamlet.errors import StateTypeError
from streamlet.inspect.checkpoint import CheckpointView, KeyedView, TableView
from streamlet.inspect.entries import entries_of
from streamlet.inspect.import_rows import DELETED, KeyedRows, require_known
from streamlet.inspect.rows import Row
from streamlet.machine.disk import LocalDisk
from streamlet.state.backends.folding import fold_logs
from streamlet.state.backends.rocksdb_database import RocksBase
from streamlet.state.log.file import write_log
from streamlet.state.snapshot import StoreSnapshot

_SPOOLED = 200_000
"""Entries that are in memory before they are written to a log."""
_FRAME = 1000
_TABLE_COLUMNS = frozenset(["key", "value", DELETED])
_CACHE_BYTES = 8 << 20


class Import:
    """Makes one savepoint. Use it once."""

    def __init__(self, source: CheckpointView, target: Path, clock: Clock) -> None:
        """`target` is a new folder; raises `CheckpointError` for one that is taken, and for a checkpoint whose output
        may still wait to be committed: who starts from the savepoint would never do it."""
        self._disk = LocalDisk()
        require_free(self._disk, target)
        require_committed(source.info)
        self._source = source
        self._target = target
        self._clock = clock
        self._id = source.manifest.checkpoint_id + 1
        self._stores = list(source.manifest.stores)
        self._operators = dict(source.manifest.operators)
        self._logs: dict[int, list[Path]] = {}
        self._waiting: dict[int, dict[bytes, bytes | None]] = {}
        self._scratch = target / "import"
        try:
            keep_files(self._disk, source.info, target)
        except BaseException:
            self.give_up()
            raise

    def put(
        self,
        uid: str,
        name: str,
        rows: Iterable[Row],
        *,
        replaces: bool = False,
        place: Callable[[int], str] = "row {}".format,
    ) -> int:
        """Takes rows into a state, over what is there, or with `replaces` in its place; gives their number.

        A row with `"deleted": true` takes away what is there for its key (and map key).  Raises `StateTypeError` for a
        row that is not one of the state; `place` says where it is, by its number from 1.
        """
        state = self._source[uid][name]
        if isinstance(state, TableView):
            return self._put_table(state, rows, replaces, place)
        if not isinstance(state, KeyedView):
            raise StateTypeError(
                f"what {uid!r} keeps beside its states cannot be imported", remedy="import a state, by its name"
            )
        if replaces:
            for stored, _ in entries_of(state.stores, state.spec.id):
                self._spool(state.spec.id, stored, None)
        keyed, count = KeyedRows(state, self._source.manifest), 0
        for count, row in enumerate(rows, 1):
            try:
                for stored, value in keyed.entries(row):
                    self._spool(state.spec.id, stored, value)
            except StateTypeError as error:
                raise StateTypeError(f"{place(count)}: {error.message}", remedy=error.remedy) from error
        for stored, value in keyed.lengths(replaces=replaces):
            self._spool(state.spec.id, stored, value)
        self._note_keys(state, keyed)
        return count

    def finish(self, *, job: str | None = None, renamed: Mapping[str, str] | None = None) -> Path:
        """Writes the savepoint; gives the path of the checkpoint in it. `renamed` gives operators another uid."""
        for number in sorted(self._waiting):
            self._flush(number)
        with self._writing():
            for number, logs in sorted(self._logs.items()):
                self._stores[number] = self._folded(number, logs)
            self._disk.remove_tree(self._scratch)
            self._disk.remove_tree(self._target / "scratch")
            manifest = self._manifest(job)
            if renamed:
                manifest = _renamed(manifest, renamed)
            self._remove_unnamed(manifest)
        return publish(self._disk, self._target, manifest.checkpoint_id, encode(manifest))

    def give_up(self) -> None:
        """Removes what was made; the folder was empty before, or was not there."""
        self._disk.remove_tree(self._target)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _put_table(self, state: TableView, rows: Iterable[Row], replaces: bool, place: Callable[[int], str]) -> int:
        entries = {} if replaces else dict(state.packed())
        count = 0
        for count, row in enumerate(rows, 1):
            try:
                if isinstance(row, dict):
                    require_known(row, _TABLE_COLUMNS, f"broadcast state {state.name!r} of {state.uid!r}")
                key, value = state.entry(row)
            except StateTypeError as error:
                raise StateTypeError(f"{place(count)}: {error.message}", remedy=error.remedy) from error
            if row.get(DELETED):
                entries.pop(key, None)
            else:
                entries[key] = value
        packed = msgspec.msgpack.encode([*entries.items()])
        for subtask, snapshot in self._operators.items():
            if subtask.rpartition("/")[0] == state.uid and isinstance(snapshot, dict) and snapshot.get(state.name):
                self._operators[subtask] = {**snapshot, state.name: {**snapshot[state.name], "entries": packed}}
        return count

    def _spool(self, state_id: int, stored: bytes, value: bytes | None) -> None:
        number = self._store_of(state_id, int.from_bytes(stored[:2], "big"))
        waiting = self._waiting.setdefault(number, {})
        waiting[stored] = value
        if len(waiting) >= _SPOOLED:
            self._flush(number)

    def _store_of(self, state_id: int, group: int) -> int:
        for number, store in enumerate(self._stores):
            if store.first_group <= group < store.end_group and state_id in store.states:
                return number
        # No store had this state of this operator yet: one that has all of its states, and nothing else.
        manifest = self._source.manifest
        uid = next(spec.uid for spec in manifest.states if spec.id == state_id)
        held = {one for store in self._stores for one in store.states}
        states = tuple(spec.id for spec in manifest.states if spec.uid == uid and spec.id not in held)
        self._stores.append(StoreSnapshot(uid, 0, 0, manifest.key_groups, self._id, 0, (), (), states))
        return len(self._stores) - 1

    def _note_keys(self, state: KeyedView, keyed: KeyedRows) -> None:
        """Notes the shape of the keys in the stores that have none yet."""
        for number in [*self._waiting, *self._logs]:
            store = self._stores[number]
            if state.spec.id in store.states:
                for stored, value in keyed.notes(store):
                    self._waiting.setdefault(number, {})[stored] = value

    def _flush(self, number: int) -> None:
        waiting = self._waiting.pop(number, {})
        if not waiting:
            return
        logs = self._logs.setdefault(number, [])
        path = self._scratch / f"{number}-{len(logs)}.log"
        with self._writing():
            self._disk.make_folders(self._scratch)
            write_log(self._disk, path, self._id, list(_frames(waiting)), len(waiting))
        logs.append(path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise failed(self._disk, self._target, error) from error

    def _folded(self, number: int, logs: list[Path]) -> StoreSnapshot:
        """The store with all logs, the old ones first, in its base."""
        store = self._stores[number]
        files = self._files(store)
        folder, out = self._scratch / f"base-{number}", self._scratch / f"{number}.sst"
        everything = [*(files.path(log.file) for log in store.logs), *logs]
        is_any = fold_logs(self._disk, everything, out, store.first_group, store.end_group)
        if store.base:
            base = RocksBase.link(files, store.base, folder, _CACHE_BYTES)
        else:
            self._disk.make_folder(folder)
            base = RocksBase(folder, _CACHE_BYTES, create=True)
        try:
            if is_any:
                base.ingest(out)
            kept = [
                files.keep(path, path.name, suffix=path.suffix)
                for path in base.checkpoint(self._disk, self._scratch / f"kept-{number}")
            ]
        finally:
            base.close()
        return msgspec.structs.replace(store, cut=self._id, base_cut=self._id, base=tuple(kept), logs=())

    def _files(self, store: StoreSnapshot) -> AttemptFiles:
        name = f"{layout.folder_name(store.store or '-')}-{store.subtask}"
        return AttemptFiles(
            self._disk, self._target, self._target / layout.FILES, Pins(), f"{store.store}/{store.subtask}", name
        )

    def _manifest(self, job: str | None) -> Manifest:
        old = self._source.manifest
        is_renamed = job is not None and job != old.job
        return msgspec.structs.replace(
            old,
            job=old.job if job is None else job,
            instance="" if is_renamed else old.instance,
            checkpoint_id=self._id,
            kind="start",
            parent=None,
            created_ms=self._clock.now_ms(),
            stores=self._stores,
            operators=self._operators,
            committables=[],
            restored_from=f"an import over checkpoint {old.checkpoint_id}",
        )

    def _remove_unnamed(self, manifest: Manifest) -> None:
        files, named = self._target / layout.FILES, manifest.file_names()
        for name in layout.names_in(self._disk, files):
            if name not in named:
                self._disk.remove(files / name)


def _frames(entries: Mapping[bytes, bytes | None]) -> Iterator[bytes]:
    keys = sorted(entries)
    for start in range(0, len(keys), _FRAME):
        some = keys[start : start + _FRAME]
        kept = [(key, msgspec.Raw(value)) for key in some if (value := entries[key]) is not None]
        gone = [key for key in some if entries[key] is None]
        yield msgspec.msgpack.encode(([key for key, _ in kept], [value for _, value in kept], gone))


def _renamed(manifest: Manifest, renamed: Mapping[str, str]) -> Manifest:
    """The manifest with other uids. States keep their numbers, so nothing that is stored changes."""

    def uid(old: str) -> str:
        own, at, rest = old.partition("@")
        return f"{renamed.get(own, own)}{at}{rest}"

    def by_uid(found: Mapping[str, Any], name: Callable[[str], str] = uid) -> dict[str, Any]:
        return {name(key): value for key, value in found.items()}

    def of_subtask(key: str) -> str:
        own, slash, subtask = key.rpartition("/")
        return f"{uid(own)}{slash}{subtask}"

    return msgspec.structs.replace(
        manifest,
        states=[msgspec.structs.replace(spec, uid=uid(spec.uid)) for spec in manifest.states],
        stores=[msgspec.structs.replace(store, store=uid(store.store)) for store in manifest.stores],
        parallelism=by_uid(manifest.parallelism),
        positions=by_uid(manifest.positions),
        finished=list(map(uid, manifest.finished)),
        operators=by_uid(manifest.operators, of_subtask),
    )
