"""Where `--http` listens, and the token that it wants."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from streamlet.errors import ConfigError

_SHORTEST_TOKEN = 16
_EXAMPLE = "--http 127.0.0.1:9470"


@dataclass(frozen=True)
class Listening:
    """A bound socket, and what is wanted of requests."""

    socket: socket.socket
    host: str
    port: int
    token: str | None

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def listen(address: str, token_file: str | None) -> Listening:
    """Binds the address `HOST:PORT`; raises `ConfigError` for one that cannot be used, or that others could reach
    without a token."""
    host, port = _parts(address)
    token = None if token_file is None else _token(token_file)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--http: {host!r} is no address of this machine: {error}", remedy=_EXAMPLE) from error
    family, _, _, _, place = found[0]
    if token is None and not ipaddress.ip_address(str(place[0]).partition("%")[0]).is_loopback:
        raise ConfigError(
            f"--http: {address} can be reached from other machines",
            remedy=f"use {_EXAMPLE}, or let requests carry a token: --http-token-file FILE",
        )
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except OSError as error:
        bound.close()
        why = "is in use by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ConfigError(
            f"--http: {address} {why}",
            remedy=f"choose another port, or 0 for any that is free: --http {address.rpartition(':')[0]}:0",
        ) from error
    return Listening(bound, host, bound.getsockname()[1], token)


def _parts(address: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]\s]+)):(\d{1,5})", address)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(f"--http: {address!r} is not HOST:PORT", remedy=f"for example {_EXAMPLE}, or [::1]:9470")
    return match[1] or match[2], int(match[3])


def _token(path: str) -> str:
    try:
        token = Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"--http-token-file: {path} cannot be read: {reason}", remedy="name a file") from error
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"--http-token-file: {path} has no token of at least {_SHORTEST_TOKEN} letters and digits",
            remedy=f"python -c 'import secrets; print(secrets.token_urlsafe())' > {path}",
        )
    return token
