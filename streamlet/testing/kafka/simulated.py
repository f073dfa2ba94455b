"""A broker at an address of a simulated network, on a loop of its own: it lives on when a simulated process dies."""

from __future__ import annotations

import asyncio
import random

from streamlet.testing.kafka.errors import ConnectionCutError, NotKafkaError
from streamlet.testing.kafka.model import SimulatedBroker
from streamlet.testing.kafka.server import serve
from streamlet.testing.kafka.service import KafkaService
from streamlet.testing.loop import Policy, SimulatedLoop, VirtualClock, running
from streamlet.testing.network import SimulatedNetwork

_FOR_EVER = 1e9


class SimulatedKafka:
    """Serves one broker. Whoever drives the simulation steps `loop` like any other; `broker` may be looked into and
    acted on directly, with `notify` behind it."""

    def __init__(
        self,
        broker: SimulatedBroker,
        network: SimulatedNetwork,
        clock: VirtualClock,
        randomness: random.Random,
        *,
        host: str = "kafka",
        port: int = 9092,
        policy: Policy = "fifo",
    ) -> None:
        self.broker = broker
        self.loop = SimulatedLoop(clock, randomness, policy)
        self.service = KafkaService(broker, clock, host=host, port=port)
        self.is_up = False
        self._network = network
        self._connections: dict[asyncio.Task[None], None] = {}

    @property
    def bootstrap(self) -> str:
        """The address for clients on loops of the same network."""
        return f"{self.service.host}:{self.service.port}"

    def start(self, *, loads_seconds: float = 0.0) -> None:
        """From now on clients can connect; for that long the transaction coordinator still reads its log, says so to
        everybody, and neither writes markers nor times anything out."""
        with running(self.loop):
            self.service.start()
        self._network.listen(self.loop, (self.service.host, self.service.port), self._connected)
        self.load(loads_seconds)
        self.is_up = True

    def stop(self) -> None:
        """Breaks every connection, and forgets what was asked and is not done. The data is kept for another `start`."""
        self._network.shut((self.service.host, self.service.port))
        self.is_up = False
        self.load(_FOR_EVER)
        with running(self.loop):
            for task in self._connections:
                task.cancel()

    def load(self, seconds: float) -> None:
        """Lets the transaction coordinator read its log for so long from now, as when it moves."""
        self.broker.transactions.loads_until_ms = self.service.now_ms() + int(seconds * 1000)
        self.notify()

    def notify(self) -> None:
        """Lets everything that waits at the broker look again."""
        self.service.notify()

    def _connected(self) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(loop=self.loop)
        return asyncio.StreamReaderProtocol(reader, self._accept, loop=self.loop)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self.loop.create_task(self._serve(reader, writer))
        self._connections[task] = None
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(self.service, reader, writer)
        except (OSError, asyncio.IncompleteReadError, ConnectionCutError):
            pass  # a client that goes away is nobody's error
        except NotKafkaError as error:
            self.loop.call_exception_handler({"message": "a request that no broker answers", "exception": error})
        finally:
            writer.transport.abort()
