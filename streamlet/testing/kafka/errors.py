"""Errors of the simulated broker."""

from __future__ import annotations

from streamlet.errors import StreamletError


class NotKafkaError(StreamletError):
    """Bytes that no broker answers: it closes the connection."""


class ConnectionCutError(StreamletError):
    """A planned fault closes the connection instead of an answer."""


class BrokerNotRunningError(StreamletError):
    """The embedded broker was asked for something before it started or after it stopped."""
