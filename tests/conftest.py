"""What every run of the tests shares: workers, scratch folders, a real Apache Kafka, `--quick`, the slowest parts.

The rules of a run are plugins: `running.py` says who runs what; `quickness.py` what a quick test may not do.
Without Apache Kafka the tests that need it fail: a promise that was not tested is not kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.kafka.broker import Kafka, KafkaBroker

pytest_plugins = ("tests.running", "tests.quickness")

# A machine that is busy with other things is slow at making examples, too; nothing follows from that.
settings.register_profile("streamlet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("streamlet")


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """One broker for the whole run of a worker: use topics of your own, and never stop it."""
    from tests.kafka.broker import a_kafka

    with a_kafka(os.environ) as broker:
        yield broker


@pytest.fixture
def kafka_broker_factory() -> Iterator[Callable[..., KafkaBroker]]:
    """Starts brokers that a test may kill: `factory(transaction_max_timeout_ms=...)` sets broker settings."""
    from tests.kafka.broker import KafkaBroker

    with ExitStack() as stack:

        def start(*, is_proxied: bool = False, **settings: str | int) -> KafkaBroker:
            broker = KafkaBroker(is_proxied=is_proxied, **settings)
            stack.callback(broker.close)
            broker.start()
            return broker

        yield start
