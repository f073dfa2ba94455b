"""Who is refused: strangers without the token, and web pages of other sites."""

from __future__ import annotations

import hmac
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/healthz", "/readyz")
"""Answered to everybody: what runs a container may know no token."""
KNOWS_TOKEN = "streamlet.knows_token"
"""Key of the scope: True for who may see reasons."""
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)


class Guard:
    """Refuses before a route is looked for."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._token is None and _LOOPBACK.fullmatch(host) is None:
            return PlainTextResponse("Host is not this machine\n", 421)
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("Origin is another site\n", 403)
        given = headers.get("authorization", "")
        knows = self._token is None or hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode())
        scope[KNOWS_TOKEN] = knows
        if knows or scope["path"] in OPEN:
            return None
        challenge = {"WWW-Authenticate": "Bearer"}
        return PlainTextResponse("a token is needed: Authorization: Bearer TOKEN\n", 401, challenge)
