"""Who runs a job: the lock on its state directory, and what the job remembers about itself for ever."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from streamlet.checkpoint import durable, layout
from streamlet.checkpoint.files import superseded
from streamlet.errors import JobLockedError, StateDirectoryError
from streamlet.ports import Disk, HeldLock, Ports, Processes, Randomness, random_uuid

LOCK = "lock"
_VERSION = 1
"""Of the instance file and of what the lock file says."""


class LockHolder(msgspec.Struct, frozen=True):
    """What the holder of a lock writes into it, for the message that others get."""

    pid: int
    host: str
    started_ms: int
    version: int = _VERSION
    """What a later one says of its holder besides is passed over."""

    def describe(self, processes: Processes) -> str:
        """Says who it is: process, host, since when, and whether it seems to be there at all."""
        since = datetime.fromtimestamp(self.started_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        text = f"process {self.pid} on {self.host} since {since}"
        if self.host == processes.host and not processes.is_alive(self.pid):
            text += " (that process is gone: a process that it started still holds the lock)"
        return text


class JobLock:
    """One process at a time runs a job on a state directory.

    The lock is an flock, so the system lets it go when the process dies, however it dies.  It shuts out processes that
    ask; a process that was stopped and wakes up after a take-over is shut out by its attempt's folder, which is gone.
    """

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._folder = folder
        self._path = folder / LOCK
        self._ports = ports
        self._disk = ports.disk
        self._held: HeldLock | None = None

    def acquire(self, *, take_over: bool = False) -> None:
        """Takes the lock or raises `JobLockedError` that says who holds it; `StateDirectoryError` when there can be no
        lock.  `take_over` sets a held lock aside and takes a new one."""
        try:
            held = self._acquired(take_over=take_over)
        except OSError as error:
            raise StateDirectoryError(
                f"{self._path} cannot be locked: {self._disk.why(self._folder, error)}",
                remedy="name a state directory that this user may write to (`--state-dir`, `Job(state_dir=...)`), no "
                "link of another's, on a file system with free space that has flock (network file systems may not)",
            ) from error
        if held is None:
            raise self._taken()
        self._held = held

    def still_mine(self) -> bool:
        """False once another process has taken over (or the state directory is gone). Two system calls."""
        return self._held is not None and self._held.is_at(self._path)

    @property
    def is_lost(self) -> bool:
        """True when this process held it and another one has taken over."""
        return self._held is not None and not self.still_mine()

    def release(self) -> None:
        """Lets the lock go; may be called twice. The file stays: removing it would let two processes in."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def _acquired(self, *, take_over: bool) -> HeldLock | None:
        durable.ensure_folder(self._disk, self._folder)
        held = self._lock()
        if held is None and take_over:
            self._set_aside()
            held = self._lock()
        if held is not None:
            try:
                self._sign(held)
            except BaseException:
                held.release()
                raise
            self._clear()
        return held

    def _lock(self) -> HeldLock | None:
        while True:
            held = self._disk.lock(self._path)
            # Between opening and locking another process may have set this file aside.
            if held is None or held.is_at(self._path):
                return held
            held.release()

    def _set_aside(self) -> None:
        aside = self._path.with_name(f"{LOCK}.{random_uuid(self._ports.randomness)}")
        try:
            self._disk.rename(self._path, aside)
        except FileNotFoundError:
            return
        self._disk.remove(aside)

    def _clear(self) -> None:
        """Removes what a take-over set aside and did not live to remove."""
        for name in layout.names_in(self._disk, self._folder):
            if name.startswith(f"{LOCK}."):
                with contextlib.suppress(OSError):
                    self._disk.remove(self._folder / name)

    def _sign(self, held: HeldLock) -> None:
        me = self._ports.processes
        held.write(msgspec.json.encode(LockHolder(me.pid, me.host, self._ports.clock.now_ms())))

    def _taken(self) -> JobLockedError:
        try:
            holder = msgspec.json.decode(self._disk.read(self._path), type=LockHolder)
            who = holder.describe(self._ports.processes)
        except (OSError, ValueError, OverflowError, msgspec.MsgspecError):
            who = "another process"
        return JobLockedError(
            f"the job in {self._folder} is run by {who}",
            remedy="stop that process; if it does not answer, start with `--take-over`, which shuts it out",
        )


_REMEDY = (
    "put it back from a backup, or go on in a new state directory with `--state-dir NEW --from PATH of a committed "
    "checkpoint`: the job gets a new identity there, and output that it left open here stays open until it times out"
)


class _InstanceFile(msgspec.Struct, forbid_unknown_fields=True):
    instance: str
    job: str
    """The job's folder, so that another job's file is not taken for this one's."""
    parallelism: dict[str, int] = {}
    fenced: int = 0
    """Of a file without `opened`: everything up to this attempt was fenced."""
    opened: dict[str, list[int]] | msgspec.UnsetType = msgspec.UNSET
    """Sink uid -> the attempts that may have opened writers of it, without those that were fenced since."""
    version: int | msgspec.UnsetType = msgspec.UNSET
    """Of the format; files from before it had one are its first."""
    checksum: str = ""

    def sealed(self) -> bytes:
        """Gives the file's bytes. A changed bit of a uuid is a uuid, too: only a checksum tells."""
        self.checksum = ""
        self.checksum = hashlib.blake2b(msgspec.json.encode(self, order="sorted"), digest_size=16).hexdigest()
        return msgspec.json.encode(self)


class _Versioned(msgspec.Struct):
    """What can be read of a file of any version."""

    version: int = 0


class JobInstance:
    """What a job remembers about itself beyond its checkpoints: who it is, how many writers each sink ever had, and
    which attempts may have left something at the outside.

    Names at the outside (transactional ids) are made of both and the attempt's number, so a new attempt can shut out
    everything that any attempt before it may have left.  An attempt is remembered before it opens a writer, per sink,
    until a later one has shut it out: attempts that never came so far left nothing, and what a sink left that the job
    does not have any more is shut out when it comes back.
    Use it under the `JobLock`.

    Files are renamed into place out of `attempt`, the folder of the running attempt: once another process has taken
    over, that folder has another name, and a write that comes late fails with `AttemptSupersededError`.
    """

    def __init__(self, folder: Path, disk: Disk, randomness: Randomness, attempt: Path) -> None:
        self._path = folder / layout.INSTANCE
        self._attempt = attempt
        self._disk = disk
        self._content = _read_instance(disk, self._path)
        if self._content is None:
            new = _InstanceFile(instance=random_uuid(randomness), job=folder.name, opened={}, version=_VERSION)
            self._content = new
            self._write(self._content)

    @property
    def instance(self) -> str:
        """A uuid, made with the state directory and never changed."""
        return self._require().instance

    def highest_parallelism(self) -> dict[str, int]:
        """Gives the highest parallelism that was ever recorded for each sink uid."""
        return dict(self._require().parallelism)

    def record_parallelism(self, parallelism: Mapping[str, int]) -> None:
        """Records how many writers each sink is about to have; durable when it returns. Call it before they open."""
        content = self._require()
        merged = content.parallelism | {
            uid: max(count, content.parallelism.get(uid, 0)) for uid, count in parallelism.items()
        }
        if merged != content.parallelism:
            # A failed write leaves the object as it was: what it says was never weaker than what is on disk.
            self._write(msgspec.structs.replace(content, parallelism=merged, version=_VERSION))
            content.parallelism = merged

    def unfenced(self, attempt: int) -> dict[str, list[int]]:
        """Gives for each sink uid the attempts before this one whose writers may have left something outside."""
        content = self._require()
        if content.opened is not msgspec.UNSET:
            return dict(content.opened)
        return {uid: list(range(content.fenced + 1, attempt)) for uid in content.parallelism}

    def record_opening(self, attempt: int, uids: Iterable[str]) -> None:
        """Records that everything of these sinks was fenced and that this attempt now opens writers of them; durable
        when it returns.  Call it between the two."""
        content = self._require()
        opened = self.unfenced(attempt) | {uid: [attempt] for uid in uids}
        self._write(msgspec.structs.replace(content, opened=opened, version=_VERSION))
        content.opened = opened

    def _require(self) -> _InstanceFile:
        if self._content is None:  # pragma: no cover - the constructor fills it or raises
            raise StateDirectoryError(f"{self._path} was not read")
        return self._content

    def _write(self, content: _InstanceFile) -> None:
        temporary = self._attempt / f"{layout.INSTANCE}.new"
        try:
            self._disk.write(temporary, (content.sealed(),))
            self._disk.rename(temporary, self._path)
            self._disk.sync_folder(self._path.parent)
        except OSError as error:
            if not self._disk.is_folder(self._attempt):
                raise superseded(self._attempt) from error
            raise StateDirectoryError(
                f"{self._path} could not be written: {error.strerror or error}",
                remedy="check free space and permissions of the state directory",
            ) from error


def read_instance(disk: Disk, folder: Path) -> str:
    """Gives the uuid of a job's folder, "" for a new job; raises `StateDirectoryError` when it is damaged, or missing
    beside checkpoints."""
    content = _read_instance(disk, folder / layout.INSTANCE)
    return "" if content is None else content.instance


def _read_instance(disk: Disk, path: Path) -> _InstanceFile | None:
    """None where a job is new."""
    try:
        data = disk.read(path)
        content = msgspec.json.decode(data, type=_InstanceFile)
    except FileNotFoundError:
        if any(layout.checkpoint_number(name) is not None for name in layout.names_in(disk, path.parent)):
            raise StateDirectoryError(f"{path} is missing, though there are checkpoints", remedy=_REMEDY) from None
        return None
    except OSError as error:
        raise StateDirectoryError(
            f"{path} cannot be read: {error.strerror or error}", remedy="check its permissions and the disk"
        ) from error
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        _refuse_newer(data, path)
        raise _damaged(path, str(error)) from error
    _refuse_newer(data, path)
    if content.sealed() != data:
        raise _damaged(path, "its checksum does not fit its content")
    if content.job != path.parent.name:
        raise _damaged(path, f"it is that of the job in {content.job!r}")
    return content


def _refuse_newer(data: bytes, path: Path) -> None:
    """Raises `StateDirectoryError` for a file of a later format, whatever is in it: it is not damaged."""
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return
    if version > _VERSION:
        raise StateDirectoryError(
            f"{path} is of format {version}; this streamlet reads formats up to {_VERSION}",
            remedy="start the job with the version of streamlet that ran it last, or a later one: nothing is damaged",
        )


def _damaged(path: Path, what: str) -> StateDirectoryError:
    return StateDirectoryError(f"{path} is damaged: {what}", remedy=_REMEDY)
