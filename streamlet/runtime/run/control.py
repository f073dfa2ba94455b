"""How other processes of the same user reach a running job: a Unix socket in the job's folder.

```text
client: {"version": 1, "command": "status" | "savepoint" | "stop", "to": "<folder>" or null}\\n
server: {"said": "..."}\\n      any number of them, while it goes on
        {"done": {...}}\\n or {"error": "...", "remedy": "..."}\\n, and the end
```
The socket is for its user alone: its mode is 0600, its folder is the user's, and the system tells whose process asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from streamlet.checkpoint.layout import CONTROL
from streamlet.errors import StreamletError

VERSION = 1
_PATH_BYTES = 100
"""A path in the address of a socket has 104 to 108 bytes at most, by the system."""
_LINE_BYTES = 1 << 16
_GOODBYE_SECONDS = 2.0
_DESCRIPTORS = Path("/proc/self/fd")
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

    def __init__(self, folder: Path, run: Controlled, say: Callable[[str], None], user: int | None = None) -> None:
        self._path = folder / CONTROL
        self._run = run
        self._say = say
        self._user = os.geteuid() if user is None else user
        self._server: asyncio.Task[asyncio.Server] | None = None
        self._identity: tuple[int, int] | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def open(self) -> None:
        """Begins to listen, once; call it when this process holds the job's lock. A job runs without, too."""
        if self._server is not None:
            return
        try:
            listening = self._bound()
        except OSError as error:
            self._say(f"warning: no other process can reach this job by {self._path}: {error.strerror or error}")
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
        with contextlib.suppress(OSError):
            if self._identity == _identity(self._path):  # else another process has taken the job over
                self._path.unlink()

    def _bound(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address(self._path) as name:
                listening.bind(name)
            self._path.chmod(0o600)
            self._identity = _identity(self._path)
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
            line = await reader.readline()
            user = peer_user(writer.get_extra_info("socket"))
            if user is not None and user != self._user:
                tell(Reply(error=f"this job belongs to user {self._user}; user {user} may not ask anything of it"))
            else:
                await self._answer(line, tell)
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


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """Gives a path that fits into a socket's address, as long as the context lasts; raises `OSError` if none does."""
    if len(os.fsencode(path)) <= _PATH_BYTES:
        yield str(path)
        return
    if not _DESCRIPTORS.is_dir():
        raise OSError(f"the path has more than {_PATH_BYTES} bytes")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{_DESCRIPTORS}/{folder}/{path.name}"
    finally:
        os.close(folder)


def peer_user(connection: Any) -> int | None:
    """Gives the user whose process is at the other end; None where the system does not say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(data)[1])


def _identity(path: Path) -> tuple[int, int]:
    there = path.lstat()
    return there.st_dev, there.st_ino
