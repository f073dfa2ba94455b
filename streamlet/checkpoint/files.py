"""Files that a checkpoint names: immutable, durable, called by their content."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from streamlet.checkpoint import durable, layout
from streamlet.checkpoint.layout import is_file_name
from streamlet.errors import AttemptSupersededError, CheckpointDamagedError, CheckpointFailedError
from streamlet.ports import Disk
from streamlet.state.snapshot import FileRef

_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})


class Pins:
    """Files that a store of the running attempt has made and that no durable checkpoint of it has named yet.

    Removing takes the same lock as pinning, so a file that gets the name of one that is just being released is either
    seen here and spared, or made anew after the removal.  A pin belongs to a store: two stores may make the same
    content at different times, and naming it for one says nothing about the other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, set[str]] = {}

    def add(self, name: str, owner: str) -> None:
        """Keeps a file until a checkpoint names it for `owner`."""
        with self._lock:
            self._owners.setdefault(name, set()).add(owner)

    def named(self, names: Iterable[str], owner: str) -> None:
        """Says that a durable checkpoint names these files for `owner`: from here on retention knows them."""
        with self._lock:
            for name in names:
                owners = self._owners.get(name)
                if owners is not None:
                    owners.discard(owner)
                    if not owners:
                        del self._owners[name]

    def unless_pinned(self, name: str, action: Callable[[], None]) -> bool:
        """Runs `action` if nobody pins the file, while nobody can; says whether it ran."""
        with self._lock:
            if name in self._owners:
                return False
            action()
            return True


class AttemptFiles:
    """Where one store of the running attempt puts its files: `SnapshotFiles` on a local directory.

    Its calls block, and may come from any thread.
    """

    def __init__(self, disk: Disk, attempt: Path, files: Path, pins: Pins, owner: str, scratch: str) -> None:
        self.disk = disk
        self._attempt = attempt
        self._files = files
        self._pins = pins
        self._owner = owner
        self._scratch = attempt / "scratch" / scratch

    def scratch(self) -> Path:
        """Gives this store's folder for files in the making."""
        try:
            durable.make_folder(self.disk, self._scratch.parent)
            durable.make_folder(self.disk, self._scratch)
        except OSError as error:
            raise self._explained(self._scratch, error) from error
        return self._scratch

    def keep(self, path: Path, role: str, *, suffix: str) -> FileRef:
        """Makes the finished file durable under its content's name.  `path` stays, as a second name of the same file:
        remove it when it is no longer wanted, and never write to it again."""
        try:
            checksum, size = durable.sync_and_hash(self.disk, path)
            name = f"{checksum}{suffix}"
            if not is_file_name(name):
                raise ValueError(f"{suffix!r} is not a suffix such as .sst or .log")
            self._pins.add(name, self._owner)
            self._link(path, self._files / name, size)
        except OSError as error:
            raise self._explained(path, error) from error
        return FileRef(name=name, size=size, checksum=checksum, role=role)

    def path(self, ref: FileRef) -> Path:
        """Gives the file's place; a reference whose name would lead elsewhere is refused."""
        return file_path(self._files, ref)

    def _link(self, path: Path, target: Path, size: int) -> None:
        try:
            self.disk.link(path, target)
        except FileExistsError:
            # The same content, unless something has damaged it since: then this is the moment to heal it.
            if self.disk.size(target) != size:
                self._copy(path, target)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            self._copy(path, target)

    def _copy(self, path: Path, target: Path) -> None:
        temporary = self.scratch() / f"{target.name}.copy"
        self.disk.copy(path, temporary)
        checksum, _ = durable.sync_and_hash(self.disk, temporary)
        if checksum != target.name[: len(checksum)]:
            raise OSError(errno.EIO, "a copy differs from what was copied", str(path))
        self.disk.rename(temporary, target)

    def _explained(self, path: Path, error: OSError) -> Exception:
        if not self.disk.is_folder(self._attempt):
            return superseded(self._attempt)
        return CheckpointFailedError(
            f"{path} could not be kept in {self._files}: {error.strerror or error}",
            remedy="check free space and permissions of the state directory",
        )


class AttemptFolder:
    """Where the stores of the running attempt put files, in whichever process of it they are."""

    def __init__(self, disk: Disk, job_folder: Path, number: int, pins: Pins) -> None:
        self.path = job_folder / f"attempt-{number}"
        self.pins = pins
        self._disk = disk
        self._files = job_folder / layout.FILES
        self._work = job_folder / layout.WORK / str(number)

    def running(self) -> Path:
        """Gives its path; raises `AttemptSupersededError` when a later attempt has begun."""
        if not self._disk.is_folder(self.path):
            raise superseded(self.path)
        return self.path

    def work_folder(self) -> Path:
        """Gives `work/<attempt>`, for working copies that are never the truth; those of earlier attempts are gone."""
        self.running()
        self._disk.make_folders(self._work)
        return self._work

    def store_files(self, store: str, subtask: int) -> AttemptFiles:
        """Gives the `SnapshotFiles` of one store; both arguments as in its `StoreSnapshot`."""
        scratch = f"{layout.folder_name(store or '-')}-{subtask}"
        return AttemptFiles(self._disk, self.running(), self._files, self.pins, f"{store}/{subtask}", scratch)


def file_path(folder: Path, ref: FileRef) -> Path:
    """Gives the place of a file in a `files` folder; a reference whose name would lead elsewhere is refused."""
    if not is_file_name(ref.name):
        raise CheckpointDamagedError(f"a checkpoint names the file {ref.name[:80]!r}, which streamlet never made")
    return folder / ref.name


def superseded(attempt: Path) -> AttemptSupersededError:
    """Gives the error of a process that finds its attempt's folder gone."""
    return AttemptSupersededError(
        f"{attempt} is gone: another process has taken this job over",
        remedy="end this process; the other one goes on from the last complete checkpoint",
    )
