"""One output file, step by step. Every step blocks, runs in a thread, and may be repeated after a crash.

```text
.part-<tag>-<subtask>-<random>.inprogress     being written; hidden, and no reader's glob matches it
      | prepare: write, fsync the file, fsync the directory
      | commit:  link under the final name, fsync the directory, unlink the hidden name
      v                                                                | abort: rename to ...aborted, fsync
part-<checkpoint, 8 digits>-<subtask>-<tag>.jsonl                      v
                                                                 .part-<tag>-<subtask>-<random>.aborted
```
The tag is a hash of job, state directory and sink uid: sinks, jobs, and a job started anew on a fresh state directory
can share an output directory without ever touching each other's files.  Names sort by checkpoint: reading a sink's
files in order of their names keeps the order per key, also over a change of parallelism.

A commit links instead of renaming, because link() refuses to overwrite.  The mark that an abort leaves proves
later that the file was aborted, where a mere absence could also mean that somebody deleted it; `fence` clears it away.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import threading
from pathlib import Path
from typing import Any

import msgspec

from streamlet.connect import Committable, FinalError, Outcome, OutputLostError, SinkContext, SinkError, fault_point

IN_PROGRESS = ".inprogress"
ABORTED = ".aborted"


class Prepared(msgspec.Struct, frozen=True):
    """What a committable of the file sink carries."""

    directory: str
    temporary: str
    final: str
    bytes: int
    checksum: str

    @classmethod
    def of(cls, committable: Committable) -> Prepared:
        """Reads a committable, and refuses one whose names would lead out of its directory."""
        try:
            prepared = msgspec.convert(committable.payload, cls)
        except msgspec.ValidationError as error:
            raise FinalError(f"committable {committable.id} is not one of a file sink: {error}") from error
        for name in (prepared.temporary, prepared.final):
            if Path(name).name != name or name in ("", ".", "..") or "\0" in name:
                raise FinalError(f"committable {committable.id} names a file outside of its directory: {name!r}")
        if "\0" in prepared.directory:
            raise FinalError(f"committable {committable.id} names no directory: {prepared.directory!r}")
        if not prepared.temporary.endswith(IN_PROGRESS):
            raise FinalError(f"committable {committable.id} names no file in progress: {prepared.temporary!r}")
        return prepared

    @property
    def hidden(self) -> Path:
        return Path(self.directory, self.temporary)

    @property
    def visible(self) -> Path:
        return Path(self.directory, self.final)

    @property
    def mark(self) -> Path:
        return self.hidden.with_suffix(ABORTED)


def tag_of(context: SinkContext) -> str:
    """Names this sink of this job on this state directory, in 8 characters that fit into a file name."""
    name = "\0".join((context.job, context.instance, context.uid))
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Makes a directory and its parents, durably; raises where it cannot be written to."""
    if not path.is_dir():
        _make(path)
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(path))


def _make(path: Path) -> None:
    if path.is_dir():
        return
    _make(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


class InProgressFile:
    """A hidden file that grows until it is sealed. Its steps exclude each other, whichever threads they run in."""

    def __init__(self, directory: Path, stem: str) -> None:
        self.path = directory / f"{stem}-{secrets.token_hex(8)}{IN_PROGRESS}"
        self._file = -1
        self._bytes = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._lock = threading.Lock()
        self._is_dropped = False

    def append(self, data: bytes) -> None:
        """Writes at the end."""
        with self._lock:
            try:
                if self._file < 0:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                    self._file = os.open(self.path, flags, 0o666)  # less the umask, like any program's output
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(self._file, rest) :]
                self._hash.update(data)
                self._bytes += len(data)
            finally:
                if self._is_dropped:
                    self._remove()

    def seal(self, final: str) -> Prepared:
        """Makes file and name durable and closes it. Nothing touches it from now on but the committer."""
        with self._lock:
            try:
                os.fsync(self._file)
                if os.fstat(self._file).st_nlink == 0:
                    raise SinkError(
                        f"{self.path} was removed while it was written",
                        remedy="keep hidden files of this directory out of clean-up jobs; if another process took "
                        "this job over, nothing is wrong",
                    )
                sync_directory(self.path.parent)
            finally:
                os.close(self._file)
                self._file = -1
        fault_point("file_prepared")
        return Prepared(str(self.path.parent), self.path.name, final, self._bytes, self._hash.hexdigest())

    def drop(self) -> None:
        """Removes it, at once or as soon as the step that is under way has ended. Never waits."""
        self._is_dropped = True
        if self._lock.acquire(blocking=False):
            try:
                self._remove()
            finally:
                self._lock.release()

    def _remove(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            with contextlib.suppress(OSError):
                self.path.unlink()


def outcome(prepared: Prepared) -> Outcome:
    """Tells what became of a prepared file. What it calls committed is durable."""
    if prepared.visible.exists() and _is_content(prepared.visible, prepared):
        sync_directory(prepared.visible.parent)  # the link may be younger than the last sync
        return Outcome.COMMITTED
    if prepared.hidden.exists():
        return Outcome.OPEN
    return Outcome.ABORTED if prepared.mark.exists() else Outcome.UNKNOWN


def commit(prepared: Prepared) -> None:
    """Gives a prepared file its final name."""
    hidden, visible = prepared.hidden, prepared.visible
    _require_directory(prepared)
    try:
        if (size := hidden.stat().st_size) != prepared.bytes:
            raise OutputLostError(f"{hidden} has {size} bytes, {prepared.bytes} were prepared")
        _link(hidden, visible)
    except FileExistsError:
        if not _is_content(visible, prepared):
            raise FinalError(
                f"{visible} exists with other content; the output that belongs there is kept in {hidden}",
                remedy="move that file away and start the job again",
            ) from None
    except FileNotFoundError:
        _require_committed(prepared)
    sync_directory(visible.parent)
    fault_point("file_committed")
    hidden.unlink(missing_ok=True)


def abort(prepared: Prepared) -> None:
    """Puts a mark in the place of a prepared file."""
    _require_directory(prepared)
    if prepared.visible.exists() and _is_content(prepared.visible, prepared):
        raise FinalError(f"{prepared.visible} cannot be aborted: it is committed and visible")
    try:
        prepared.hidden.rename(prepared.mark)
    except FileNotFoundError:
        prepared.mark.touch()
    os.truncate(prepared.mark, 0)
    sync_directory(prepared.mark.parent)


def sweep(directory: Path, stem: str, spare: set[str]) -> None:
    """Removes every hidden file whose name starts with `stem`, except those that prepared files in `spare` need."""
    if not directory.is_dir():
        return
    kept = spare | {Path(name).with_suffix(ABORTED).name for name in spare}
    for path in list(directory.iterdir()):
        if path.name.startswith(stem) and path.name.endswith((IN_PROGRESS, ABORTED)) and path.name not in kept:
            path.unlink(missing_ok=True)
    sync_directory(directory)


def _link(hidden: Path, visible: Path) -> None:
    try:
        os.link(hidden, visible, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # a file system without hard links
        if visible.exists():
            raise FileExistsError(str(visible)) from None
        hidden.rename(visible)


def _require_directory(prepared: Prepared) -> None:
    if not Path(prepared.directory).is_dir():
        raise SinkError(
            f"the output directory {prepared.directory} is not there",
            remedy="mount it, or make it again if it was removed",
        )


def _require_committed(prepared: Prepared) -> None:
    if not prepared.visible.exists():
        what = "was aborted" if prepared.mark.exists() else f"and {prepared.hidden.name} are both gone"
        raise OutputLostError(f"prepared output {prepared.visible} {what}", remedy="restore the file from a copy")
    if not _is_content(prepared.visible, prepared):
        raise OutputLostError(
            f"{prepared.visible} is not what was prepared ({prepared.bytes} bytes), and {prepared.hidden.name} is gone",
            remedy="restore the file from a copy",
        )


def _is_content(path: Path, prepared: Prepared) -> bool:
    if path.is_symlink() or path.stat().st_size != prepared.bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, _blake2b_16).hexdigest() == prepared.checksum


def _blake2b_16() -> Any:
    return hashlib.blake2b(digest_size=16)
