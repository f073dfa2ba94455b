"""A sink for looking at a stream: one line per record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from streamlet.connect import Batch, Committable, EncodeError, Sink, SinkContext, SinkError


class Print(Sink[Any]):
    """Prints each record with `str`, to standard output unless told.

    At-least-once: lines appear as records pass, before a checkpoint covers them, so after a failure those since the
    last checkpoint are printed again.  Each batch is one write, so lines of several subtasks do not mix within one.
    """

    delivery = "at_least_once"

    def __init__(self, prefix: str = "", stream: TextIO | None = None) -> None:
        self._prefix = prefix
        self._stream = stream

    def writer(self, context: SinkContext) -> PrintWriter:
        return PrintWriter(context, self._prefix, self._stream)


class PrintWriter:
    """Prints for one subtask, off the event loop: a pipe that takes no more holds back this sink only."""

    def __init__(self, context: SinkContext, prefix: str, stream: TextIO | None) -> None:
        self._context = context
        self._prefix = prefix
        self._stream = stream

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch[Any]) -> None:
        if batch.values:
            await self._context.run_blocking(self._print, self._text(batch))

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        return []

    async def released(self, committables: Sequence[Committable]) -> None:
        pass

    async def close(self) -> None:
        pass

    def _text(self, batch: Batch[Any]) -> str:
        prefix, lines = self._prefix, list[str]()
        stream = self._stream if self._stream is not None else sys.stdout
        encoding, errors = getattr(stream, "encoding", None), getattr(stream, "errors", None) or "strict"
        try:
            lines.extend(f"{prefix}{value}\n" for value in batch.values)
            text = "".join(lines)
            if encoding is not None:
                text.encode(encoding, errors)
            return text
        except Exception as error:
            row = len(lines)
            if isinstance(error, UnicodeEncodeError) and row == len(batch.values):
                row = next(row for row, line in enumerate(lines) if not _is_writable(line, encoding, errors))
            place = batch.describe_row(row) or f"row {row} of a batch"
            raise EncodeError(
                f"sink {self._context.uid!r}: {place}: cannot be printed: {type(error).__name__}: {error}", index=row
            ) from error

    def _print(self, text: str) -> None:
        stream = self._stream if self._stream is not None else sys.stdout
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            raise SinkError(
                f"cannot print: {error}", remedy="keep the reader of this output alive, or use another sink"
            ) from error


def _is_writable(line: str, encoding: Any, errors: str) -> bool:
    try:
        line.encode(encoding, errors)
    except UnicodeEncodeError:
        return False
    return True
