"""EmbeddedKafka: a broker for tests and for trying jobs, without a server, a JVM or a file."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from streamlet.clock import Clock, SystemClock
from streamlet.errors import ConfigError
from streamlet.testing.kafka.errors import BrokerNotRunningError
from streamlet.testing.kafka.faults import Faults
from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.broker import SimulatedBroker
from streamlet.testing.kafka.model.settings import BrokerSettings
from streamlet.testing.kafka.server import KafkaServer
from streamlet.testing.kafka.service import KafkaService

T = TypeVar("T")


class EmbeddedKafka:
    """One Kafka broker on 127.0.0.1 that keeps its data in memory: transactions, fencing, time-outs, consumer groups.

    It runs on a thread of its own, so that blocking clients in the same process can use it, and its methods may be
    called from any thread.  Any Kafka client works with it that speaks the versions in `protocol.OFFERED`.

    ```python
    with EmbeddedKafka(topics={"payments": 4}) as kafka:
        source = KafkaSource(kafka.bootstrap, "payments")
    ```
    """

    def __init__(
        self,
        *,
        port: int = 0,
        topics: Mapping[str, int] | None = None,
        settings: BrokerSettings | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        self.broker = SimulatedBroker(settings, random.Random(seed))
        self._clock = clock or SystemClock()
        self._port = port
        self._topics = dict(topics or {})
        self._server: KafkaServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # -- life

    def start(self) -> None:
        """Returns when clients can connect."""
        if self._loop is not None:
            return
        for name, partitions in self._topics.items():
            _check(self.broker.topics.create(name, partitions, {}), f"topic {name!r} with {partitions} partitions")
        self._topics = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded-kafka", daemon=True)
        self._thread.start()
        try:
            self._run(self._listen())
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise ConfigError(
                    f"port {self._port} of 127.0.0.1 cannot be used: {error.strerror or error}",
                    remedy="choose another port, or 0 for any that is free",
                ) from error
            raise

    async def _listen(self) -> None:
        self._server = KafkaServer(KafkaService(self.broker, self._clock, port=self._port))
        await self._server.listen()
        self._port = self._server.service.port

    def stop(self) -> None:
        """Closes every connection and ends the thread; may be called twice. The data is kept for another `start`."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if self._server is not None:
            self._run(self._server.close())
        self._server = self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """An outage: no connection is there or can be made until the end of the block. Nothing is forgotten."""
        server = self._need()
        self._run(server.close())
        try:
            yield
        finally:
            self._run(server.listen())

    def restart(self) -> None:
        """Drops every connection; port and data stay."""
        with self.down():
            pass

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # -- what can be asked of it

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self._need().service.port}"

    @property
    def settings(self) -> BrokerSettings:
        """May be changed at any time, such as `marker_delay_ms` to see 51 from EndTxn."""
        return self.broker.settings

    @property
    def faults(self) -> Faults:
        """Trouble that is to happen to requests."""
        return self._need().service.faults

    def requests(self, api: str) -> int:
        """How often an API was asked for, such as "EndTxn"."""
        return self._need().service.protocol.counts[api]

    def create_topic(self, name: str, partitions: int = 1, **configs: str | int) -> None:
        """Creates a topic. Dots in a config's name are written as underscores."""
        settings = {key.replace("_", "."): str(value) for key, value in configs.items()}
        what = f"topic {name!r} with {partitions} partitions"
        _check(self.act(lambda broker: broker.topics.create(name, partitions, settings)), what)

    def add_partitions(self, name: str, total: int) -> None:
        """Gives a topic `total` partitions, which must be more than it has."""
        _check(self.act(lambda broker: broker.topics.grow(name, total)), f"topic {name!r} with {total} partitions")

    def delete_topic(self, name: str) -> None:
        """Deletes a topic; one that is created again has another id."""
        _check(self.act(lambda broker: broker.delete_topic(name)), f"deleting topic {name!r}")

    def delete_records(self, name: str, before: Mapping[int, int]) -> None:
        """Deletes the records before these offsets, as retention does."""

        def delete(broker: SimulatedBroker) -> int:
            for partition, offset in before.items():
                log = broker.topics.log(name, partition)
                if log is None:
                    return codes.UNKNOWN_TOPIC_OR_PARTITION
                if not log.delete_before(offset):
                    return codes.OFFSET_OUT_OF_RANGE
            return codes.NONE

        _check(self.act(delete), f"deleting records of topic {name!r} before {dict(before)}")

    def elect(self, name: str, partition: int = 0, *, has_upto: int | None = None) -> None:
        """Has a leader elected for a partition, which begins an epoch of it; with `has_upto` an unclean one, which
        lacks the records from that offset on."""

        def elect(broker: SimulatedBroker) -> int:
            log = broker.topics.log(name, partition)
            if log is None:
                return codes.UNKNOWN_TOPIC_OR_PARTITION
            log.change_leader(log.leader, has_upto=has_upto)
            return codes.NONE

        _check(self.act(elect), f"a leader for topic {name!r}, partition {partition}")

    def act(self, what: Callable[[SimulatedBroker], T]) -> T:
        """Does something to the broker's state on its thread, and lets clients that wait see it."""
        server = self._need()

        async def run() -> T:
            try:
                return what(self.broker)
            finally:
                server.service.notify()

        return self._run(run())

    def _need(self) -> KafkaServer:
        if self._server is None:
            raise BrokerNotRunningError("the embedded broker does not run", remedy="call start() or use `with`")
        return self._server

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise BrokerNotRunningError("the embedded broker does not run", remedy="call start() or use `with`")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _check(error: int, what: str) -> None:
    if error:
        name = next(name for name, code in vars(codes).items() if code == error and name.isupper())
        raise ConfigError(f"{what}: {error} {name}", remedy="see what is there: names, and numbers of partitions")
