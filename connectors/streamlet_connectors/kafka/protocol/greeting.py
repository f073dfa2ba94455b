"""Finds out why a broker does not understand us: TLS, SASL and plain text each end the connection on another's port.

Asked only after a connection failed that never worked.  It says something only on proof: an answer in the protocol
that the options do not name.  A broker that is away, or a proxy before it, answers in none.
"""

from __future__ import annotations

import asyncio
import ssl
import struct

from streamlet_connectors.kafka.protocol.errors import ProtocolMismatchError
from streamlet_connectors.kafka.protocol.options import KafkaOptions

_SECONDS = 2.0
_ANSWER_BYTES = 1 << 16
_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)
_MECHANISM = b"PLAIN"
_SASL_HANDSHAKE = struct.pack(">hhihh", 17, 1, 1, -1, len(_MECHANISM)) + _MECHANISM
_WANTS_SASL = (0, 33)
"""Answers to a handshake where SASL is spoken: well, or not by this mechanism. A port without SASL says 34."""


async def require_same_protocol(options: KafkaOptions) -> None:
    """Raises `ProtocolMismatchError` when a server proves to speak another security protocol than the options name."""
    for host, port in options.servers:
        try:
            found = await _other_protocol(options.security_protocol, host, port)
        except (OSError, EOFError, TimeoutError, struct.error):
            continue  # it is away, or speaks nothing that we know
        if found is not None:
            problem, wanted = found
            raise ProtocolMismatchError(
                f"the broker at {host}:{port} refused: authentication and encryption do not fit: the port {problem}, "
                f"and security_protocol is {options.security_protocol!r}",
                remedy=f"set security_protocol={wanted}, or name the right port",
            )


async def _other_protocol(ours: str, host: str, port: int) -> tuple[str, str] | None:
    """Gives what the port does and what security_protocol should be; None when nothing can be told."""
    if ours.endswith("SSL"):
        if await _answer(host, port, _API_VERSIONS) is None:
            return None
        return "speaks no TLS", "'SASL_PLAINTEXT'" if ours == "SASL_SSL" else "'PLAINTEXT' (or 'SASL_PLAINTEXT')"
    if await _speaks_tls(host, port):
        return "speaks TLS", "'SASL_SSL'" if ours == "SASL_PLAINTEXT" else "'SSL' (or 'SASL_SSL')"
    if ours == "PLAINTEXT":
        answer = await _answer(host, port, _SASL_HANDSHAKE)
        if answer is not None and struct.unpack_from(">h", answer)[0] in _WANTS_SASL:
            return "wants SASL", "'SASL_PLAINTEXT', with sasl_mechanism= and the user's name and password"
    return None


async def _answer(host: str, port: int, request: bytes) -> bytes | None:
    """Sends a request as plain text; gives what follows its number in the answer, None where that is no answer."""
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(struct.pack(">i", len(request)) + request)
            size, number = struct.unpack(">ii", await reader.readexactly(8))
            if number != 1 or not 6 <= size <= _ANSWER_BYTES:
                return None
            return await reader.readexactly(size - 4)
        finally:
            writer.transport.abort()


async def _speaks_tls(host: str, port: int) -> bool:
    """Greets by TLS, and trusts whatever certificate comes: nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, EOFError, TimeoutError):
        return False
    spoken = writer.get_extra_info("cipher")  # the proof: a loop that takes no notice of TLS has connected, too
    writer.transport.abort()
    return spoken is not None
