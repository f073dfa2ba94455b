"""Reading a checkpoint back: its manifest, its marker, and whether its files are what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamlet.checkpoint import durable, layout
from streamlet.checkpoint.files import file_path
from streamlet.checkpoint.manifest import Manifest, decode
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.errors import CheckpointDamagedError, CheckpointError, StateDirectoryError
from streamlet.outages import may_pass
from streamlet.ports import Disk
from streamlet.state.snapshot import FileRef

_LARGEST_MANIFEST = 1 << 31


def marker_text(checkpoint_id: int) -> bytes:
    """Gives the content of a marker. One that says anything else does not count: settling again is harmless."""
    return b"committed %d\n" % checkpoint_id


def total_bytes(manifest: Manifest) -> int:
    """Adds up the files that a manifest names, each once."""
    return sum({file.name: file.size for file in manifest.files()}.values())


def look(disk: Disk, path: Path, checkpoint_id: int, job: str | None) -> CheckpointInfo | None:
    """Reads one checkpoint's folder; a damaged manifest is told in `problem`. None when the folder is not there.
    `job` is whose it must be, None for anybody's."""
    manifest, problem, size, remedy = None, None, 0, None
    try:
        data = _read(disk, path / layout.MANIFEST)
        size = len(data)
        manifest = decode(data, str(path / layout.MANIFEST))
        _require_place(manifest, path, checkpoint_id, job)
    except CheckpointError as error:
        if not disk.is_folder(path):
            return None
        manifest, problem = None, error.message
        remedy = None if isinstance(error, CheckpointDamagedError) else error.remedy
    return CheckpointInfo(
        id=checkpoint_id,
        path=path,
        manifest=manifest,
        problem=problem,
        is_marked=is_marked(disk, path, checkpoint_id),
        manifest_bytes=size,
        files_bytes=0 if manifest is None else total_bytes(manifest),
        remedy=remedy,
    )


def is_marked(disk: Disk, path: Path, checkpoint_id: int) -> bool:
    """True when the marker is there and says so."""
    try:
        return disk.read(path / layout.MARKER) == marker_text(checkpoint_id)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StateDirectoryError(
            f"{path / layout.MARKER} cannot be read: {error.strerror or error}",
            remedy="check its permissions and the disk",
        ) from error


def verify_presence(disk: Disk, manifest: Manifest, files: Path) -> None:
    """Looks whether every file is there with its size; raises `CheckpointDamagedError` for the first that is not."""
    for file in _each_once(manifest):
        _require_size(disk, manifest, files, file)


def verify(disk: Disk, manifest: Manifest, files: Path, *, full: bool) -> None:
    """Raises the first of `damages`."""
    for damage in damages(disk, manifest, files, full=full):
        raise damage


def damages(disk: Disk, manifest: Manifest, files: Path, *, full: bool) -> Iterator[CheckpointDamagedError]:
    """Checks every file and gives an error for each that is not what was written: presence and size of all, and the
    content of all but SST files, whose blocks have checksums of their own; of those too with `full`."""
    for file in _each_once(manifest):
        try:
            _require_size(disk, manifest, files, file)
            # A RocksDB manifest that was cut or changed at its end would open as an older state.
            if full or not file.role.endswith(".sst"):
                _require_content(disk, manifest, files, file)
        except CheckpointDamagedError as damage:
            yield damage


def folder_damages(disk: Disk, info: CheckpointInfo) -> list[str]:
    """Gives what is wrong with a checkpoint's own folder, besides its manifest."""
    marker = info.path / layout.MARKER
    found = []
    if not info.is_marked and disk.exists(marker) and not is_marked(disk, info.path, info.id):  # not just made, too
        found.append(f"{marker} is damaged: a start settles this checkpoint's output anew")
    strangers = set(layout.names_in(disk, info.path)) - {layout.MANIFEST, layout.MARKER}
    return found + [f"{info.path / name} does not belong there" for name in sorted(strangers)]


def _each_once(manifest: Manifest) -> list[FileRef]:
    return list({(file.name, file.size): file for file in manifest.files()}.values())


def _require_size(disk: Disk, manifest: Manifest, files: Path, file: FileRef) -> None:
    path = file_path(files, file)
    try:
        size = disk.size(path)
    except OSError as error:
        _raise_if_it_may_pass(path, error)
        raise _damaged(manifest, path, f"cannot be found: {error.strerror or error}") from error
    if size != file.size:
        raise _damaged(manifest, path, f"has {size} bytes instead of {file.size}")


def _require_content(disk: Disk, manifest: Manifest, files: Path, file: FileRef) -> None:
    path = file_path(files, file)
    try:
        checksum, _ = durable.hash_file(disk, path)
    except OSError as error:
        _raise_if_it_may_pass(path, error)
        raise _damaged(manifest, path, f"cannot be read: {error.strerror or error}") from error
    if checksum != file.checksum:
        raise _damaged(manifest, path, "does not hold what was written: its checksum differs")


def _raise_if_it_may_pass(path: Path, error: OSError) -> None:
    """A disk that fails once does not make a checkpoint a damaged one, which another might stand for."""
    if may_pass(error):
        raise StateDirectoryError(
            f"{path} cannot be read just now: {error.strerror or error}", remedy="check the disk"
        ) from error


def _damaged(manifest: Manifest, path: Path, what: str) -> CheckpointDamagedError:
    return CheckpointDamagedError(
        f"checkpoint {manifest.checkpoint_id} of job {manifest.job!r} is damaged: {path} {what}",
        remedy="list the others with `streamlet checkpoints list` and start with `--from ID`",
    )


def _read(disk: Disk, path: Path) -> bytes:
    try:
        if disk.size(path) > _LARGEST_MANIFEST:
            raise CheckpointDamagedError(f"{path} is damaged: it is far larger than any manifest")
        return disk.read(path)
    except OSError as error:
        _raise_if_it_may_pass(path, error)
        raise CheckpointDamagedError(f"{path} cannot be read: {error.strerror or error}") from error


def _require_place(manifest: Manifest, path: Path, checkpoint_id: int, job: str | None) -> None:
    if manifest.checkpoint_id != checkpoint_id:
        place = path / layout.MANIFEST
        raise CheckpointDamagedError(f"{place} is damaged: it is that of checkpoint {manifest.checkpoint_id}")
    if job is not None and manifest.job != job:
        raise CheckpointError(
            f"{path} is a checkpoint of job {manifest.job!r}, not of {job!r}",
            remedy="name a checkpoint of this job, or run it under the other's name",
        )
