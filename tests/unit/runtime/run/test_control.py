"""Who may use the control socket of a job."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet.checkpoint.lock import LOCK
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.cli import asking
from streamlet.cli.asking import ask
from streamlet.errors import StateDirectoryError
from streamlet.machine.disk import LocalDisk
from streamlet.runtime.run import control
from streamlet.runtime.run.control import VERSION, Controlled, ControlSocket, Request, address

STATUS = b'{"version":1,"command":"status"}\n'


NOBODY = 65534


@contextlib.contextmanager
def another_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this process does in between is done by another user: a connection is one of who made it. Where the tests
    do not run as root, the system's answer of whose it is is replaced instead."""
    me = os.geteuid()
    try:
        os.setresuid(-1, NOBODY, -1)
    except OSError:
        for module in (control, asking):
            monkeypatch.setattr(module, "peer_user", lambda connection: NOBODY)
    try:
        yield
    finally:
        os.setresuid(-1, me, -1)


def locked(folder: Path) -> Path:
    (folder / LOCK).touch()
    return folder


async def _saved(target: Path) -> Path:
    return target / "chk-00000001"


RUN = Controlled(lambda: {"state": "running"}, _saved, lambda: None)


NO_CHANGE = contextlib.nullcontext()


async def _asked(
    folder: Path, request: bytes = STATUS, by: contextlib.AbstractContextManager[None] = NO_CHANGE
) -> dict[str, Any]:
    said: list[str] = []
    opened = ControlSocket(folder, RUN, said.append)
    opened.open()
    opened.open()
    client, name = socket.socket(socket.AF_UNIX), address(folder)  # asyncio closes it
    with by:
        client.connect(name)
    reader, writer = await asyncio.open_unix_connection(sock=client)
    with contextlib.suppress(ConnectionError):  # who is refused need not be heard
        writer.write(request)
        writer.write_eof()
    answer = await reader.readline()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await opened.close({})
    assert said == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(name)
    found: dict[str, Any] = json.loads(answer)
    return found


def test_the_jobs_own_user_is_answered(tmp_path: Path) -> None:
    assert asyncio.run(_asked(locked(tmp_path))) == {"done": {"state": "running"}}


@pytest.mark.parametrize(
    ("request_line", "message"),
    [
        (b"", "this is no request of streamlet"),
        (b"hello\n", "this is no request of streamlet"),
        (b'{"version": 2, "command": "status"}\n', "understands requests of version 1, not 2"),
        (b'{"version": 1, "command": "explode"}\n', "knows no command 'explode'"),
    ],
)
def test_what_is_no_request_and_what_a_later_streamlet_asks_are_refused(
    tmp_path: Path, request_line: bytes, message: str
) -> None:
    assert message in asyncio.run(_asked(locked(tmp_path), request_line))["error"]


@pytest.mark.parametrize("request_line", [b"", STATUS, b'{"version":1,"command":"stop"}\n'])
def test_another_user_is_refused_whatever_is_asked(
    tmp_path: Path, request_line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asyncio.run(_asked(locked(tmp_path), request_line, another_user(monkeypatch))) == {
        "error": f"this job belongs to user {os.geteuid()}; user {NOBODY} may not ask anything of it",
        "remedy": "ask as the user who runs the job",
    }


def test_a_name_that_another_user_has_taken_is_not_believed_and_stops_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = CheckpointStorage(tmp_path, "job", LocalDisk())
    storage.folder.mkdir()
    name, said = address(locked(storage.folder)), list[str]()
    with socket.socket(socket.AF_UNIX) as taken:
        with another_user(monkeypatch):
            taken.bind(name)
            taken.listen()
        what = rf"is a process of user {NOBODY}, and the job is one of user {os.geteuid()}\n"
        with pytest.raises(StateDirectoryError, match=what):
            ask(storage, Request(VERSION, "status"))
        asyncio.run(_open_and_close(storage.folder, said))
    assert said == ["warning: no other process can reach this job by `streamlet stop`: Address already in use"]


async def _open_and_close(folder: Path, said: list[str]) -> None:
    opened = ControlSocket(folder, RUN, said.append)
    opened.open()
    await opened.close({})
