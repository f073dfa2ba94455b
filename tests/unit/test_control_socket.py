"""Who may use the control socket of a job."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from streamlet.runtime.run.control import Controlled, ControlSocket

STATUS = b'{"version":1,"command":"status"}\n'


async def _asked(folder: Path, user: int | None, request: bytes = STATUS) -> dict[str, Any]:
    said: list[str] = []

    def stop() -> None:
        said.append("stopped")

    async def savepoint(target: Path) -> Path:
        return target / "chk-00000001"

    control = ControlSocket(folder, Controlled(lambda: {"state": "running"}, savepoint, stop), said.append, user)
    control.open()
    control.open()
    reader, writer = await asyncio.open_unix_connection(folder / "control")
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await control.close({})
    assert said == []
    assert not (folder / "control").exists()
    found: dict[str, Any] = json.loads(answer)
    return found


def test_the_jobs_own_user_is_answered(tmp_path: Path) -> None:
    assert asyncio.run(_asked(tmp_path, None)) == {"done": {"state": "running"}}


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
    assert message in asyncio.run(_asked(tmp_path, None, request_line))["error"]


def test_another_user_is_refused_by_what_the_system_says_of_the_peer(tmp_path: Path) -> None:
    other = os.geteuid() + 1
    error = asyncio.run(_asked(tmp_path, other))["error"]
    assert error == f"this job belongs to user {other}; user {os.geteuid()} may not ask anything of it"
