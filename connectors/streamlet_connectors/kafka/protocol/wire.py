"""The only module that touches aiokafka: its wire types, its record batches and its sockets.

aiokafka's producer and consumer are not used: their commit can lose rejected records, their `stop` may never return,
and they cost five times the CPU.  What is used here (`protocol.types`, `record`, `conn`) is private to aiokafka, so its
version is pinned and everything else in this package imports from here.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import warnings
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast

from aiokafka import codec
from aiokafka import errors as aiokafka_errors
from aiokafka.conn import AIOKafkaConnection
from aiokafka.helpers import create_ssl_context
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Array,
    Boolean,
    Bytes,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from streamlet.connect import fault_point
from streamlet_connectors.kafka.protocol.errors import (
    AccessDeniedError,
    BrokerTooOldError,
    NotSentError,
    TransportError,
)

__all__ = [
    "ABORT_MARKER",
    "COMPACT",
    "NULLABLE",
    "TAGS",
    "AbstractType",
    "Api",
    "Array",
    "Boolean",
    "Bytes",
    "CompactArray",
    "CompactBytes",
    "ControlRecord",
    "DefaultRecordBatch",
    "DefaultRecordBatchBuilder",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Request",
    "Socket",
    "Uuid",
    "api",
    "calc_crc32c",
    "codec",
    "connect",
    "create_ssl_context",
    "warn_if_slow",
]

T = TypeVar("T")

_AUTHENTICATION = (
    aiokafka_errors.AuthenticationFailedError,
    aiokafka_errors.AuthenticationMethodNotSupported,
    aiokafka_errors.IllegalSaslStateError,
    aiokafka_errors.IncompatibleBrokerVersion,
    aiokafka_errors.SaslAuthenticationFailed,
    aiokafka_errors.UnsupportedSaslMechanismError,
)
"""What aiokafka raises when a broker does not let us in: another try would meet the same."""

NULLABLE = String("utf-8")
COMPACT = CompactString("utf-8")
TAGS = ("tags", TaggedFields)
"""Ends each flexible structure. Always sent empty: aiokafka encodes a filled one wrongly."""


class Uuid:
    """16 bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return cast(bytes, data.read(16))


class Api(Generic[T]):
    """One version of one Kafka API: how its request is written and its answer read."""

    def __init__(
        self,
        name: str,
        key: int,
        version: int,
        request: tuple[tuple[str, Any], ...],
        answer: tuple[tuple[str, Any], ...],
        *,
        flexible: bool,
        read: Callable[[Any], T],
        encode: Callable[[Any], bytes] | None,
    ) -> None:
        self.name = name
        self.key = key
        self.version = version
        self.read = read
        common = {"API_KEY": key, "API_VERSION": version}
        answer_type = type(f"{name}Response", (Response,), {**common, "SCHEMA": Schema(*answer)})
        fields = {**common, "RESPONSE_TYPE": answer_type, "SCHEMA": Schema(*request), "FLEXIBLE_VERSION": flexible}
        if encode is not None:
            fields["encode"] = encode
        self._struct = type(f"{name}Request", (RequestStruct,), fields)

    def __call__(self, *values: Any) -> Request[T]:
        return Request(self, self._struct(*values))


class Request(Generic[T]):
    """A request at one fixed version: aiokafka's negotiation is skipped, as EndTxn must never change its version.

    Where an older version may stand for it, `or_older` says so, and how it is asked there.
    """

    __slots__ = ("_older", "api", "read", "struct")

    def __init__(self, api: Api[T], struct: Any) -> None:
        self.api = api
        self.struct = struct
        self.read = api.read
        self._older: Request[T] | None = None

    def or_older(self, older: Request[T]) -> Request[T]:
        """Becomes `older` at a broker that does not speak this version."""
        self._older = older
        return self

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Any:
        """Called by aiokafka's socket with the versions that the broker speaks."""
        lowest, highest = versions.get(self.api.key, (0, -1))
        if not lowest <= self.api.version <= highest and (older := self._older) is not None:
            self.api, self.struct, self.read, self._older = older.api, older.struct, older.read, older._older
        if not lowest <= self.api.version <= highest:
            raise BrokerTooOldError(self.api.name, self.api.version, lowest, highest)
        return self.struct


def api(
    name: str,
    key: int,
    version: int,
    request: tuple[tuple[str, Any], ...],
    answer: tuple[tuple[str, Any], ...],
    read: Callable[[Any], T],
    *,
    flexible: bool = False,
    encode: Callable[[Any], bytes] | None = None,
) -> Api[T]:
    """Declares one version of a Kafka API; `encode` writes the request faster than its declared types do."""
    return Api(name, key, version, request, answer, flexible=flexible, read=read, encode=encode)


class BoundedReader:
    """Reads from a connection, and refuses an answer that says it is larger than `limit`, before there is memory for
    it: four bytes of a stranger could ask for 2 GB."""

    def __init__(self, reader: asyncio.StreamReader, limit: int) -> None:
        self._reader = reader
        self._limit = limit
        self.refused = ""

    async def readexactly(self, size: int) -> bytes:
        """Gives so many bytes; raises `ConnectionError` for more than the limit, and for less than none."""
        if not 0 <= size <= self._limit:
            self.refused = (
                f"began an answer of {size} bytes, and max_answer_bytes is {self._limit}: is it a Kafka broker at all, "
                "and is security_protocol right?"
            )
            raise ConnectionError(self.refused)
        return await self._reader.readexactly(size)

    def at_eof(self) -> bool:
        """True when nothing more will come."""
        return self._reader.at_eof()


class BoundedConnection(AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection, which puts what it reads from into `_reader`."""

    _bounded: BoundedReader | None = None
    max_answer_bytes = 0

    @property
    def refused(self) -> str:
        """Why the connection was given up, if an answer was refused."""
        return self._refused

    _refused = ""

    @property
    def _reader(self) -> BoundedReader | None:
        return self._bounded

    @_reader.setter
    def _reader(self, reader: asyncio.StreamReader | None) -> None:
        if reader is None and self._bounded is not None:
            self._refused = self._bounded.refused
        self._bounded = None if reader is None else BoundedReader(reader, self.max_answer_bytes)


class RawSocket(Protocol):
    """What is used of aiokafka's connection."""

    refused: str
    host: str
    port: int
    _writer: Any

    def send(self, request: Any) -> Awaitable[Any]: ...
    def connected(self) -> bool: ...
    def close(self) -> asyncio.Future[None] | None: ...


class Socket:
    """One connection to one broker; answers come in the order of the requests, and any failure closes it."""

    __slots__ = ("_raw", "address")

    def __init__(self, raw: RawSocket) -> None:
        self._raw = raw
        self.address = f"{raw.host}:{raw.port}"

    @property
    def is_connected(self) -> bool:
        return self._raw.connected()

    async def send(self, request: Request[T], *, sent: str | None = None) -> T:
        """Sends and gives the answer; raises `TransportError` when none came (it may have been done or not).

        `sent` names a fault point that is passed when the request has left and its answer was not read.
        """
        try:
            if sent is None:
                answer = await self._raw.send(request)
            else:
                answer = await self._send_past_a_fault_point(request, sent)
        except (TimeoutError, aiokafka_errors.RequestTimedOutError) as error:
            self._raw.close()
            raise TransportError(f"broker {self.address} did not answer {request.api.name} in time") from error
        except (OSError, EOFError, aiokafka_errors.KafkaError) as error:
            self._raw.close()
            reason = self._raw.refused or f"closed the connection at {request.api.name}"
            raise TransportError(f"broker {self.address} {reason}") from error
        try:
            return request.read(answer)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._raw.close()
            raise TransportError(f"broker {self.address} answered {request.api.name} with nonsense: {error}") from error

    async def _send_past_a_fault_point(self, request: Request[T], name: str) -> Any:
        answer = asyncio.ensure_future(self._raw.send(request))
        try:
            while _is_writing(self._raw) and not answer.done():  # noqa: ASYNC110 - a transport has no event for it
                await asyncio.sleep(0)
            fault_point(name)
            return await answer
        finally:
            answer.cancel()

    def close(self) -> asyncio.Future[None] | None:
        """Closes at once; the future says when the transport is gone."""
        return self._raw.close()


def _is_writing(raw: RawSocket) -> bool:
    writer = raw._writer
    return writer is not None and writer.transport.get_write_buffer_size() > 0


async def connect(
    host: str,
    port: int,
    *,
    client_id: str,
    timeout_seconds: float,
    max_answer_bytes: int,
    options: Mapping[str, Any],
) -> Socket:
    """Opens and authenticates a connection, or raises `NotSentError`."""
    address = f"{host}:{port}"
    timeout_ms = int(timeout_seconds * 1000)
    raw = BoundedConnection(
        host, port, client_id=client_id, request_timeout_ms=timeout_ms, max_idle_ms=540_000, **options
    )
    raw.max_answer_bytes = max_answer_bytes
    try:
        await raw.connect()
    except TimeoutError as error:
        raise NotSentError(f"broker {address} did not answer within {timeout_seconds:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise AccessDeniedError(
            f"the certificate of broker {address} is refused: {error.verify_message}",
            remedy="name the authority that signed it with ssl_cafile=, and the broker by the name in its certificate",
        ) from error
    except _AUTHENTICATION as error:
        said = re.sub(r"^\[Error \d+\] \w+: ", "", str(error)) or type(error).__name__
        raise AccessDeniedError(
            f"broker {address} refused: authentication by {options.get('sasl_mechanism')}: {said}",
            remedy="mend sasl_plain_username and sasl_plain_password, or sasl_mechanism and security_protocol",
        ) from error
    except OSError as error:
        reason = raw.refused or f"cannot be reached: {error.strerror or error or type(error).__name__}"
        raise NotSentError(f"broker {address} {reason}") from error
    except (EOFError, aiokafka_errors.KafkaError) as error:
        reason = raw.refused or f"refused the connection: {error or type(error).__name__}"
        raise NotSentError(f"broker {address} {reason}") from error
    return Socket(raw)


_warned: list[bool] = []


def warn_if_slow() -> None:
    """Warns once per process when aiokafka's compiled record classes are missing (30 to 140 times slower)."""
    if _warned or "_crecords" in DefaultRecordBatch.__module__:
        return
    _warned.append(True)
    warnings.warn(
        "aiokafka runs without its compiled extensions: records are read and written 30 to 140 times slower\n"
        "  -> unset AIOKAFKA_NO_EXTENSIONS, or install a wheel of aiokafka for this platform",
        RuntimeWarning,
        stacklevel=2,
    )
