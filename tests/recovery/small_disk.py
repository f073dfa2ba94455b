"""A disk of a few megabytes that a test can fill: a tmpfs, which answers ENOSPC as a full disk does."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

_BLOCK = b"\0" * 4096
_LOOK_SECONDS = 0.005
_SHARED_MEMORY = "/dev/shm"
_SMALL_BYTES = 512 << 20


class SmallDisk:
    """The folder where it is mounted, and the ballast in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free_bytes(self) -> int:
        room = os.statvfs(self.folder)
        return room.f_bavail * room.f_frsize

    @contextlib.contextmanager
    def filled(self) -> Iterator[None]:
        """Not a block is free in between; what others remove meanwhile is filled up again."""
        self._top_up()
        enough = threading.Event()
        thread = threading.Thread(target=self._keep_full, args=(enough,), name="ballast", daemon=True)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()
            self._ballast.unlink()

    def _keep_full(self, enough: threading.Event) -> None:
        while not enough.wait(_LOOK_SECONDS):
            self._top_up()

    def _top_up(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(_BLOCK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


@contextlib.contextmanager
def a_small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mounts a tmpfs of this size on a new folder.  Without the right to mount it takes a folder of /dev/shm, if that
    is small, as in containers; else it fails."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "streamlet-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode == 0:
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    room = os.statvfs(_SHARED_MEMORY)
    if room.f_blocks * room.f_frsize > _SMALL_BYTES:
        raise PermissionError(
            f"a small disk cannot be mounted on {folder}: {done.stderr.strip()}\n"
            "  -> run the tests with the right to mount: as root, in a container with --cap-add SYS_ADMIN, or with "
            "`unshare --user --map-root-user --mount` in front of the command"
        )
    with tempfile.TemporaryDirectory(prefix="streamlet-test-", dir=_SHARED_MEMORY) as shared:
        yield SmallDisk(Path(shared))
