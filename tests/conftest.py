"""A real Apache Kafka for every folder of tests. Without one they fail: a promise that was not tested is not kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from tests.kafka.broker import Kafka, KafkaBroker, a_kafka

# A machine that is busy with other things is slow at making examples, too; nothing follows from that.
settings.register_profile("streamlet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("streamlet")


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker for the whole run: use topics of your own, and never stop it."""
    with a_kafka(os.environ) as broker:
        yield broker


@pytest.fixture
def kafka_broker_factory() -> Iterator[Callable[..., KafkaBroker]]:
    """Starts brokers that a test may kill: `factory(transaction_max_timeout_ms=...)` sets broker settings."""
    with ExitStack() as stack:

        def start(*, is_proxied: bool = False, **settings: str | int) -> KafkaBroker:
            broker = KafkaBroker(is_proxied=is_proxied, **settings)
            stack.callback(broker.close)
            broker.start()
            return broker

        yield start
