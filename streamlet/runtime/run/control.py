"""How other processes of the same user reach a running job: a Unix socket without a file.

```text
client: {"version": 1, "command": "status" | "savepoint" | "stop", "to": "<folder>" or null}\\n
server: {"said": "..."}\\n      any number of them, while it goes on
        {"done": {...}}\\n or {"error": "...", "remedy": "..."}\\n, and the end
```
Its name is an abstract one of Linux, made of what file the job's lock is (device and inode).  So nothing lies in the
state directory that a tool could not copy or a `kill -9` could leave behind, a path may be as long as it likes, and a
copy of a state directory has another name than its origin.  Both ends ask the system whose process is at the other
end before they say or believe anything: the job answers its own user alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from streamlet.checkpoint.lock import LOCK
from streamlet.errors import StreamletError

VERSION = 1
_LINE_BYTES = 1 << 16
_GOODBYE_SECONDS = 2.0
_PEER = struct.Struct("3i")


class Request(msgspec.Struct):
    """What a client asks."""

    version: int
    command: str
    to: str | None = None


class Reply(msgspec.Struct, omit_defaults=True):
    """One line of an answer."""

    said: str = ""
    done: dict[str, Any] | None = None
    error: str = ""
    remedy: str | None = None


@dataclass(frozen=True)
class Controlled:
    """What a socket's clients may do with a run."""

    status: Callable[[], dict[str, Any]]
    savepoint: Callable[[Path], Awaitable[Path]]
    stop: Callable[[], None]


class ControlSocket:
    """Listens while a job runs. All calls are made in its event loop."""

    def __init__(self, folder: Path, run: Controlled, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._run = run
        self._say = say
        self._user = os.geteuid()
        self._server: asyncio.Task[asyncio.Server] | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        """Begins to listen, once; call it when this process holds the job's lock. A job runs without, too."""
        if self._server is not None:
            return
        try:
            listening = self._bound()
        except OSError as error:
            self._say(f"warning: no other process can reach this job by `streamlet stop`: {error.strerror or error}")
            return
        self._server = asyncio.create_task(
            asyncio.start_unix_server(self._connected, sock=listening, limit=_LINE_BYTES)
        )

    async def close(self, ending: dict[str, Any]) -> None:
        """Tells those who wait for it how the run ended, and listens no more."""
        self._ended.set_result(ending)
        if self._clients:
            await asyncio.wait(self._clients, timeout=_GOODBYE_SECONDS)
        if self._server is not None:
            server = await self._server
            server.close()

    def _bound(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(address(self._folder))
            listening.listen()
            listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
        return listening

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="control-client")
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def tell(reply: Reply) -> None:
            writer.write(msgspec.json.encode(reply) + b"\n")

        try:
            user = peer_user(writer.get_extra_info("socket"))
            if user != self._user:
                error = f"this job belongs to user {self._user}; user {user} may not ask anything of it"
                tell(Reply(error=error, remedy="ask as the user who runs the job"))
            else:
                await self._answer(await reader.readline(), tell)
            await writer.drain()
        except (OSError, ValueError):
            pass  # a client that went away, or sent no line
        finally:
            writer.close()

    async def _answer(self, line: bytes, tell: Callable[[Reply], None]) -> None:
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.MsgspecError:
            tell(Reply(error="this is no request of streamlet"))
            return
        try:
            tell(Reply(done=await self._done(request, tell)))
        except StreamletError as error:
            tell(Reply(error=error.message, remedy=error.remedy))
        except Exception as error:
            tell(Reply(error=f"{type(error).__name__}: {error}"))

    async def _done(self, request: Request, tell: Callable[[Reply], None]) -> dict[str, Any]:
        run = self._run
        if request.version != VERSION:
            raise StreamletError(
                f"the running job understands requests of version {VERSION}, not {request.version}",
                remedy="use the version of streamlet that the job runs with",
            )
        if request.command == "status":
            return run.status()
        if request.command not in ("savepoint", "stop"):
            raise StreamletError(f"the running job knows no command {request.command!r:.40}")
        saving = None if request.to is None else asyncio.ensure_future(run.savepoint(Path(request.to)))
        if request.command == "stop":
            self._say("asked to stop by `streamlet stop`")
            # In the turn of the loop in which the savepoint was asked for: so its checkpoint is the last one.
            run.stop()
        made = None if saving is None else await saving
        done = {} if made is None else {"savepoint": str(made)}
        if request.command == "savepoint":
            return done
        tell(Reply(said="stopping with a last checkpoint"))
        return {**done, **await asyncio.shield(self._ended)}


def address(folder: Path) -> str:
    """Gives the name of the socket of a job's folder; raises `OSError` where no lock was ever taken."""
    lock = (folder / LOCK).lstat()
    return f"\0streamlet/{lock.st_dev:x}/{lock.st_ino:x}"


def peer_user(connection: Any) -> int:
    """Gives the user whose process is at the other end."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(data)[1])
