"""A sink that writes files exactly-once: one per subtask and checkpoint, visible once the checkpoint is decided."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec

from streamlet import Json
from streamlet.connect import (
    Batch,
    Committable,
    EncodeError,
    Format,
    JobDefinitionError,
    Sink,
    SinkContext,
    SinkError,
    encoded,
    why_unusable,
)
from streamlet_connectors.files import output
from streamlet_connectors.files.committer import FileCommitter

T = TypeVar("T")
R = TypeVar("R")

BUFFER_BYTES = 256 * 1024
_LASTING = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)  # fmt: skip
"""What is wrong with a directory until somebody mends it: another attempt would meet the same."""


class FileSink(Sink[T], Generic[T]):
    """Writes one record per line into files of a directory, exactly-once.

    `FileSink("out")` makes `out/part-00000042-0-3f9c2a10.jsonl` for checkpoint 42 and subtask 0; the last part tells
    job, state directory and sink uid apart, so that several may share a directory.  A file appears under this name
    complete, durable and once, when its checkpoint is decided; until then it is hidden (`.part-...`).  Existing files
    are never overwritten: a job started anew with a fresh state directory adds its output beside the old one.
    A file that was committed must stay where it is until the next checkpoint after it is committed, too.

    A shorter checkpoint interval means more and smaller files.
    """

    delivery = "exactly_once"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        format: Format[T] | None = None,
        prefix: str = "part",
        suffix: str = ".jsonl",
    ) -> None:
        if not os.fspath(directory):
            raise JobDefinitionError("FileSink has no directory", remedy="name one: FileSink('out')")
        for name, value in (("prefix", prefix), ("suffix", suffix)):
            if "/" in value or "\0" in value:
                raise JobDefinitionError(
                    f"{name}={value!r} of FileSink", remedy="it is part of a file name: no slashes"
                )
        if not prefix or prefix.startswith("."):
            raise JobDefinitionError(f"prefix={prefix!r} of FileSink", remedy="say a name that is not hidden")
        self._directory = Path(directory).absolute()
        self._format = format if format is not None else cast("Format[T]", Json())
        self._prefix = prefix
        self._suffix = suffix

    def writer(self, context: SinkContext) -> FileSinkWriter[T]:
        return FileSinkWriter(context, self._directory, self._format, self._prefix, self._suffix)

    def committer(self, context: SinkContext) -> FileCommitter:
        return FileCommitter(context, self._directory, self._prefix)


class FileSinkWriter(Generic[T]):
    """Collects lines and appends them, off the loop, to the file of the next checkpoint."""

    def __init__(self, context: SinkContext, directory: Path, format: Format[T], prefix: str, suffix: str) -> None:
        self._context = context
        self._directory = directory
        self._format = format
        self._prefix = prefix
        self._suffix = suffix
        self._tag = output.tag_of(context)
        self._file: output.InProgressFile | None = None
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0
        self._records = 0

    async def open(self) -> None:
        await self._blocking(output.make_directory, self._directory)

    async def write(self, batch: Batch[T]) -> None:
        if not batch.values:
            return
        self._buffer.append(data := self._encode(batch))
        self._buffered_bytes += len(data)
        self._records += len(batch.values)
        if self._buffered_bytes >= BUFFER_BYTES:
            await self._flush()

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        await self._flush()
        file, self._file = self._file, None  # from here on nothing of this writer touches it, `close` neither
        records, self._records = self._records, 0
        if file is None:
            return []
        final = f"{self._prefix}-{checkpoint_id:08d}-{self._context.subtask}-{self._tag}{self._suffix}"
        prepared = await self._blocking(file.seal, final)
        return [
            Committable(
                id=file.path.name,
                payload=msgspec.to_builtins(prepared),
                records=records,
                description=f"file {prepared.visible}",
            )
        ]

    async def released(self, committables: Sequence[Committable]) -> None:
        pass

    async def close(self) -> None:
        file, self._file = self._file, None
        self._buffer, self._buffered_bytes = [], 0
        if file is not None:
            file.drop()

    async def _flush(self) -> None:
        if not self._buffer:
            return
        data = b"".join(self._buffer)
        self._buffer, self._buffered_bytes = [], 0
        if self._file is None:
            stem = f".{self._prefix}-{self._tag}-{self._context.subtask}"
            self._file = output.InProgressFile(self._directory, stem)
        await self._blocking(self._file.append, data)

    async def _blocking(self, function: Callable[..., R], *args: Any) -> R:
        result: Awaitable[R] = self._context.run_blocking(function, *args)
        try:
            return await result
        except OSError as error:
            failure = SinkError(
                f"cannot write to {self._directory}: {why_unusable(self._directory, error)}",
                remedy="name a folder that this user may write to, on a file system with free space",
            )
            failure.final = function is output.make_directory and error.errno in _LASTING
            raise failure from error

    def _encode(self, batch: Batch[T]) -> bytes:
        try:
            lines = encoded(self._format, batch.values)
        except EncodeError as error:
            raise self._bad_row(batch, error.index, error.message, error.remedy) from error
        lines.append(b"")
        data = b"\n".join(lines)
        if data.count(b"\n") != len(batch.values):
            row = next(row for row, line in enumerate(lines) if b"\n" in line)
            remedy = "use Json(), which escapes them, or replace them before the sink"
            raise self._bad_row(batch, row, "its bytes hold a line feed, which would make two records of it", remedy)
        return data

    def _bad_row(self, batch: Batch[T], row: int, what: str, remedy: str | None) -> EncodeError:
        place = batch.describe_row(row) or f"row {row} of a batch"
        where = f"sink {self._context.uid!r}, {self._directory}"
        return EncodeError(f"{where}: {place}: {what}", index=row, remedy=remedy)
