"""A Unix socket between two processes of a job, as a stream of frames."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

from streamlet.errors import ExchangeError, WorkerDiedError

if TYPE_CHECKING:
    import socket

_LENGTH = struct.Struct(">I")
_BUFFER_BYTES = 1 << 18
MAX_FRAME_BYTES = 1 << 30
"""No honest frame comes near: batches are cut before it, and a length that lies must not be waited and paid for."""


def framed(data: bytes) -> bytes:
    """Gives what stands on the wire for a frame; raises `ExchangeError` for more than a frame may have."""
    if len(data) > MAX_FRAME_BYTES:
        raise ExchangeError(
            f"{len(data)} bytes are to go to another process of the job at once, of at most {MAX_FRAME_BYTES}",
            remedy="make the records, or what an operator keeps beside its keyed state, smaller, or run the job in one "
            "process",
        )
    return _LENGTH.pack(len(data)) + data


class Link:
    """Frames in order, both ways. Nothing is lost while both processes live; afterwards everything is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @staticmethod
    async def over(connected: socket.socket) -> Link:
        """Takes a connected socket over; it is closed with the link."""
        return Link(*await asyncio.open_unix_connection(sock=connected, limit=_BUFFER_BYTES))

    def send(self, data: bytes) -> None:
        """Sends a frame, at once or as soon as there is room; to a process that is gone it sends nothing."""
        if not self._writer.transport.is_closing():
            self._writer.write(framed(data))

    async def receive(self) -> bytes | None:
        """Waits for a frame; None when the other process is gone.  Raises `WorkerDiedError` for a length that no frame
        has."""
        try:
            (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if size > MAX_FRAME_BYTES:
                raise WorkerDiedError(
                    f"another process of the job announces {size} bytes, where a frame has at most {MAX_FRAME_BYTES}",
                    remedy="nothing to do here: the job goes on from its checkpoint in new workers",
                )
            return await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def finish(self) -> None:
        """Ends it when everything that was sent has gone out, or can no more."""
        with contextlib.suppress(ConnectionError):
            self._writer.close()
            await self._writer.wait_closed()
