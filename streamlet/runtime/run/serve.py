"""What a run serves over HTTP, where it is asked to. Nothing of `streamlet.observe.serving` is imported otherwise."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from streamlet.errors import ConfigError
from streamlet.ports import Ports
from streamlet.runtime.run.reading import Reading, status_of
from streamlet.runtime.run.stopping import standing_words

if TYPE_CHECKING:
    from streamlet.observe.serving.address import Listening


class _Asking(Protocol):
    """What of a run's options is about this."""

    @property
    def http(self) -> str | None: ...

    @property
    def http_token_file(self) -> str | None: ...


def listening_of(run: _Asking) -> Listening | None:
    """Binds the address that a run is asked to serve on; raises `ConfigError` where that cannot be."""
    if run.http is None:
        if run.http_token_file is not None:
            raise ConfigError("--http-token-file is for --http", remedy="--http 127.0.0.1:9470")
        return None
    from streamlet.observe.serving import server

    return server.listen(run.http, run.http_token_file)


def served_on(listening: Listening, reading: Reading, ports: Ports) -> AbstractContextManager[None]:
    """Serves what is known of a run that goes on in the running loop."""
    from streamlet.observe.serving.server import Served, serving

    thread = threading.get_ident()
    served = Served(
        asyncio.get_running_loop(),
        reading.facts,
        lambda facts: status_of(facts, ports.processes.pid),
        lambda: f"not ready before {standing_words(thread)}",
    )
    return serving(listening, served)
