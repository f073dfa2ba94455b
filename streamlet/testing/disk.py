"""A disk that forgets: what was not fsynced may be lost, torn or come back when the simulated machine dies.

It is the engine's `Disk` over real files below one folder (best on a tmpfs), so that what goes beside the port, as
RocksDB does in its working folders, sees them too.  It keeps

- for each file the content at its last fsync,
- for each folder the names at its last fsync, and every change since, in order,

and `crash` rebuilds the folder out of that: each change that was not made durable is kept or lost by seed, each content
that was not is kept, torn, empty or zeros.  A rename is one change (as on a journaling file system); a folder's fsync
says nothing of the folder's own name.  After an fsync that failed nothing of that file becomes durable, until it is
written anew from its beginning.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from streamlet.machine.disk import LocalDisk
from streamlet.ports import HeldLock
from streamlet.testing.durability import File, Folder, UndoLog, survived


class Watcher(Protocol):
    """Decides what happens at each call: it may raise an `OSError`, or `ProcessDied`."""

    def before(self, call: str, path: str) -> None:
        """Called before the call has any effect."""
        ...


class SimulatedDisk:
    """A `Disk` whose durability is simulated below one folder; elsewhere it is the real one.

    `crash` needs nothing to be running on it.
    """

    def __init__(self, root: Path, watcher: Watcher) -> None:
        self.root = root
        self.operations = 0
        self._watcher = watcher
        self._prefix = f"{root}/"
        self._real = LocalDisk()
        self._top = Folder()
        self._undo_log = UndoLog(self._top)
        self._locks: list[tuple[object, HeldLock]] = []
        self.owner: object = None
        """Which process makes the calls from now on."""
        self.locked_by: object = None
        """Which process was the last to take a lock."""
        root.mkdir(parents=True, exist_ok=True)

    # --- dying --------------------------------------------------------------------------------------------------

    def crash(self, randomness: random.Random, *, keep_all: bool = False, owner: object = None) -> None:
        """Rebuilds the folder as a machine finds it that lost power; with `keep_all` only the process has died, and
        the system has everything that it wrote.  `owner` says which process, when there are several."""
        self._adopt_all(self._top, self.root)
        if not keep_all:
            contents = dict(self._contents(self._top, self.root))
            self._undo_log.lose(randomness)
            shutil.rmtree(self.root)
            self.root.mkdir()
            self._rebuild(self._top, self.root, contents, {}, randomness)
        for whose, held in list(self._locks):
            # The locks of a dead process are free.
            if not keep_all or owner is None or whose is owner:
                self.release(held)

    def _contents(self, folder: Folder, path: Path) -> Iterator[tuple[File, bytes]]:
        for name, node in folder.live.items():
            place = path / name
            if isinstance(node, Folder):
                yield from self._contents(node, place)
            else:
                with contextlib.suppress(OSError):
                    yield node, place.read_bytes()

    def _rebuild(
        self,
        folder: Folder,
        path: Path,
        contents: dict[File, bytes],
        written: dict[File, Path],
        randomness: random.Random,
    ) -> None:
        folder.live = dict(folder.durable)
        for name, node in folder.live.items():
            place = path / name
            if isinstance(node, Folder):
                self._real.make_folder(place)
                self._rebuild(node, place, contents, written, randomness)
            elif node in written:
                self._real.link(written[node], place)
            else:
                data = survived(node, contents.get(node), randomness)
                place.write_bytes(data)
                written[node] = place
                node.durable, node.is_lost = data, False

    def rewrite(self, path: Path, data: bytes) -> None:
        """Changes what a file holds at rest, as a failing disk does."""
        with path.open("r+b") as file:
            file.write(data)
        node = self._file(path)
        if node is not None:
            node.durable = data

    # --- knowing what is there ----------------------------------------------------------------------------------

    def _adopt(self, folder: Folder, path: Path) -> None:
        """Takes note of names that came by calls which are not watched, as changes that are not durable."""
        found: dict[str, bool] = {}
        with contextlib.suppress(FileNotFoundError):
            found = _entries(path)
        for name in [name for name in folder.live if name not in found]:
            self._undo_log.change((folder, name, None))
        for name, is_folder in found.items():
            known = folder.live.get(name)
            if known is None or isinstance(known, Folder) is not is_folder:
                self._undo_log.change((folder, name, Folder() if is_folder else File()))

    def _adopt_all(self, folder: Folder, path: Path) -> None:
        self._adopt(folder, path)
        for name, node in folder.live.items():
            if isinstance(node, Folder):
                self._adopt_all(node, path / name)

    def _place(self, path: Path) -> tuple[Folder, str]:
        """The folder and the name of a path below the root."""
        *parts, name = str(path)[len(self._prefix) :].split("/")  # paths as such cost a third of a simulation
        folder = self._top
        for depth, part in enumerate(parts):
            node = folder.live.get(part)
            if not isinstance(node, Folder):
                self._adopt(folder, self.root.joinpath(*parts[:depth]))
                node = folder.live.get(part)
                if not isinstance(node, Folder):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            folder = node
        return folder, name

    def _node(self, path: Path) -> tuple[Folder, str, File | Folder | None]:
        folder, name = self._place(path)
        node = folder.live.get(name)
        if node is None:
            self._adopt(folder, path.parent)
            node = folder.live.get(name)
        return folder, name, node

    def _is_mine(self, path: Path) -> bool:
        return str(path).startswith(self._prefix)

    def _before(self, call: str, path: Path) -> None:
        if self._is_mine(path) or path == self.root:
            self.operations += 1
            self._watcher.before(call, str(path))

    # --- looking ------------------------------------------------------------------------------------------------

    def read(self, path: Path) -> bytes:
        self._before("read", path)
        return self._real.read(path)

    def open(self, path: Path) -> BinaryIO:
        self._before("read", path)
        return self._real.open(path)

    def size(self, path: Path) -> int:
        return self._real.size(path)

    def names(self, folder: Path) -> list[str]:
        return self._real.names(folder)

    def exists(self, path: Path) -> bool:
        return self._real.exists(path)

    def why(self, path: Path, error: OSError) -> str:
        return error.strerror or str(error)

    def is_folder(self, path: Path) -> bool:
        return self._real.is_folder(path)

    # --- contents -----------------------------------------------------------------------------------------------

    def write(self, path: Path, pieces: Iterable[bytes]) -> int:
        self._before("open", path)
        content = b""
        with path.open("wb", buffering=0) as file:
            node = self._began_anew(path)
            for piece in pieces:
                self._before("write", path)
                file.write(piece)
                content += piece
            self._sync_file(path, node, lambda: content)
        return len(content)

    def sync(self, path: Path) -> None:
        self._real.sync(path)
        self._sync_file(path, self._file(path), path.read_bytes)

    def copy(self, source: Path, target: Path) -> None:
        self._before("open", target)
        self._real.copy(source, target)
        self._began_anew(target)

    def _file(self, path: Path) -> File | None:
        node = self._node(path)[2] if self._is_mine(path) else None
        return node if isinstance(node, File) else None

    def _began_anew(self, path: Path) -> File | None:
        """What is written now is not what a failed fsync has lost."""
        node = self._file(path)
        if node is not None:
            node.is_lost = False
        return node

    def _sync_file(self, path: Path, node: File | None, content: Callable[[], bytes]) -> None:
        try:
            self._before("fsync", path)
        except OSError:
            if node is not None:
                node.is_lost = True
            raise
        if node is not None and not node.is_lost:
            node.durable = content()

    # --- names --------------------------------------------------------------------------------------------------

    def sync_folder(self, path: Path) -> None:
        if path != self.root and not self._is_mine(path):
            self._real.sync_folder(path)
            return
        node = self._top if path == self.root else self._node(path)[2]
        if not isinstance(node, Folder):
            self._real.sync_folder(path)  # which says what is wrong
            return
        self._before("fsync", path)
        self._adopt(node, path)
        self._undo_log.sync(node)

    def make_folder(self, path: Path) -> None:
        self._before("mkdir", path)
        self._real.make_folder(path)
        self._changed(path, Folder())

    def make_folders(self, path: Path) -> None:
        if not self.is_folder(path):
            self.make_folders(path.parent)
            with contextlib.suppress(FileExistsError):
                self.make_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        if not (self._is_mine(source) and self._is_mine(target)):
            self._real.rename(source, target)
            return
        self._before("rename", target)
        from_folder, from_name, node = self._node(source)
        to_folder, to_name = self._place(target)
        self._real.rename(source, target)
        self._undo_log.change((from_folder, from_name, None), (to_folder, to_name, node))

    def link(self, source: Path, target: Path) -> None:
        self._before("link", target)
        self._real.link(source, target)
        if self._is_mine(source) and self._is_mine(target):
            self._changed(target, self._node(source)[2])

    def remove(self, path: Path) -> None:
        self._before("unlink", path)
        if self._real.exists(path):
            self._real.remove(path)
            self._changed(path, None)

    def remove_tree(self, path: Path) -> None:
        """Removes name by name, so that a crash may come in between."""
        with contextlib.suppress(OSError):
            for name, is_folder in sorted(_entries(path).items()):
                if is_folder:
                    self.remove_tree(path / name)
                else:
                    self.remove(path / name)
            self._before("rmdir", path)
            path.rmdir()
            self._changed(path, None)

    def _changed(self, path: Path, node: File | Folder | None) -> None:
        if self._is_mine(path):
            folder, name = self._place(path)
            if node is not None or name in folder.live:
                self._undo_log.change((folder, name, node))

    # --- locks --------------------------------------------------------------------------------------------------

    def lock(self, path: Path) -> HeldLock | None:
        self._before("open", path)
        held = self._real.lock(path)
        if held is None:
            return None
        self._locks.append((self.owner, held))
        self.locked_by = self.owner
        return _SimulatedLock(self, path, held)

    def write_locked(self, held: HeldLock, path: Path, data: bytes) -> None:
        """Writes into a file that is locked."""
        self._before("write", path)
        node = self._file(path)
        held.write(data)
        self._sync_file(path, node, lambda: data)

    def release(self, held: HeldLock) -> None:
        """Forgets a lock, which is free then."""
        if any(one is held for _, one in self._locks):
            self._locks = [(whose, one) for whose, one in self._locks if one is not held]
            held.release()


class _SimulatedLock:
    def __init__(self, disk: SimulatedDisk, path: Path, held: HeldLock) -> None:
        self._disk, self._path, self._held = disk, path, held

    def is_at(self, path: Path) -> bool:
        return self._held.is_at(path)

    def write(self, data: bytes) -> None:
        self._disk.write_locked(self._held, self._path, data)

    def release(self) -> None:
        self._disk.release(self._held)


def _entries(path: Path) -> dict[str, bool]:
    """The names in a folder, and which of them are folders."""
    with os.scandir(path) as entries:
        return {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
