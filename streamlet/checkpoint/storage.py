"""Checkpoints on a local directory: what is decided here stays decided, whatever dies when.

Two rules carry it.  Everything is written, fsynced, renamed, and its folder fsynced, from the files up to the
manifest's folder: when the last fsync returned, the checkpoint is decided.  And everything that decides or removes is a
*rename out of or into the running attempt's folder*: a new attempt renames that folder away before it looks at
anything, so a process that was stopped and wakes up later can add nothing, mark nothing and remove nothing.

All calls block.  One thread at a time may write; `AttemptFolder` may be used beside it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Collection
from pathlib import Path

from streamlet.checkpoint import durable, layout, manifest_files
from streamlet.checkpoint.files import AttemptFolder, Pins, file_path, superseded
from streamlet.checkpoint.finding import ANOTHER, find_checkpoint
from streamlet.checkpoint.manifest import Manifest, encode
from streamlet.checkpoint.retention import CheckpointInfo, foreign_instance, releasable, unreferenced
from streamlet.crash_points import fault_point
from streamlet.errors import (
    CheckpointDamagedError,
    CheckpointError,
    CheckpointFailedError,
    CheckpointUndecidedError,
    DiskFailedError,
    StateDirectoryError,
)
from streamlet.ports import Disk


class CheckpointStorage:
    """The checkpoints of one job in one state directory. Building it touches nothing; writing needs the `JobLock` and
    `begin_attempt` first."""

    def __init__(self, root: Path, job: str, disk: Disk, *, folder: Path | None = None) -> None:
        """`folder` is where they are, when it is not the job's own in `root`: a savepoint, a copy."""
        self.job = job
        self._disk = disk
        self.folder = folder or root / layout.folder_name(job)
        self.files = self.folder / layout.FILES
        self._attempt: AttemptFolder | None = None
        self._distrust: str | None = None

    # --- an attempt -------------------------------------------------------------------------------------------------

    def begin_attempt(self, is_mine: Callable[[], bool] = lambda: True) -> int:
        """Shuts out every earlier attempt, also one of this process, and gives the number of the new one.

        When it returns, the number is durable, and so is whatever the earlier attempts had decided.  By `is_mine` a
        process that was paused in here and taken over neither shuts out its successor nor runs beside it.
        """
        try:
            durable.ensure_folder(self._disk, self.files)
            names = layout.names_in(self._disk, self.folder)
            if not is_mine():  # else no attempt of a successor is among these names
                raise superseded(self.folder / "lock")
            number = self._next_attempt(names)
            for name in names:
                if name.startswith("attempt-") and layout.attempt_number(name) is not None:
                    shut_out = name.replace("attempt", "superseded")
                    if shut_out in names:
                        # Two had this number: the other began while this one was paused where it makes its folder.
                        shut_out, number = f"superseded-{number}", number + 1
                    self._disk.rename(self.folder / name, self.folder / shut_out)
            for name in names:
                # A marker that is there may not be durable yet: its writer was killed before the last fsync.
                if layout.checkpoint_number(name) is not None:
                    self._disk.sync_folder(self.folder / name)
            self._disk.sync_folder(self.folder)
            self._make_attempt(number)
            if not is_mine():  # else whoever takes over from now on finds the new folder
                self._disk.remove_tree(self.folder / f"attempt-{number}")
                raise superseded(self.folder / "lock")
        except OSError as error:
            raise StateDirectoryError(
                f"{self.folder} cannot be used as state directory: {error.filename}: {error.strerror or error}",
                remedy="check that it is a directory of this user on a file system with free space",
            ) from error
        fault_point("after_attempt_begun")
        # Only now: until the new folder is durable, the old one is what keeps the numbers from coming again.
        self._clean(number)
        return number

    def _next_attempt(self, names: list[str]) -> int:
        numbers = [layout.attempt_number(name) or 0 for name in names]
        numbers += [int(name) for name in layout.names_in(self._disk, self.folder / layout.WORK) if name.isdecimal()]
        return max(numbers, default=0) + 1

    def _make_attempt(self, number: int) -> None:
        attempt = self.folder / f"attempt-{number}"
        floor = layout.largest_checkpoint_number(self._disk, self.folder)
        self._disk.make_folder(attempt)
        if floor is not None:
            # Numbers that stand only on what is about to be removed must not be given again.
            self._disk.write(attempt / f"floor-{floor:08d}", ())
        self._disk.sync_folder(attempt)
        self._disk.sync_folder(self.folder)
        self._attempt = AttemptFolder(self._disk, self.folder, number, Pins())
        self._distrust = None

    def _clean(self, number: int) -> None:
        for name in layout.names_in(self._disk, self.folder):
            if name.startswith(("superseded-", "released-")):
                self._disk.remove_tree(self.folder / name)
        for name in layout.names_in(self._disk, self.folder / layout.WORK):
            if not name.isdecimal() or int(name) < number:
                self._disk.remove_tree(self.folder / layout.WORK / name)

    @property
    def attempt(self) -> AttemptFolder:
        """The folder of the running attempt, for its stores; raises when none has begun here."""
        if self._attempt is None:
            raise StateDirectoryError(f"{self.folder}: nothing may be written before an attempt has begun")
        return self._attempt

    def running(self) -> Path:
        """Gives the folder of the running attempt, while nobody has shut it out."""
        return self.attempt.running()

    # --- looking ----------------------------------------------------------------------------------------------------

    def next_checkpoint_id(self) -> int:
        """Gives one more than the largest number on anything there, complete or not; 0 for a new job."""
        largest = layout.largest_checkpoint_number(self._disk, self.folder)
        return 0 if largest is None else largest + 1

    def has_history(self) -> bool:
        """True when there ever was a checkpoint here, as far as anything left can tell."""
        if self._disk.exists(self.folder / layout.BEGAN) or layout.names_in(self._disk, self.files):
            return True
        return any(name.startswith(("chk-", "released-")) for name in layout.names_in(self._disk, self.folder))

    def checkpoints(self) -> list[CheckpointInfo]:
        """Gives every complete checkpoint, oldest first, also those whose manifest cannot be read."""
        found = []
        for name in layout.names_in(self._disk, self.folder):
            number = layout.checkpoint_number(name)
            info = None if number is None else manifest_files.look(self._disk, self.folder / name, number, self.job)
            if info is not None:
                found.append(info)
        return sorted(found, key=lambda info: info.id)

    def load(self, which: int | Path) -> CheckpointInfo:
        """Gives one checkpoint, by its id or by its folder's path, which may lie in another state directory (a copy).

        Raises `CheckpointError` when it is not there and `CheckpointDamagedError` when it cannot be read.
        """
        if isinstance(which, Path):
            return find_checkpoint(self._disk, which, self.job)
        info = manifest_files.look(self._disk, self.folder / layout.checkpoint_name(which), which, self.job)
        if info is None:
            there = ", ".join(str(info.id) for info in self.checkpoints()) or "none"
            raise CheckpointError(
                f"job {self.job!r} has no checkpoint {which} in {self.folder}",
                remedy=f"there are: {there}",
            )
        if info.manifest is None:
            kind = CheckpointDamagedError if info.remedy is None else CheckpointError
            raise kind(info.problem or f"{info.path} cannot be read", remedy=info.remedy or ANOTHER)
        return info

    def verify(self, manifest: Manifest, *, full: bool = False, files: Path | None = None) -> None:
        """Checks the files of a checkpoint; raises `CheckpointDamagedError` naming the first that is not as written.

        Logs and small files are read whole, SSTs only looked at, unless `full`.  `files` is the folder where they
        lie when it is not this job's (see `load`).
        """
        manifest_files.verify(self._disk, manifest, files or self.files, full=full)

    def damages(self, info: CheckpointInfo, instance: str) -> list[str]:
        """Hashes every file of a checkpoint and gives all that is not as written; each names its file."""
        found = [info.problem] if info.problem is not None else []
        if info.manifest is not None:
            if strange := foreign_instance(info, instance):
                found.append(strange)
            damages = manifest_files.damages(self._disk, info.manifest, self.files, full=True)
            found += [damage.message for damage in damages]
        return found + manifest_files.folder_damages(self._disk, info)

    def unnamed(self) -> list[Path]:
        """Gives files that no checkpoint names: of the running attempt, of one that died, or a stranger's.  None while
        there is a checkpoint that cannot be read: it may name them."""
        infos = self.checkpoints()
        if any(info.manifest is None for info in infos):
            return []
        named = frozenset[str]().union(*(manifest.file_names() for manifest in _manifests(infos)))
        return [self.files / name for name in layout.names_in(self._disk, self.files) if name not in named]

    def adopt(self, manifest: Manifest, files: Path) -> None:
        """Takes the files of a checkpoint from another state directory, so that one of this job may name them."""
        for store in manifest.stores:
            own = self.attempt.store_files(store.store, store.subtask)
            for file in store.files():
                kept = own.keep(file_path(files, file), file.role, suffix=file.name[len(file.checksum) :])
                if kept != file:
                    raise CheckpointDamagedError(f"{files / file.name} does not hold what its checkpoint says")

    # --- deciding ---------------------------------------------------------------------------------------------------

    def reserve(self, checkpoint_id: int) -> None:
        """Puts the number of a checkpoint on disk when it is triggered, so that no later attempt gives it again after
        a kill, though nothing else of it may be there by then."""
        attempt = self.running()
        try:
            durable.make_folder(self._disk, attempt / layout.temporary_name(checkpoint_id))
            for name in layout.names_in(self._disk, attempt):
                if name.endswith(".tmp") and name < layout.temporary_name(checkpoint_id):
                    self._disk.remove_tree(attempt / name)
        except OSError as error:
            raise self._failed(checkpoint_id, error) from error

    def write_manifest(self, manifest: Manifest) -> CheckpointInfo:
        """Decides a checkpoint: when it returns, the checkpoint is durable and nothing may treat it as abandoned.

        Raises `CheckpointUndecidedError` when only the next start can tell, `AttemptSupersededError` when another
        attempt has begun; with any other error it is certain that the checkpoint does not exist.  `DiskFailedError`
        says that this attempt can decide no other either.
        """
        fault_point("before_manifest")
        data = encode(manifest)
        attempt = self.running()
        if attempt.name != f"attempt-{manifest.attempt}":
            # A thread of an earlier attempt of this same process, which comes late.
            raise superseded(self.folder / f"attempt-{manifest.attempt}")
        temporary = attempt / layout.temporary_name(manifest.checkpoint_id)
        target = self.folder / layout.checkpoint_name(manifest.checkpoint_id)
        if self._disk.exists(target):
            raise CheckpointError(f"{target} exists already: checkpoint ids never repeat")
        manifest_files.verify_presence(self._disk, manifest, self.files)
        self._prepare(manifest, data, temporary)
        fault_point("after_manifest_written")
        self._rename(manifest.checkpoint_id, temporary, target)
        fault_point("after_manifest_renamed")
        try:
            self._disk.sync_folder(self.folder)
        except OSError as error:
            raise self._undecided(manifest.checkpoint_id, error) from error
        fault_point("after_manifest_durable")
        for store in manifest.stores:
            self.attempt.pins.named((file.name for file in store.files()), f"{store.store}/{store.subtask}")
        self._note_history()
        return CheckpointInfo(
            id=manifest.checkpoint_id,
            path=target,
            manifest=manifest,
            problem=None,
            is_marked=manifest.is_marked_at_birth,
            manifest_bytes=len(data),
            files_bytes=manifest_files.total_bytes(manifest),
        )

    def _prepare(self, manifest: Manifest, data: bytes, temporary: Path) -> None:
        if self._distrust is not None:
            raise DiskFailedError(
                f"checkpoint {manifest.checkpoint_id} was not written: {self._distrust}",
                remedy="check the disk; a new attempt starts from what is really there",
            )
        try:
            self._disk.sync_folder(self.files)
            durable.make_folder(self._disk, temporary)
            self._disk.write(temporary / layout.MANIFEST, (data,))
            if manifest.is_marked_at_birth:
                self._disk.write(temporary / layout.MARKER, (manifest_files.marker_text(manifest.checkpoint_id),))
            self._disk.sync_folder(temporary)
        except OSError as error:
            raise self._failed(manifest.checkpoint_id, error) from error

    def _rename(self, checkpoint_id: int, temporary: Path, target: Path) -> None:
        try:
            self._disk.rename(temporary, target)
        except OSError as error:
            try:
                is_there = self._disk.exists(target)
            except OSError:
                is_there = True
            # A rename that answers with an error may have happened all the same.
            raise (self._undecided if is_there else self._failed)(checkpoint_id, error) from error

    def write_marker(self, checkpoint_id: int) -> None:
        """Says durably that everything which this checkpoint and those before it prepared is committed."""
        fault_point("before_marker")
        attempt = self.running()
        temporary = attempt / f"marker-{checkpoint_id:08d}"
        folder = self.folder / layout.checkpoint_name(checkpoint_id)
        try:
            self._disk.write(temporary, (manifest_files.marker_text(checkpoint_id),))
            self._disk.rename(temporary, folder / layout.MARKER)
            self._disk.sync_folder(folder)
        except OSError as error:
            if not self._disk.is_folder(attempt):
                raise superseded(attempt) from error
            if not self._disk.is_folder(folder):
                raise CheckpointError(f"{folder} is gone: checkpoint {checkpoint_id} cannot be marked") from error
            raise CheckpointFailedError(
                f"the marker of checkpoint {checkpoint_id} could not be written to {folder}: {error.strerror or error}",
                remedy="check free space and permissions of the state directory",
            ) from error
        fault_point("after_marker")

    def _note_history(self) -> None:
        began = self.folder / layout.BEGAN
        # A second witness beside the checkpoints themselves, for `has_history`; a start without it loses nothing.
        with contextlib.suppress(OSError):
            if not self._disk.exists(began):
                self._disk.write(began, ())
                self._disk.sync_folder(self.folder)

    def _failed(self, checkpoint_id: int, error: OSError) -> Exception:
        if self._attempt is None or not self._disk.is_folder(self._attempt.path):
            return superseded(self.folder if self._attempt is None else self._attempt.path)
        what = f"checkpoint {checkpoint_id} could not be written to {self.folder}: {error.strerror or error}"
        if error.errno == errno.EIO:
            self._distrust = f"the disk has failed before in this attempt ({error})"
            return DiskFailedError(what, remedy="check the disk; the attempt ends, the restart looks at what is there")
        return CheckpointFailedError(what, remedy="check free space and permissions of the state directory")

    def _undecided(self, checkpoint_id: int, error: OSError) -> CheckpointUndecidedError:
        self._distrust = f"checkpoint {checkpoint_id} is undecided until the next start"
        return CheckpointUndecidedError(
            f"checkpoint {checkpoint_id} in {self.folder} may or may not be durable: {error.strerror or error}",
            remedy="the attempt ends; the restart looks at what is there",
        )

    # --- releasing --------------------------------------------------------------------------------------------------

    def release(
        self, *, retain: int = 1, protect: Collection[str] = (), may_go: Callable[[int], bool] | None = None
    ) -> list[int]:
        """Removes what nothing needs any more and gives the ids of the removed checkpoints.

        See `releasable` for what stays; and so does what `may_go` says no to.  `protect` names files
        that must stay besides: those of reports that were acknowledged but are in no manifest yet.  Files that a store
        of this attempt has made and no manifest has named are spared anyway.  A checkpoint's folder is gone durably
        before the first of its files goes.
        """
        attempt = self.running()
        infos = self.checkpoints()
        going = [info for info in releasable(infos, retain) if may_go is None or may_go(info.id)]
        if not going:
            return []
        gone = frozenset(info.id for info in going)
        kept = [info for info in infos if info.id not in gone]
        try:
            for info in going:
                self._disk.rename(info.path, attempt / f"released-{info.id:08d}")
            self._disk.sync_folder(self.folder)
            fault_point("during_release")
            if all(info.manifest is not None for info in kept):
                self._remove_files(attempt, unreferenced(_manifests(going), _manifests(kept), protect))
        except OSError as error:
            raise self._explained_release(attempt, error) from error
        finally:
            for info in going:
                self._disk.remove_tree(attempt / f"released-{info.id:08d}")
        return [info.id for info in going]

    def clean_orphans(self) -> int:
        """Removes files that no checkpoint names, left by attempts that died; gives how many. Call it at a start,
        before any store makes files. With an unreadable manifest around nothing is removed: it may name them."""
        attempt = self.running()
        infos = self.checkpoints()
        if any(info.manifest is None for info in infos):
            return 0
        needed = frozenset[str]().union(*(manifest.file_names() for manifest in _manifests(infos)))
        orphans = [name for name in layout.names_in(self._disk, self.files) if name not in needed]
        try:
            self._remove_files(attempt, orphans)
        except OSError as error:
            raise self._explained_release(attempt, error) from error
        return len(orphans)

    def _remove_files(self, attempt: Path, names: Collection[str]) -> None:
        trash = attempt / "trash"
        durable.make_folder(self._disk, trash)
        for name in names:
            path, target = self.files / name, trash / name

            def remove(path: Path = path, target: Path = target) -> None:
                try:
                    self._disk.rename(path, target)
                except FileNotFoundError:
                    if not self._disk.is_folder(trash):
                        raise  # not the file but this attempt is gone

            self.attempt.pins.unless_pinned(name, remove)
        self._disk.remove_tree(trash)

    def _explained_release(self, attempt: Path, error: OSError) -> Exception:
        if not self._disk.is_folder(attempt):
            return superseded(attempt)
        return CheckpointFailedError(f"older checkpoints in {self.folder} could not be removed: {error}")


def _manifests(infos: Collection[CheckpointInfo]) -> list[Manifest]:
    return [info.manifest for info in infos if info.manifest is not None]
