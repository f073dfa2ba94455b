"""The routes of a running job. Answers are made in the server's thread; only the facts are read in the job's loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from streamlet.observe.facts import JobFacts
from streamlet.observe.serving.exposition import exposed
from streamlet.observe.serving.guard import KNOWS_TOKEN, Guard

_ANSWER_SECONDS = 2.0
"""A loop that does not turn within so long is held by something."""
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Served:
    """What a run lets the server ask."""

    loop: asyncio.AbstractEventLoop
    facts: Callable[[], JobFacts]
    """Called in the loop."""
    status: Callable[[JobFacts], dict[str, Any]]
    """Called in any thread."""
    standing: Callable[[], str]
    """What holds the loop, in words. Called in any thread."""


def make_app(served: Served, token: str | None) -> ASGIApp:
    """The application, with its guard before it."""
    views = {"/metrics": _metrics, "/healthz": _healthz, "/readyz": _readyz, "/status": _status}
    routes = [Route(path, _answering(served, view), methods=["GET"]) for path, view in views.items()]
    return Guard(Starlette(routes=routes), token)


View = Callable[[Request, Served, JobFacts], Response]


def _answering(served: Served, view: View) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            facts = await _asked(served)
        except TimeoutError:
            return _said(request, served.standing())
        except RuntimeError:
            return _said(request, "the job has ended")
        response = view(request, served, facts)
        response.headers.update(_NO_STORE)
        return response

    return answer


async def _asked(served: Served) -> JobFacts:
    found: concurrent.futures.Future[JobFacts] = concurrent.futures.Future()

    def look() -> None:
        if not found.set_running_or_notify_cancel():
            return
        try:
            found.set_result(served.facts())
        except BaseException as error:
            found.set_exception(error)

    served.loop.call_soon_threadsafe(look)
    async with asyncio.timeout(_ANSWER_SECONDS):
        return await asyncio.wrap_future(found)


def _metrics(request: Request, served: Served, facts: JobFacts) -> Response:
    body, content_type = exposed(facts, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})


def _healthz(request: Request, served: Served, facts: JobFacts) -> Response:
    return PlainTextResponse("ok\n")


def _readyz(request: Request, served: Served, facts: JobFacts) -> Response:
    return _said(request, facts.not_ready) if facts.not_ready else PlainTextResponse("ok\n")


def _status(request: Request, served: Served, facts: JobFacts) -> Response:
    return Response(msgspec.json.encode(served.status(facts)), media_type="application/json")


def _said(request: Request, reason: str) -> Response:
    """503, with the reason for who may know it."""
    text = reason if request.scope.get(KNOWS_TOKEN) else "not ready"
    return PlainTextResponse(f"{text}\n", 503, _NO_STORE)
