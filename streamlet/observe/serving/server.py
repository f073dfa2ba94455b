"""The server's thread: it answers whatever the job's own loop does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator

from streamlet.errors import ConfigError
from streamlet.observe.serving.address import Listening, listen

try:
    import uvicorn

    from streamlet.observe.serving.app import Served, make_app
except ModuleNotFoundError as missing:
    raise ConfigError(f"--http needs the package {missing.name}", remedy="pip install 'streamlet[http]'") from missing

log = logging.getLogger("streamlet.observe.serving")

_END_SECONDS = 2
__all__ = ["Listening", "Served", "listen", "serving"]


@contextlib.contextmanager
def serving(listening: Listening, served: Served) -> Iterator[None]:
    """Serves on a bound socket as long as the context lasts, and closes it."""
    config = uvicorn.Config(
        make_app(served, listening.token),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_END_SECONDS,
        h11_max_incomplete_event_size=1 << 14,
    )
    server = uvicorn.Server(config)

    def run() -> None:
        try:
            asyncio.run(server.serve(sockets=[listening.socket]))
        except Exception as error:
            log.warning("%s is served no more: %s", listening.url, error)

    strangers = logging.getLogger("uvicorn.error")
    strangers.addFilter(_is_told)
    thread = threading.Thread(target=run, name="http", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_END_SECONDS + 1)
        strangers.removeFilter(_is_told)
        listening.socket.close()


def _is_told(record: logging.LogRecord) -> bool:
    """False for bytes that are no request: whoever sends such bytes must not fill the job's log."""
    return record.levelno > logging.WARNING or "Invalid HTTP request" not in record.getMessage()
