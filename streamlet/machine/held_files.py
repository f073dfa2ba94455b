"""Files that are read while another process may remove them: held open, and named in a folder that goes with them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


class HeldFiles:
    """A temporary folder with names for files that lie elsewhere. Nothing is written where those lie.

    On Linux a held file can be read to its end after its name is gone: retention of a running job takes nothing away
    from whoever reads one of its checkpoints.  Elsewhere the name must stay.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="streamlet-"))
        self._held: dict[Path, int] = {}

    def hold(self, source: Path) -> Path:
        """Opens a file, and gives a path under which it can be read from now on; raises `OSError`."""
        descriptor = self._held.get(source)
        if descriptor is None:
            descriptor = self._held[source] = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        return _DESCRIPTORS / str(descriptor) if _DESCRIPTORS.is_dir() else source.absolute()

    def name(self, held: Path, folder: str, name: str) -> None:
        """Gives a held file a name in a folder of its own below `folder`."""
        place = self.folder / folder
        place.mkdir(exist_ok=True)
        (place / name).symlink_to(held)

    def copy(self, held: Path, folder: str, name: str) -> None:
        """Copies a held file there, for who may write into it."""
        place = self.folder / folder
        place.mkdir(exist_ok=True)
        shutil.copyfile(held, place / name)

    def close(self) -> None:
        """Lets go of all files and removes the folder. May be called twice."""
        held, self._held = self._held, {}
        for descriptor in held.values():
            os.close(descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)
