"""Fixtures that pytest finds by itself where streamlet is installed.  Nothing is imported before a test asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from streamlet.testing.kafka import EmbeddedKafka


@pytest.fixture
def embedded_kafka() -> Iterator[EmbeddedKafka]:
    """A Kafka broker in this process, empty for each test; it needs `pip install "streamlet[testing]"`."""
    from streamlet.testing.kafka import EmbeddedKafka

    with EmbeddedKafka() as broker:
        yield broker
