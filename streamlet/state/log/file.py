"""The file of a delta log: what changed between two freezes, in frames of a thousand entries at most.

```text
header  magic 8 | version u16 | cut u64 | frames u32 | entries u64 | raw bytes u64 | xxh3 of the header u64
frame   compressed length u32 | raw length u32 | xxh3 of both lengths and the payload u64 | payload (zstd)
payload msgpack [stored keys, values, stored keys that were deleted]
```

The header counts the frames, so a file that was cut between two frames is not taken for a shorter log.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import cramjam
import msgspec
from xxhash import xxh3_64_intdigest

from streamlet.errors import CheckpointDamagedError, CheckpointError
from streamlet.ports import Disk

MAGIC = b"SLETLOG\n"
VERSION = 1
ZSTD_LEVEL = 1
"""Brings 24 bytes per entry to 8; higher levels gain little on such short entries and cost several times the CPU."""

_header = struct.Struct(">8sHQIQQ")
_checksum = struct.Struct(">Q")
_lengths = struct.Struct(">II")

Frame = tuple[list[bytes], list[msgspec.Raw], list[bytes]]
"""Stored keys, their values (still packed: they share the frame's memory), stored keys that were deleted."""

_decode_frame = msgspec.msgpack.Decoder(Frame).decode


class LogHeader(msgspec.Struct, frozen=True):
    """What a log says of itself."""

    cut: int
    frames: int
    entries: int
    raw_bytes: int
    """Size of all payloads before compression: how much memory reading it may take."""


def write_log(disk: Disk, path: Path, cut: int, frames: Sequence[bytes], entries: int) -> int:
    """Compresses and writes a log, makes its content durable and gives its size. Blocks; compression lets other threads
    run."""
    return disk.write(path, _packed(cut, frames, entries))


def _packed(cut: int, frames: Sequence[bytes], entries: int) -> Iterator[bytes]:
    header = _header.pack(MAGIC, VERSION, cut, len(frames), entries, sum(map(len, frames)))
    yield header + _checksum.pack(xxh3_64_intdigest(header))
    for frame in frames:
        payload = bytes(cramjam.zstd.compress(frame, ZSTD_LEVEL))
        lengths = _lengths.pack(len(payload), len(frame))
        yield lengths + _checksum.pack(xxh3_64_intdigest(lengths + payload)) + payload


def read_header(disk: Disk, path: Path) -> LogHeader:
    """Reads the header of a log; raises `CheckpointDamagedError` when it is not one."""
    with _open(disk, path) as file:
        return _read_header(file, path)


def read_log(disk: Disk, path: Path) -> Iterator[Frame]:
    """Gives the frames of a log in their order; raises `CheckpointDamagedError` at the first that is damaged."""
    with _open(disk, path) as file:
        header = _read_header(file, path)
        left, largest = header.raw_bytes, disk.size(path)
        for number in range(header.frames):
            frame, size = _read_frame(file, path, number, left, largest)
            left -= size
            yield frame
        if file.read(1):
            raise _damaged(path, "there is more in it than its header says")


def _open(disk: Disk, path: Path) -> BinaryIO:
    try:
        return disk.open(path)
    except OSError as error:
        raise _damaged(path, f"it cannot be opened ({error.strerror})") from error


def _read_header(file: BinaryIO, path: Path) -> LogHeader:
    data = file.read(_header.size + _checksum.size)
    if len(data) != _header.size + _checksum.size:
        raise _damaged(path, "it is shorter than a header")
    head = data[: _header.size]
    magic, version, cut, frames, entries, raw_bytes = _header.unpack(head)
    if magic != MAGIC or _checksum.unpack(data[_header.size :])[0] != xxh3_64_intdigest(head):
        raise _damaged(path, "its header is not what was written")
    if version != VERSION:
        raise CheckpointError(
            f"{path} is a delta log of format {version}; this streamlet reads format {VERSION}",
            remedy="start the job with the version of streamlet that wrote it, or a later one: nothing is damaged",
        )
    return LogHeader(cut, frames, entries, raw_bytes)


def _read_frame(file: BinaryIO, path: Path, number: int, left: int, largest: int) -> tuple[Frame, int]:
    """Gives a frame and its size; `left` and `largest` bound what its lengths may say before there is memory."""
    head = file.read(_lengths.size + _checksum.size)
    if len(head) != _lengths.size + _checksum.size:
        raise _damaged(path, f"it ends before frame {number}")
    lengths = head[: _lengths.size]
    length, raw_length = _lengths.unpack(lengths)
    if raw_length > left or length > largest:
        raise _damaged(path, f"frame {number} is not what was written")
    payload = file.read(length)
    if len(payload) != length or _checksum.unpack(head[_lengths.size :])[0] != xxh3_64_intdigest(lengths + payload):
        raise _damaged(path, f"frame {number} is not what was written")
    try:
        raw = _unpacked(payload, raw_length)
        if len(raw) != raw_length:
            raise ValueError("it is shorter than it says")
        frame: Frame = _decode_frame(raw)
    except (cramjam.DecompressionError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _damaged(path, f"frame {number} holds no entries: {error}") from error
    if len(frame[0]) != len(frame[1]):
        raise _damaged(path, f"frame {number} has {len(frame[0])} keys and {len(frame[1])} values")
    return frame, raw_length


def _unpacked(payload: bytes, raw_length: int) -> bytes:
    """Unpacks a payload. Neither a length that lies nor a payload that unpacks to more takes memory for itself."""
    size = min(raw_length, 16 * len(payload) + 4096)
    while True:
        raw = bytearray(size)
        try:
            return bytes(memoryview(raw)[: cramjam.zstd.decompress_into(payload, raw)])
        except cramjam.DecompressionError as error:
            if size >= raw_length or "whole buffer" not in str(error):
                raise
        size = min(raw_length, 8 * size)


def _damaged(path: Path, what: str) -> CheckpointDamagedError:
    return CheckpointDamagedError(
        f"delta log {path}: {what}",
        remedy="restore an older checkpoint with --from; find out what changed the file",
    )
