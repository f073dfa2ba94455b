"""The bytes of a file, as they lie there or unpacked: read from any place on, in bounded memory."""

from __future__ import annotations

import os
import tempfile
import zlib
from typing import Protocol

import cramjam

from streamlet_connectors.files.errors import DamagedFileError, FileMissingError
from streamlet_connectors.files.identity import Identity, identity_by
from streamlet_connectors.files.position import HEAD_BYTES

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # behind 0x50 to 0x5f
_PACKED_BYTES = 64 * 1024
_UNPACKED_BYTES = 1 << 20
UNKNOWN_SIZE = 1 << 62
"""More than any offset: the end of what is still being unpacked."""


class Content(Protocol):
    """A file that is open."""

    identity: Identity
    size: int
    """Of the bytes that `read` gives, `UNKNOWN_SIZE` until that is known."""
    stat_size: int
    mtime: int
    links: int
    """How many names the file has: 0 when it was deleted."""
    is_packed: bool
    is_whole: bool
    """False when the file ends where what it packs does not: the rest of it may still be written."""

    is_proven: bool
    """True when what was proven of it still holds."""

    def refresh(self) -> None:
        """Looks at the file anew."""
        ...

    def head(self) -> bytes:
        """Gives its first bytes."""
        ...

    def read(self, at: int, length: int) -> bytes:
        """Gives up to so many bytes, fewer only at the end."""
        ...

    def close(self) -> None: ...


def open_content(path: str) -> Content:
    """Opens a file: unpacked if its first bytes say that it is packed. Blocks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileMissingError(
            f"file {path} was there and is gone",
            remedy="put it back as it was, or pass on_missing_file='skip' if it had been read to its end",
        ) from error
    except OSError as error:
        raise FileMissingError(
            f"file {path} cannot be opened: {error.strerror}", remedy="check its path and permissions"
        ) from error
    try:
        head = os.pread(descriptor, 4, 0)
        if head.startswith(_GZIP):
            return Unzipped(descriptor, path)
        return Spooled(descriptor, path) if _is_zstd(head) else Plain(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise


def _is_zstd(head: bytes) -> bool:
    """Tells whether a frame begins here: of data, or of notes, as parallel packers write first."""
    return head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and head[0] >> 4 == 5)


def plain_head(path: str, size: int) -> bytes:
    """Gives the first bytes, of `size`, of a file that is not packed; b"" of others, and where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            head = file.read(min(size, HEAD_BYTES)) if size > 0 else b""
    except OSError:
        return b""
    return b"" if head.startswith(_GZIP) or _is_zstd(head) else head


class Plain:
    """A file whose bytes are its content."""

    is_packed = False
    is_whole = True
    is_proven = False

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self.identity = identity_by(descriptor)
        self.refresh()

    def refresh(self) -> None:
        stat = os.fstat(self._descriptor)
        self.stat_size, self.mtime, self.links = stat.st_size, stat.st_mtime_ns, stat.st_nlink
        self._resize()

    def _resize(self) -> None:
        self.size = self.stat_size
        self.is_proven = False

    def head(self) -> bytes:
        return self.read(0, HEAD_BYTES)

    def read(self, at: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, at)

    def close(self) -> None:
        os.close(self._descriptor)


class Unzipped(Plain):
    """A gzip file, of one member or several: unpacked on and on; going back means from the beginning."""

    is_packed = True

    def __init__(self, descriptor: int, path: str) -> None:
        self._begin()
        super().__init__(descriptor, path)

    def _begin(self) -> None:
        self.size = UNKNOWN_SIZE
        self.is_whole = True
        self.is_proven = False
        self._packed = 0
        """Bytes of the file that were used up."""
        self._known_first = b""
        self._start = 0
        self._window = bytearray()
        """What was unpacked last, from `_start` on."""
        self._member = zlib.decompressobj(wbits=31)
        self._has_begun = False
        self._is_at_end = False
        self._left = b""
        self._head = b""

    def _resize(self) -> None:
        if not self._packed:
            return
        if self._packed > self.stat_size or self._first() != self._known_first:
            self._begin()  # it is another file by now
        elif self._is_at_end and self._packed < self.stat_size:
            self._is_at_end, self.size = False, UNKNOWN_SIZE  # it went on

    def _first(self) -> bytes:
        return os.pread(self._descriptor, min(self._packed, _PACKED_BYTES), 0)[:64]

    def head(self) -> bytes:
        if self._start == 0 and len(self._head) < HEAD_BYTES:
            self.read(0, HEAD_BYTES)
        return self._head

    def read(self, at: int, length: int) -> bytes:
        if at < self._start:
            is_proven = self.is_proven
            self._begin()
            self.is_proven = is_proven
        while self._start + len(self._window) < at + length and not self._is_at_end:
            self._unpack()
            if self._start == 0 and len(self._head) < HEAD_BYTES:
                self._head = bytes(self._window[:HEAD_BYTES])
            behind = min(at - self._start, len(self._window))
            if behind > 0:  # what lies before was read, or is passed over
                del self._window[:behind]
                self._start += behind
        begin = at - self._start
        return bytes(self._window[begin : begin + length]) if begin >= 0 else b""

    def _unpack(self) -> None:
        data = self._left or os.pread(self._descriptor, _PACKED_BYTES, self._packed)
        if not data:
            self._is_at_end = True
            self.is_whole = not self._has_begun
            self.size = self._start + len(self._window)
            return
        if not self._left:
            self._packed += len(data)
            self._known_first = self._known_first or self._first()
        if not self._has_begun and not data.strip(b"\0"):
            self._left = b""  # zeros that pad a tape
            return
        try:
            self._window += self._member.decompress(data, _UNPACKED_BYTES)
        except zlib.error as error:
            raise DamagedFileError(
                f"file {self._path} is damaged: what gzip packed cannot be unpacked near byte "
                f"{self._packed - len(data)} of {self.stat_size} ({error})",
                remedy="bring the file anew (gzip -t tells whether it is whole)",
            ) from error
        self._has_begun = True
        self._left = self._member.unconsumed_tail
        if self._member.eof:
            self._left = self._member.unused_data
            self._member = zlib.decompressobj(wbits=31)
            self._has_begun = False


class Spooled(Plain):
    """A zstd file, unpacked into a nameless temporary file when it is whole."""

    is_packed = True

    def _resize(self) -> None:
        known = getattr(self, "_known", None)
        if known == (self.stat_size, self.mtime):
            return
        self.close_spool()
        self._known = (self.stat_size, self.mtime)
        self.size, self.is_whole = 0, False
        most = _unpacked_at_most(self._descriptor, self.stat_size, self._path)
        if most is None:
            return
        folder = os.statvfs(tempfile.gettempdir())
        if most > folder.f_bavail * folder.f_frsize:
            raise DamagedFileError(
                f"file {self._path} may unpack to {most} bytes, and {tempfile.gettempdir()} has no room for them",
                remedy="set TMPDIR to a folder with room, or unpack it: zstd -d",
            )
        self._spool = _spool(self._descriptor, self._path)
        self.size, self.is_whole = os.fstat(self._spool).st_size, True

    def read(self, at: int, length: int) -> bytes:
        return os.pread(self._spool, length, at) if self.is_whole else b""

    def close_spool(self) -> None:
        if getattr(self, "_spool", -1) >= 0:
            os.close(self._spool)
        self._spool = -1

    def close(self) -> None:
        self.close_spool()
        super().close()


def _spool(descriptor: int, path: str) -> int:
    spool, name = tempfile.mkstemp(prefix="streamlet-zstd-")
    try:
        source = cramjam.File(f"/proc/self/fd/{descriptor}")
        cramjam.zstd.decompress_into(source, cramjam.File(name))
    except (cramjam.DecompressionError, OSError) as error:
        os.close(spool)
        raise DamagedFileError(
            f"file {path} is damaged: what zstd packed cannot be unpacked ({error})",
            remedy="bring the file anew (zstd -t tells whether it is whole)",
        ) from error
    finally:
        os.unlink(name)  # noqa: PTH108
    return spool


def _unpacked_at_most(descriptor: int, size: int, path: str) -> int | None:
    """Walks over the blocks of a zstd file: how much they may unpack to, None if the last is not all there."""
    at = most = 0
    while at < size:
        head = os.pread(descriptor, 18, at)
        magic = int.from_bytes(head[:4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to be passed over
            at += 8 + int.from_bytes(head[4:8], "little")
            continue
        if head[:4] != _ZSTD and len(head) >= 4:
            raise DamagedFileError(
                f"file {path} is damaged: no frame of zstd begins at byte {at} of {size}",
                remedy="bring the file anew (zstd -t tells whether it is whole)",
            )
        if len(head) < 6:
            return None
        flags = head[4]
        single = flags >> 5 & 1
        at += 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + ((single, 2, 4, 8)[flags >> 6])
        is_last = False
        while not is_last:
            block = os.pread(descriptor, 3, at)
            if len(block) < 3:
                return None
            header = int.from_bytes(block, "little")
            is_last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
            most += 128 * 1024 if kind == 2 else length
            at += 3 + (1 if kind == 1 else length)
        at += 4 * (flags >> 2 & 1)
    return most if at == size and size else None
