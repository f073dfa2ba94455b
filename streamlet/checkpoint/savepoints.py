"""Savepoints: checkpoints with all their files in a folder of their own, for people to keep and to move.

```text
<savepoint>/
  files/             the files that its manifest names, and no others
  chk-00000042/      manifest, committed
```
It needs nothing of the state directory that it comes from.  It is whole as soon as `chk-...` has its name.
"""

from __future__ import annotations

from pathlib import Path

from streamlet.checkpoint import durable, layout, manifest_files
from streamlet.checkpoint.files import file_path
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.errors import CheckpointDamagedError, CheckpointError, CheckpointFailedError
from streamlet.ports import Disk
from streamlet.state.snapshot import FileRef


def write_savepoint(disk: Disk, info: CheckpointInfo, target: Path) -> Path:
    """Makes a savepoint of a marked checkpoint in the folder `target`, which must be new or empty; gives the path of
    the checkpoint in it. Blocks.

    Files are linked, and copied where they cannot be.  Raises `CheckpointError` for a target that is taken or a
    checkpoint without a marker, `CheckpointDamagedError` for files that are not what was written, and
    `CheckpointFailedError` when it cannot be written: what is there then is taken up by the next try.
    """
    assert info.manifest is not None, "only what can be read is saved"
    require_free(disk, target)
    require_committed(info)
    keep_files(disk, info, target)
    try:
        manifest_files.verify(disk, info.manifest, target / layout.FILES, full=False)
        data = disk.read(info.path / layout.MANIFEST)
    except OSError as error:
        raise failed(disk, target, error) from error
    return publish(disk, target, info.id, data)


def keep_files(disk: Disk, info: CheckpointInfo, target: Path) -> None:
    """Brings the files of a checkpoint into a savepoint in the making."""
    assert info.manifest is not None, "only what can be read is saved"
    files, origin = target / layout.FILES, info.path.parent / layout.FILES
    try:
        durable.ensure_folder(disk, files)
        for file in {file.name: file for file in info.manifest.files()}.values():
            _keep(disk, file, origin, files)
    except OSError as error:
        raise failed(disk, target, error) from error


def publish(disk: Disk, target: Path, checkpoint_id: int, manifest: bytes) -> Path:
    """Makes a savepoint whole, whose files are there; gives the path of the checkpoint in it."""
    temporary = target / layout.temporary_name(checkpoint_id)
    made = target / layout.checkpoint_name(checkpoint_id)
    try:
        disk.sync_folder(target / layout.FILES)
        durable.make_folder(disk, temporary)
        disk.write(temporary / layout.MANIFEST, (manifest,))
        disk.write(temporary / layout.MARKER, (manifest_files.marker_text(checkpoint_id),))
        disk.sync_folder(temporary)
        disk.rename(temporary, made)
        disk.sync_folder(target)
    except OSError as error:
        raise failed(disk, target, error) from error
    return made


def require_free(disk: Disk, target: Path) -> None:
    """Raises `CheckpointError` for a folder that has anything in it but the rest of a savepoint that was broken off."""
    if disk.exists(target) and not disk.is_folder(target):
        raise CheckpointError(f"{target} is not a folder", remedy="name a new folder")
    strangers = [
        name
        for name in layout.names_in(disk, target)
        if name != layout.FILES and layout.checkpoint_number(name.removesuffix(".tmp")) is None
    ]
    whole = [name for name in layout.names_in(disk, target) if layout.checkpoint_number(name) is not None]
    if strangers or whole:
        what = f"has {'a checkpoint' if whole else repr(strangers[0])} in it"
        raise CheckpointError(f"{target} {what}, so no savepoint can be made there", remedy="name a new folder")


def require_committed(info: CheckpointInfo) -> None:
    """Raises `CheckpointError` for a checkpoint whose output may still wait to be committed."""
    if not info.is_marked and info.manifest is not None and info.manifest.committables:
        raise CheckpointError(
            f"{info.path} has no marker: output that it prepared may still wait to be committed, and that can only be "
            "settled in the state directory where it was made",
            remedy="start the job there and stop it once, then make the savepoint; or name an older checkpoint, which "
            "has a marker",
        )


def _keep(disk: Disk, file: FileRef, origin: Path, files: Path) -> None:
    source, target = file_path(origin, file), file_path(files, file)
    if disk.exists(target) and disk.size(target) == file.size:
        return
    if not disk.exists(source):
        raise CheckpointDamagedError(f"{source} is missing", remedy="save another checkpoint")
    try:
        disk.link(source, target)
    except OSError:  # another file system, one without links, or links of other users' files that are not allowed
        temporary = files / f"{file.name}.copy"
        disk.copy(source, temporary)
        checksum, _ = durable.sync_and_hash(disk, temporary)
        if checksum != file.checksum:
            raise CheckpointDamagedError(
                f"{source} is damaged: its checksum differs", remedy="save another checkpoint"
            ) from None
        disk.rename(temporary, target)


def failed(disk: Disk, target: Path, error: OSError) -> CheckpointFailedError:
    """Gives the error of a savepoint that the system would not write."""
    return CheckpointFailedError(
        f"savepoint {target} could not be written: {disk.why(target, error)}",
        remedy="check free space and permissions there, or name another folder",
    )
