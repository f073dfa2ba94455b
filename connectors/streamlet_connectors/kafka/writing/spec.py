"""What a KafkaSink was told, checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from streamlet.connect import ConfigError, Delivery, EncodeError, Format
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.writing.batching import COMPRESSIONS, Compression
from streamlet_connectors.kafka.writing.extras import Headers, Timestamp, listed
from streamlet_connectors.kafka.writing.routing import Partition, StreamKey

NoneAs = Literal["deletion", "value"]

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_LONGEST_MS = 2**31 - 1


class SinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a sink, as its writers and its committer use them."""

    options: KafkaOptions
    topic: str
    value: Format[Any]
    key: Callable[[Any], Any] | StreamKey | None
    key_format: Format[Any] | None
    none_as: NoneAs
    headers: Callable[[Any], Headers | None] | Headers | None
    timestamp: Callable[[Any], int] | Timestamp
    partition: Partition | None
    compression: Compression | None
    delivery: Delivery
    transaction_timeout_seconds: float
    delivery_timeout_seconds: float
    linger_seconds: float
    max_record_bytes: int | None

    @property
    def timeout_ms(self) -> int:
        return round(self.transaction_timeout_seconds * 1000)

    def check(self) -> None:
        """Raises `ConfigError` for what cannot work."""
        where = f"KafkaSink({self.topic!r})"
        for is_wrong, problem, remedy in (
            (
                not isinstance(self.topic, str) or not _TOPIC.fullmatch(self.topic) or self.topic in (".", ".."),
                "that is not the name of a topic",
                "use letters, digits, '.', '_' and '-'",
            ),
            (
                self.compression is not None and self.compression not in COMPRESSIONS,
                f"unknown compression {self.compression!r}",
                f"choose one of {', '.join(COMPRESSIONS)}, or None",
            ),
            (
                self.delivery not in ("exactly_once", "at_least_once"),
                f"unknown delivery {self.delivery!r}",
                "choose 'exactly_once' or 'at_least_once'",
            ),
            (
                not (self.key is None or self.key == "stream" or callable(self.key)),
                f"key is {self.key!r}",
                "give a function of the value, leave it out for the stream's key, or None for no key",
            ),
            (
                not (self.timestamp in ("event", "now") or callable(self.timestamp)),
                f"timestamp is {self.timestamp!r}",
                "choose 'event' or 'now', or give a function of the value",
            ),
            (
                self.none_as not in ("deletion", "value"),
                f"none_as is {self.none_as!r}",
                "choose 'deletion' (a record without a value), or 'value' (as the format writes it)",
            ),
            (
                not (self.partition is None or callable(self.partition)),
                f"partition is {self.partition!r}",
                "give a function (key, value, number of partitions) -> partition",
            ),
            (
                not (hasattr(self.value, "encode_batch") and hasattr(self.key_format or self.value, "encode_batch")),
                "value and key_format must be formats",
                "e.g. value=Json(): an object, not a class",
            ),
            (
                not 0 < self.transaction_timeout_seconds * 1000 <= _LONGEST_MS or self.delivery_timeout_seconds <= 0,
                "a time-out is out of range",
                "transaction_timeout_seconds is at most 2147483 s, and both are more than 0",
            ),
            (
                self.linger_seconds < 0 or (self.max_record_bytes is not None and self.max_record_bytes <= 0),
                "linger_seconds must not be negative, and max_record_bytes must be more than 0",
                "leave them out for the defaults",
            ),
        ):
            if is_wrong:
                raise ConfigError(f"{where}: {problem}", remedy=remedy)
        if not callable(self.headers):
            try:
                listed(self.headers)
            except EncodeError as error:
                raise ConfigError(f"{where}: {error.message}", remedy=error.remedy) from error
