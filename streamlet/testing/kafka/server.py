"""The simulated broker behind a socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

from streamlet.testing.kafka.errors import ConnectionCutError, NotKafkaError
from streamlet.testing.kafka.service import KafkaService

_log = logging.getLogger("streamlet.testing.kafka")
_MOST_BYTES = 100 << 20


class KafkaServer:
    """Serves one broker on the port of its service. A connection's requests are done one after the other, as Kafka
    does. Everything runs on the event loop that called `listen`.

    It accepts connections itself: `asyncio.start_server` leaves those that come while it is being closed open for ever.
    """

    def __init__(self, service: KafkaService) -> None:
        self.service = service
        self._listener: socket.socket | None = None
        self._connections: dict[asyncio.Task[None], socket.socket] = {}

    async def listen(self) -> None:
        """Returns when clients can connect; for port 0 it chooses one, and keeps it."""
        service = self.service
        self._listener = socket.create_server((service.host, service.port), backlog=128)
        self._listener.setblocking(False)
        service.port = self._listener.getsockname()[1]
        service.start()
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept, self._listener)

    async def close(self) -> None:
        """Drops every connection and stops listening; what the broker holds stays, and `listen` may follow."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener.fileno())
        listener.close()
        await self.service.stop()
        connections, self._connections = self._connections, {}
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports let go of their sockets
        for connection in connections.values():
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the client has gone away already
        connection.setblocking(False)
        task = asyncio.create_task(self._connected(connection))
        self._connections[task] = connection
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _connected(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            await serve(self.service, reader, writer)
        except (OSError, asyncio.IncompleteReadError, ConnectionCutError):
            pass  # a client that goes away is nobody's error
        except NotKafkaError as error:
            _log.warning("connection closed: %s", error.message)
        finally:
            writer.transport.abort()


async def serve(service: KafkaService, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers the requests of one connection, until it ends by an error."""
    while True:
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        if not 8 <= size <= _MOST_BYTES:
            raise NotKafkaError(f"a request of {size} bytes")
        answer = await service.answer(await reader.readexactly(size))
        if answer is not None:
            writer.write(answer)
            await writer.drain()
