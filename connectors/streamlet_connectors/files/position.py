"""A position in a file: where to read on, what was read until there, and under which name and number it was last met.

What was read is kept as three hashes: of the first bytes, of the last bytes, and a checksum of all.  They tell the file
under any name, and tell another one under its name.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Annotated, Any, NamedTuple

import msgspec

from streamlet.connect import ConfigError, Position
from streamlet_connectors.files.identity import Identity

HEAD_BYTES = 1024
_MOST_CUTS = 10
"""As many are known again: a log that is copied and cut more often than that must have lost its oldest copies by then,
or the glob must not match them."""
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Sum = Annotated[int, msgspec.Meta(ge=-1, le=(1 << 32) - 1)]


class Trace(NamedTuple):
    """What was read of a file, from its beginning on."""

    offset: int = 0
    line: int = 0
    head: str = ""
    """Hash of the first bytes, as far as they lie before `offset`."""
    tail: str = ""
    """Hash of the last bytes before `offset`; empty where it is not known."""
    crc: int = 0
    """Checksum of all bytes before `offset`; -1 where it is not known."""


class FilePosition(NamedTuple):
    """Where to read on in one file: `offset` counts its bytes, or what they are when unpacked."""

    offset: int = 0
    line: int = 0
    """Lines before it."""
    fingerprint: str = ""
    """Of the first bytes that were read; at the beginning, of those that its file had when it was found."""
    tail: str = ""
    crc: int = 0
    path: str = ""
    device: int = 0
    inode: int = 0
    size: int = -1
    mtime: int = -1
    """Of the file when it was last read, in ns."""
    is_closed: bool = False
    """True when it was read to its end after it had lost its name: nothing is missing if it is gone."""
    after: str = ""
    """The split that has to be read to its end before."""
    birth: int = 0
    """Of the file, with `device` and `inode`."""
    cuts: tuple[Trace, ...] = ()
    """What was read each time before the file was cut and written anew, the last time first: a copy that was made
    before is told by it."""

    def plain(self) -> list[Any]:
        """Gives it as a checkpoint carries it."""
        return [*self[:-1], [list(trace) for trace in self.cuts]]

    @property
    def identity(self) -> Identity:
        return Identity(self.device, self.inode, self.birth)

    def lies_in(self, identity: Identity, path: str | None = None) -> FilePosition:
        """The same position, when its file is that one, under that path."""
        device, inode, birth = identity
        return self._replace(device=device, inode=inode, birth=birth, path=self.path if path is None else path)

    @property
    def trace(self) -> Trace:
        return Trace(self.offset, self.line, self.fingerprint, self.tail, self.crc)

    @property
    def is_over(self) -> bool:
        """True when there is nothing to be read any more."""
        return self.is_closed and not self.inode

    @property
    def is_blank(self) -> bool:
        """True when nothing was read, and the file had nothing when it was seen last."""
        return self.offset == 0 and self.size <= 0

    def ended(self) -> FilePosition:
        """The same, when its file is gone."""
        return self.lies_in(Identity())._replace(is_closed=True)

    def cut(self) -> FilePosition:
        """The beginning of the same file, after it was cut where it stands."""
        return self._replace(cuts=(self.trace, *self.cuts)[:_MOST_CUTS], size=-1, mtime=-1, is_closed=False).at(Trace())

    def at(self, trace: Trace) -> FilePosition:
        """The same file, where another trace ends."""
        return self._replace(
            offset=trace.offset, line=trace.line, fingerprint=trace.head, tail=trace.tail, crc=trace.crc
        )

    @classmethod
    def of(cls, split: str, position: Position) -> FilePosition:
        """Reads what `plain` gave, also before it gave the birth, and when a split was a path and no more than the
        first bytes were known; raises `ConfigError` for what is no position in a file."""
        try:
            if isinstance(position, list) and len(position) == 3:
                offset, line, head = msgspec.convert(position, _BY_PATH)
                return cls(offset, line, head, crc=-1 if offset else 0, path=split)
            if isinstance(position, list) and len(position) == 13:
                position = [*position[:-1], 0, position[-1]]
            plain = cls(*msgspec.convert(position, _PLAIN))
            return plain._replace(cuts=tuple(Trace(*trace) for trace in plain.cuts))
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"the checkpoint has {position!r:.100} as the position in file {split!r:.200}, which is none ({error})",
                remedy="did the source's uid belong to a source of another kind? Give it a uid of its own",
            ) from error


_BY_PATH = tuple[_Count, _Count, str]
_TRACE = tuple[_Count, _Count, str, str, _Sum]
_PLAIN = tuple[_Count, _Count, str, str, _Sum, str, int, int, int, int, bool, str, int, list[_TRACE]]


def fingerprint(head: bytes, offset: int) -> str:
    """Hashes the first bytes of a file, as far as they lie before `offset`."""
    return hash_of(head[: min(offset, HEAD_BYTES)]) if head and offset > 0 else ""


def hash_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def go_on(trace: Trace, before: bytes, data: bytes, line: int) -> tuple[Trace, bytes]:
    """Gives what was read when `data` is, too, and its last bytes; `before` are those of `trace`."""
    if not data:
        return trace._replace(line=line), before
    last = data[-HEAD_BYTES:] if len(data) >= HEAD_BYTES else (before + data)[-HEAD_BYTES:]
    head = trace.head
    if trace.offset < HEAD_BYTES:
        head = hash_of((before + data)[:HEAD_BYTES])  # all of what was read lies in `before`
    crc = zlib.crc32(data, trace.crc) if trace.crc >= 0 else -1
    return Trace(trace.offset + len(data), line, head, hash_of(last), crc), last
