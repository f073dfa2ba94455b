"""What a broker's refusal of a record batch means: which record, whether a restart can help, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from streamlet.connect import ConfigError, EncodeError, SinkError
from streamlet_connectors.kafka.protocol import codes
from streamlet_connectors.kafka.protocol.unpacking import record_batches
from streamlet_connectors.kafka.writing.extras import TimeLimits, shown_time
from streamlet_connectors.kafka.writing.routing import shortened
from streamlet_connectors.kafka.writing.transaction import refused

SETTINGS = (
    "cleanup.policy",
    "compression.type",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "segment.bytes",
)
"""What of a topic decides whether it takes a record."""

_FINAL: Mapping[int, str] = {
    codes.INVALID_TOPIC_EXCEPTION: "the broker takes no such topic name, or keeps that topic for itself",
    codes.UNSUPPORTED_VERSION: "use Apache Kafka 3.1 or newer",
    codes.UNSUPPORTED_FOR_MESSAGE_FORMAT: "the topic has message.format.version before 0.11: raise it",
    codes.POLICY_VIOLATION: "a policy of the brokers forbids it: ask who runs them",
    codes.UNSUPPORTED_COMPRESSION_TYPE: "the brokers do not know this compression=: choose another one",
}
"""Codes that another attempt would meet again, and what to do about each."""


def refusal(where: str, code: int, data: bytes | bytearray, settings: Mapping[str, str], now_ms: int) -> Exception:
    """Makes the error of a batch that the broker does not take, ever."""
    what = f"{where}: the broker answered {codes.code_name(code)}"
    if code == codes.INVALID_TIMESTAMP:
        return _wrong_time(what, data, settings, now_ms)
    if code == codes.INVALID_RECORD:
        return _wrong_record(what, data, settings)
    if code in (codes.MESSAGE_TOO_LARGE, codes.RECORD_LIST_TOO_LARGE):
        name = "max.message.bytes" if code == codes.MESSAGE_TOO_LARGE else "segment.bytes"
        return SinkError(  # the next attempt asks for the setting again, and refuses a single record by name
            f"{what} to a batch of {len(data)} bytes; {name} of the topic is {settings.get(name, 'not known')}",
            remedy=f"was it lowered while the job ran? The next attempt keeps to it; else raise {name}",
        )
    if code in _FINAL:
        return ConfigError(what, remedy=_FINAL[code])
    return refused(where, code)


def _wrong_time(what: str, data: bytes | bytearray, settings: Mapping[str, str], now_ms: int) -> EncodeError:
    limits = TimeLimits.of(settings)

    def distance(record: Any) -> int:
        """How far outside of the limits, as this machine's clock sees it."""
        ahead: int = record.timestamp - now_ms
        after = 0 if limits.after_ms is None else limits.after_ms
        return max(ahead - after, -ahead - limits.before_ms if limits.before_ms is not None else ahead - after)

    record = _worst(data, distance)
    named = "" if record is None else f" to a batch with {_shown(record)}, time {shown_time(record.timestamp)}"
    said = ", ".join(f"{name}={value}" for name, value in settings.items() if name.startswith("message.timestamp."))
    return EncodeError(
        f"{what}{named}" + (f"; the topic has {said}" if said else ""),
        remedy="write it with timestamp='now', or raise message.timestamp.after.max.ms (or before.max.ms) of the "
        "topic; times that are right here and wrong there: compare the clocks",
    )


def _wrong_record(what: str, data: bytes | bytearray, settings: Mapping[str, str]) -> EncodeError:
    policy = settings.get("cleanup.policy", "not known")
    keyless = _worst(data, lambda record: record.key is None)
    if "compact" in policy and keyless is not None and keyless.key is None:
        return EncodeError(
            f"{what} to a record without a key, time {shown_time(keyless.timestamp)}: the topic is compacted "
            f"(cleanup.policy={policy})",
            remedy="give the sink a key=, or set cleanup.policy=delete for the topic",
        )
    return EncodeError(
        f"{what} to a batch of {len(data)} bytes (cleanup.policy={policy})",
        remedy="the broker's log says what it holds against the records; a compacted topic takes none without a key",
    )


def _worst(data: bytes | bytearray, rank: Callable[[Any], Any]) -> Any:
    """The record of the highest rank."""
    return max((record for whole in record_batches(bytes(data)) for record in whole.records()), key=rank, default=None)


def _shown(record: Any) -> str:
    if record.key is None:
        return "a record without key"
    try:
        return f"the record of key {shortened(record.key.decode())}"
    except UnicodeDecodeError:
        return f"the record of key {shortened(record.key)}"
