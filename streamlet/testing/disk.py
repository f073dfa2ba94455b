"""A disk that forgets: what was not fsynced may be lost, torn or come back when the simulated machine dies.

The files are real, below one folder (best on a tmpfs), so that everything which reads and writes files works as it is.
While a `SimulatedDisk` is *mounted*, the calls of `os` that change names or make them durable are watched.  It keeps

- for each file the content at its last fsync,
- for each folder the names at its last fsync, and every change since, in order,

and `crash` rebuilds the folder out of that: each change that was not made durable is kept or lost by seed, each content
that was not is kept, torn, empty or zeros.  A rename is one change (as on a journaling file system); a folder's fsync
says nothing of the folder's own name.  After an fsync that failed nothing of that file becomes durable, until it is
written anew from its beginning.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from streamlet.testing.durability import File, Folder, Journal, survived

_REAL = {
    name: getattr(os, name)
    for name in ("open", "close", "write", "pwrite", "fsync", "rename", "replace", "link", "unlink", "remove", "mkdir",
                 "rmdir", "ftruncate", "lstat", "scandir")
}  # fmt: skip
_real_open = io.open


class Watcher(Protocol):
    """Decides what happens at each call: it may raise an `OSError`, or `ProcessDied`."""

    def before(self, call: str, path: str) -> None:
        """Called before the call has any effect."""
        ...


class SimulatedDisk:
    """One folder whose durability is simulated. `crash` needs nothing to be running on it."""

    def __init__(self, root: Path, watcher: Watcher) -> None:
        self.root = root
        self.operations = 0
        self._watcher = watcher
        self._prefix = f"{root}/"
        self._top = Folder()
        self._journal = Journal(self._top)
        self._paths: dict[int, str] = {}
        self._descriptors: dict[int, object] = {}
        self.owner: object = None
        """Which process makes the calls from now on."""
        root.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Watches `os` while it lasts. One disk at a time."""
        replaced: list[tuple[Any, str, Any]] = []

        def put(module: Any, name: str, function: Callable[..., Any]) -> None:
            replaced.append((module, name, getattr(module, name)))
            setattr(module, name, function)

        for name in ("open", "close", "write", "pwrite", "fsync", "rename", "replace", "link", "unlink", "remove",
                     "mkdir", "rmdir"):  # fmt: skip
            put(os, name, getattr(self, f"_{name}"))
        put(io, "open", self._open_file)
        put(builtins, "open", self._open_file)
        put(shutil, "rmtree", self._rmtree)
        try:
            yield
        finally:
            for module, name, function in reversed(replaced):
                setattr(module, name, function)

    # --- dying --------------------------------------------------------------------------------------------------

    def crash(self, randomness: random.Random, *, keep_all: bool = False, owner: object = None) -> None:
        """Rebuilds the folder as a machine finds it that lost power; with `keep_all` only the process has died, and
        the system has everything that it wrote.  `owner` says which process, when there are several."""
        self._adopt_all(self._top, str(self.root))
        if not keep_all:
            contents = dict(self._contents(self._top, str(self.root)))
            self._journal.lose(randomness)
            _wipe(str(self.root))
            self._rebuild(self._top, str(self.root), contents, {}, randomness)
        self._forget_descriptors(owner if keep_all else None)

    def _forget_descriptors(self, owner: object) -> None:
        """Closes what a dead process had open: its locks are free."""
        for descriptor in [one for one, whose in self._descriptors.items() if owner is None or whose is owner]:
            with contextlib.suppress(OSError):
                _REAL["close"](descriptor)
            del self._descriptors[descriptor]
            self._paths.pop(descriptor, None)

    def _contents(self, folder: Folder, path: str) -> Iterator[tuple[File, bytes]]:
        for name, node in folder.live.items():
            place = f"{path}/{name}"
            if isinstance(node, Folder):
                yield from self._contents(node, place)
            else:
                with contextlib.suppress(OSError), _real_open(place, "rb") as file:
                    yield node, file.read()

    def _rebuild(
        self,
        folder: Folder,
        path: str,
        contents: dict[File, bytes],
        written: dict[File, str],
        randomness: random.Random,
    ) -> None:
        folder.live = dict(folder.durable)
        for name, node in folder.live.items():
            place = f"{path}/{name}"
            if isinstance(node, Folder):
                _REAL["mkdir"](place, 0o700)
                self._rebuild(node, place, contents, written, randomness)
            elif node in written:
                _REAL["link"](written[node], place)
            else:
                data = survived(node, contents.get(node), randomness)
                with _real_open(place, "wb") as file:
                    file.write(data)
                written[node] = place
                node.durable, node.is_lost = data, False

    # --- knowing what is there ----------------------------------------------------------------------------------

    def _adopt(self, folder: Folder, path: str) -> None:
        """Takes note of names that came by calls which are not watched, as changes that are not durable."""
        found: dict[str, bool] = {}
        with contextlib.suppress(FileNotFoundError), _REAL["scandir"](path) as entries:
            found = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        for name in [name for name in folder.live if name not in found]:
            self._journal.change((folder, name, None))
        for name, is_folder in found.items():
            known = folder.live.get(name)
            if known is None or isinstance(known, Folder) is not is_folder:
                self._journal.change((folder, name, Folder() if is_folder else File()))

    def _adopt_all(self, folder: Folder, path: str) -> None:
        self._adopt(folder, path)
        for name, node in folder.live.items():
            if isinstance(node, Folder):
                self._adopt_all(node, f"{path}/{name}")

    def _place(self, path: str) -> tuple[Folder, str]:
        """The folder and the name of a path below the root."""
        parts = path[len(self._prefix) :].split("/")
        folder, at = self._top, str(self.root)
        for part in parts[:-1]:
            node = folder.live.get(part)
            if not isinstance(node, Folder):
                self._adopt(folder, at)
                node = folder.live.get(part)
                if not isinstance(node, Folder):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            folder, at = node, f"{at}/{part}"
        return folder, parts[-1]

    def _node(self, path: str) -> tuple[Folder, str, File | Folder | None]:
        folder, name = self._place(path)
        node = folder.live.get(name)
        if node is None:
            self._adopt(folder, os.path.dirname(path))  # noqa: PTH120
            node = folder.live.get(name)
        return folder, name, node

    def _mine(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The absolute path when it is below the root."""
        if isinstance(path, int):
            return self._paths.get(path)
        text = os.fspath(path)
        if dir_fd is not None:
            base = self._paths.get(dir_fd)
            return None if base is None else f"{base}/{text}"
        if not isinstance(text, str) or not text.startswith(self._prefix):
            return None
        return text

    def _before(self, call: str, path: str) -> None:
        self.operations += 1
        self._watcher.before(call, path)

    # --- the calls ----------------------------------------------------------------------------------------------

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        mine = self._mine(path, dir_fd)
        if mine is not None and flags & (os.O_CREAT | os.O_TRUNC):
            self._before("open", mine)
        descriptor: int = _REAL["open"](path, flags, mode, dir_fd=dir_fd)
        if mine is not None and flags & os.O_TRUNC:
            self._began_anew(mine)
        if mine is not None or str(path) == str(self.root):
            self._paths[descriptor] = mine or str(self.root)
            self._descriptors[descriptor] = self.owner
        else:
            self._paths.pop(descriptor, None)
        return descriptor

    def _open_file(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        mine = self._mine(file) if isinstance(file, str | os.PathLike) else None
        if mine is None:
            return _real_open(file, mode, *args, **kwargs)
        if any(letter in mode for letter in "wax+"):
            self._before("open", mine)
        opened = _real_open(file, mode, *args, **kwargs)
        if "w" in mode:
            self._began_anew(mine)
        self._paths[opened.fileno()] = mine
        return opened

    def _began_anew(self, path: str) -> None:
        """What is written now is not what a failed fsync has lost."""
        node = self._node(path)[2]
        if isinstance(node, File):
            node.is_lost = False

    def _close(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        self._descriptors.pop(descriptor, None)
        _REAL["close"](descriptor)

    def _write(self, descriptor: int, data: Any) -> int:
        mine = self._paths.get(descriptor)
        if mine is not None:
            self._before("write", mine)
        count: int = _REAL["write"](descriptor, data)
        return count

    def _pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        mine = self._paths.get(descriptor)
        if mine is not None:
            self._before("write", mine)
        count: int = _REAL["pwrite"](descriptor, data, offset)
        return count

    def _fsync(self, descriptor: int) -> None:
        mine = self._paths.get(descriptor)
        if mine is None:
            _REAL["fsync"](descriptor)
            return
        node = self._top if mine == str(self.root) else self._node(mine)[2]
        try:
            self._before("fsync", mine)
        except OSError:
            if isinstance(node, File):
                node.is_lost = True
            raise
        if isinstance(node, Folder):
            self._adopt(node, mine)
            self._journal.sync(node)
        elif isinstance(node, File) and not node.is_lost:
            node.durable = _read_all(mine)

    def _rename(self, source: Any, target: Any, **kwargs: Any) -> None:
        old, new = self._mine(source), self._mine(target)
        if old is None or new is None:
            _REAL["rename"](source, target, **kwargs)
            return
        self._before("rename", new)
        from_folder, from_name, node = self._node(old)
        to_folder, to_name = self._place(new)
        _REAL["rename"](source, target)
        self._journal.change((from_folder, from_name, None), (to_folder, to_name, node))

    def _replace(self, source: Any, target: Any, **kwargs: Any) -> None:
        self._rename(source, target, **kwargs)

    def _link(self, source: Any, target: Any, **kwargs: Any) -> None:
        old, new = self._mine(source), self._mine(target)
        if old is None or new is None:
            _REAL["link"](source, target, **kwargs)
            return
        self._before("link", new)
        node = self._node(old)[2]
        to_folder, to_name = self._place(new)
        _REAL["link"](source, target)
        self._journal.change((to_folder, to_name, node))

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        mine = self._mine(path, dir_fd)
        if mine is not None:
            self._before("unlink", mine)
        _REAL["unlink"](path, dir_fd=dir_fd)
        if mine is not None:
            folder, name = self._place(mine)
            self._journal.change((folder, name, None))

    def _remove(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._unlink(path, dir_fd=dir_fd)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mine = self._mine(path, dir_fd)
        if mine is not None:
            self._before("mkdir", mine)
        _REAL["mkdir"](path, mode, dir_fd=dir_fd)
        if mine is not None:
            folder, name = self._place(mine)
            self._journal.change((folder, name, Folder()))

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        mine = self._mine(path, dir_fd)
        if mine is not None:
            self._before("rmdir", mine)
        _REAL["rmdir"](path, dir_fd=dir_fd)
        if mine is not None:
            folder, name = self._place(mine)
            self._journal.change((folder, name, None))

    def _rmtree(self, path: Any, ignore_errors: bool = False, **kwargs: Any) -> None:
        """Removes name by name, so that a crash may come in between; the usual one works by descriptors."""
        mine = self._mine(path)
        if mine is None:
            shutil_rmtree(path, ignore_errors, **kwargs)
            return
        try:
            self._remove_below(mine)
        except OSError:
            if not ignore_errors:
                raise

    def _remove_below(self, path: str) -> None:
        with _REAL["scandir"](path) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        for name, is_folder in found:
            if is_folder:
                self._remove_below(f"{path}/{name}")
            else:
                self._unlink(f"{path}/{name}")
        self._rmdir(path)


shutil_rmtree = shutil.rmtree


def _wipe(path: str) -> None:
    """Empties a folder by the real calls."""
    with _REAL["scandir"](path) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for place, is_folder in found:
        if is_folder:
            _wipe(place)
            _REAL["rmdir"](place)
        else:
            _REAL["unlink"](place)


def _read_all(path: str) -> bytes:
    with _real_open(path, "rb") as file:
        data: bytes = file.read()
        return data
