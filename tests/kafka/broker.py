"""A real Apache Kafka for tests: one KRaft process of our own, or one that somebody else runs."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.kafka.jars import INSTALL, KafkaUnavailableError, kafka_jars

PROJECT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1

LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""

# The replication settings are those without which transactions hang on a single node; the rest makes tests quick.
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "broker.heartbeat.interval.ms": "250",
    "broker.session.timeout.ms": "2500",  # a killed broker is let in again only after this
    "num.partitions": "1",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.enable": "false",
}


class Kafka:
    """A broker that can be reached: what a test may do with any of them."""

    replicas = 1
    """How many brokers have each partition of a new topic."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def create_topic(self, name: str, partitions: int = 1, **configs: str | int) -> None:
        """Returns when the topic's partitions have leaders. Dots in a config's name are written as underscores."""
        config = {key.replace("_", "."): str(value) for key, value in configs.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=self.replicas, config=config)
        admin = self.admin()  # a call fails when its client is released before the answer
        admin.create_topics([topic])[name].result(30)
        self._wait_for_leaders(admin, name, partitions)

    def add_partitions(self, name: str, total: int) -> None:
        """Returns when the topic has `total` partitions with leaders."""
        admin = self.admin()
        admin.create_partitions([NewPartitions(name, total)])[name].result(30)
        self._wait_for_leaders(admin, name, total)

    def delete_topic(self, name: str) -> None:
        """Returns when the topic is no longer listed."""
        admin = self.admin()
        admin.delete_topics([name])[name].result(30)
        deadline = time.monotonic() + 30
        while name in admin.list_topics(timeout=10).topics:
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {name} is still listed 30 s after it was deleted")
            time.sleep(0.02)

    def delete_records(self, name: str, before: dict[int, int]) -> None:
        """Deletes the records before these offsets, as retention does."""
        admin = self.admin()
        partitions = [TopicPartition(name, partition, offset) for partition, offset in before.items()]
        for future in admin.delete_records(partitions).values():
            future.result(30)

    def admin(self) -> AdminClient:
        """A fresh admin client."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def close(self) -> None:
        """Ends what was started for the tests, and removes its files."""

    def _wait_for_leaders(self, admin: AdminClient, name: str, partitions: int) -> None:
        deadline = time.monotonic() + 30
        while True:
            topic = admin.list_topics(name, timeout=10).topics.get(name)
            if topic and len(topic.partitions) == partitions and all(p.leader >= 0 for p in topic.partitions.values()):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {name} has no leaders after 30 s")
            time.sleep(0.02)


class KafkaBroker(Kafka):
    """One Apache Kafka process, with data of its own, on free ports of 127.0.0.1.

    It can be killed and started again on the same port and data.  It dies with the thread that called `start`, even
    when the test run is killed: start it from the main thread.  With `is_proxied` it has a second listener, which
    tells clients to come to another port.
    """

    def __init__(self, *, is_proxied: bool = False, **settings: str | int) -> None:
        self._jars = kafka_jars()
        self._folder = Path(tempfile.mkdtemp(prefix="streamlet-kafka-"))
        self._port, self._controller_port, proxy_port, proxied_port = free_ports(4)
        self.proxy_ports = (proxy_port, proxied_port) if is_proxied else None
        """The port that clients are told, where a proxy should be, and the one that the proxy leads to."""
        self._settings = {key.replace("_", "."): str(value) for key, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._cluster = new_cluster_id()
        self.log_file = self._folder / "kafka.log"
        super().__init__(f"127.0.0.1:{self._port}")

    @property
    def pid(self) -> int | None:
        """The running process, or None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def controller(self) -> str:
        """The address of its controller."""
        return f"127.0.0.1:{self._controller_port}"

    def join(self, cluster: str, node: int, controllers: Sequence[str]) -> None:
        """Makes it one of several brokers, before its first start: node 1 has the first of the controllers."""
        self._cluster = cluster
        voters = ",".join(f"{number}@{address}" for number, address in enumerate(controllers, 1))
        self._settings |= {"node.id": str(node), "controller.quorum.voters": voters}

    def start(self, timeout_seconds: float = 60) -> None:
        """Returns when the broker answers. It is formatted at its first start only."""
        self.launch()
        try:
            self._wait_until_it_answers(timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def is_up(self) -> bool:
        """True when it answers."""
        return answers(self.bootstrap, port=self._port)

    def launch(self) -> None:
        """Starts it without waiting, if it does not run."""
        if self.pid is not None:
            return
        if not (self._folder / "server.properties").exists():
            self._format()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._folder / "server.properties")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then end the broker themselves
                preexec_fn=_die_with_parent,
            )

    def stop(self) -> None:
        """Ends the process in order; its port and data stay for another start."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: the broker gets no chance to write anything."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Starts again, after `kill` if it still runs, on the same port and data."""
        self.kill()
        self.start()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _format(self) -> None:
        listeners = {"PLAINTEXT": self._port, "CONTROLLER": self._controller_port}
        advertised = {"PLAINTEXT": self._port}
        if self.proxy_ports is not None:
            advertised["PROXIED"], listeners["PROXIED"] = self.proxy_ports
        settings = {
            **SETTINGS,
            "listeners": _addresses(listeners),
            "advertised.listeners": _addresses(advertised),
            "controller.quorum.voters": f"1@{self.controller}",
            "log.dirs": str(self._folder / "data"),
            **self._settings,
        }
        (self._folder / "log4j2.properties").write_text(LOGGING)
        properties = self._folder / "new.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        format_ = self._java("kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", str(properties))
        done = subprocess.run(format_, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise KafkaUnavailableError(f"the broker's storage was not formatted:\n{done.stdout}{done.stderr}")
        properties.rename(self._folder / "server.properties")

    def _java(self, main: str, *arguments: str) -> list[str]:
        options = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        logging = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        return ["java", *options, logging, "-cp", f"{self._jars}/*", main, *arguments]

    def _wait_until_it_answers(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not self.is_up():
            if self.pid is None or time.monotonic() > deadline:
                what = "has ended" if self.pid is None else f"does not answer after {timeout_seconds:g} s"
                tail = self.log_file.read_text(errors="replace")[-4000:]
                raise KafkaUnavailableError(f"the broker on {self.bootstrap} {what}; the end of its log:\n{tail}")
            time.sleep(0.05)


class DockerKafka(Kafka):
    """The broker of the project's docker-compose.yml."""

    def __init__(self) -> None:
        super().__init__("localhost:9092")
        self._compose("up", "--detach", "--wait", "kafka")

    def close(self) -> None:
        self._compose("down", "--volumes")

    def _compose(self, *arguments: str) -> None:
        command = ["docker", "compose", "--file", str(PROJECT / "docker-compose.yml"), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KafkaUnavailableError(f"docker compose {arguments[0]}: {error}") from error
        if done.returncode != 0:
            raise KafkaUnavailableError(f"docker compose {arguments[0]}: {done.stderr[-1000:]}")


@contextlib.contextmanager
def a_kafka(environment: Mapping[str, str]) -> Iterator[Kafka]:
    """The first that can be had: STREAMLET_TEST_KAFKA, a process of our own, docker."""
    named = environment.get("STREAMLET_TEST_KAFKA")
    if named:
        if not answers(named):
            raise KafkaUnavailableError(f"STREAMLET_TEST_KAFKA={named} does not answer\n  -> start it, or unset it")
        yield Kafka(named)
        return
    kafka = _own_or_docker()
    try:
        yield kafka
    finally:
        kafka.close()


def _own_or_docker() -> Kafka:
    try:
        broker = KafkaBroker()
    except KafkaUnavailableError as no_jars:
        try:
            return DockerKafka()
        except KafkaUnavailableError as no_docker:
            raise KafkaUnavailableError(f"no Apache Kafka for the tests: {no_jars}\n({no_docker})\n{INSTALL}") from None
    try:
        broker.start()
    except BaseException:
        broker.close()
        raise
    return broker


def answers(bootstrap: str, port: int | None = None) -> bool:
    """True when a broker gives its metadata. With `port` (of 127.0.0.1) it asks only when somebody listens there."""
    if port is not None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return False
    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=5).brokers)
    except KafkaException:
        return False


def new_cluster_id() -> str:
    """What the storage of all brokers of a cluster is formatted with."""
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "a")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
