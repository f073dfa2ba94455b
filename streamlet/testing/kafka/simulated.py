"""A broker at an address of a simulated network, on a loop of its own: it lives on when a simulated process dies."""

from __future__ import annotations

import asyncio
import random
from functools import partial

from streamlet.testing.kafka.errors import ConnectionCutError, NotKafkaError
from streamlet.testing.kafka.model.broker import SimulatedBroker
from streamlet.testing.kafka.server import serve
from streamlet.testing.kafka.service import KafkaService
from streamlet.testing.loop import Policy, SimulatedLoop, VirtualClock, running
from streamlet.testing.network import SimulatedNetwork

_FOR_EVER = 1e9


class SimulatedKafka:
    """Serves one broker, or several of one cluster, at the ports from `port` on.

    Whoever drives the simulation steps `loop` like any other; `broker` may be looked into and acted on directly, with
    `notify` behind it.
    """

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
        nodes: int = 1,
    ) -> None:
        self.broker = broker
        self.loop = SimulatedLoop(clock, randomness, policy)
        self.service = KafkaService(broker, clock, host=host, port=port)
        self.nodes = {self.service.node: self.service}
        for node in range(self.service.node + 1, self.service.node + nodes):
            self.nodes[node] = KafkaService(
                broker, clock, host=host, port=port + len(self.nodes), node=node, first=self.service
            )
        self.is_up = False
        self._network = network
        self.gone: set[int] = set()
        """Nodes that are killed, and not back."""
        self._connections: dict[asyncio.Task[None], int] = {}

    @property
    def bootstrap(self) -> str:
        """The address for clients on loops of the same network."""
        return ",".join(f"{one.host}:{one.port}" for one in self.nodes.values())

    def start(self, *, loads_seconds: float = 0.0) -> None:
        """From now on clients can connect; for that long the transaction coordinator still reads its log, says so to
        everybody, and neither writes markers nor times anything out."""
        self.is_up = True
        for node in self.nodes:
            if node not in self.gone:
                self.rejoin(node)
        self.load(loads_seconds)

    def stop(self) -> None:
        """Breaks every connection, and forgets what was asked and is not done. The data is kept for another `start`."""
        for node in self.nodes:
            if node not in self.gone:
                self._shut(node)
        self.is_up = False
        self.load(_FOR_EVER)

    def kill(self, node: int) -> None:
        """Nobody answers at that node any more; the others learn of it by `leave`."""
        self.gone.add(node)
        if self.is_up:
            self._shut(node)

    def leave(self, node: int) -> None:
        """Others lead what that node led, as it has been away for long enough."""
        self.broker.leave(node)
        self.notify()

    def rejoin(self, node: int) -> None:
        """The node is there again; what it led before stays where it is."""
        self.gone.discard(node)
        if not self.is_up:
            return  # it comes with the others
        service = self.nodes[node]
        with running(self.loop):
            service.start()
        self._network.listen(self.loop, (service.host, service.port), lambda: self._connected(node))

    def _shut(self, node: int) -> None:
        self._network.shut((self.nodes[node].host, self.nodes[node].port))
        with running(self.loop):
            for task, of in self._connections.items():
                if of == node:
                    task.cancel()

    def load(self, seconds: float) -> None:
        """Lets the transaction coordinator read its log for so long from now, as when it moves."""
        self.broker.transactions.loads_until_ms = self.service.now_ms() + int(seconds * 1000)
        self.notify()

    def notify(self) -> None:
        """Lets everything that waits at the broker look again."""
        self.service.notify()

    def _connected(self, node: int) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(loop=self.loop)
        return asyncio.StreamReaderProtocol(reader, partial(self._accept, node), loop=self.loop)

    def _accept(self, node: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self.loop.create_task(self._serve(node, reader, writer))
        self._connections[task] = node
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _serve(self, node: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(self.nodes[node], reader, writer)
        except (OSError, asyncio.IncompleteReadError, ConnectionCutError):
            pass  # a client that goes away is nobody's error
        except NotKafkaError as error:
            self.loop.call_exception_handler({"message": "a request that no broker answers", "exception": error})
        finally:
            writer.transport.abort()
