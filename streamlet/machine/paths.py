"""Why a path cannot be used, in words: what the system says is short, and often of another name than one gave."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_OF_THE_PATH = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
        errno.ENAMETOOLONG, errno.EINVAL,
    }
)  # fmt: skip


def why_unusable(path: Path, error: OSError) -> str:
    """What the system says, and what is in the way where that can be seen."""
    said = error.strerror or str(error)
    try:
        seen = _seen(path.absolute(), error)
    except OSError:
        seen = ""
    return f"{said}: {seen}" if seen else said


def _seen(path: Path, error: OSError) -> str:
    if error.errno not in _OF_THE_PATH:
        return ""
    nearest = path
    for part in (*reversed(path.parents), path):
        try:
            mode = part.lstat().st_mode
        except FileNotFoundError:
            break
        except PermissionError:
            return f"{_who()} may not look into {part.parent} ({_rights(part.parent)})"
        if stat.S_ISLNK(mode):
            if not part.exists():
                return f"{part} is a link to {part.readlink()}, which is not there"
            mode = part.stat().st_mode
        if not stat.S_ISDIR(mode):
            return f"{part} is {_kind(mode)} and no folder"
        nearest = part
    if error.errno == errno.EROFS or _is_read_only(nearest):
        return f"the file system of {nearest} is read-only"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{_who()} may not make anything in {nearest} ({_rights(nearest)})"
    if error.errno == errno.ENOENT and nearest != path:
        return f"{nearest} takes no new folder"
    return ""


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a file"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a pipe or socket"


def _who() -> str:
    return f"user {os.geteuid()}"


def _rights(folder: Path) -> str:
    found = folder.stat()
    return f"{stat.filemode(found.st_mode)} of user {found.st_uid}"


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
