"""What can go wrong on the way to Kafka; everything else is one of `streamlet`'s own errors.

```text
StreamletError
+- TransportError            no answer: the request may have been done or not. Met inside, retried, then one of these
|  +- NotSentError           it has not even left
+- BrokersUnreachableError   no broker answered in time
+- SinkError
|  +- NotAnsweredError       a write or commit was tried again for as long as it may be
+- TopicMissingError         the topic does not exist while the job runs, or has no leader, for too long
+- BrokerAnswerError         an answer that nobody expects
+- FinalError
   +- BrokerTooOldError
   +- AccessDeniedError
   +- ProtocolMismatchError  TLS, SASL or plain text on a port that speaks another one
   +- TopicUnknownError      the topic is not there at the start
   +- RecordsDamagedError    the source's: what it is to read from is damaged, not the same, or gone
   +- TopicReplacedError
   +- TopicGoneError
   +- OffsetGoneError
```
"""

from __future__ import annotations

from streamlet.connect import FinalError, SinkError, StreamletError
from streamlet_connectors.kafka.protocol.codes import code_name


class TransportError(StreamletError):
    """A request got no answer: it may have been done or not."""

    is_outage = True


class NotSentError(TransportError):
    """A request was not sent, as there is no connection: it was not done, and never will be."""


class BrokersUnreachableError(StreamletError):
    """No broker could be reached in time."""

    is_outage = True


class NotAnsweredError(SinkError):
    """What the sink asked for was tried again until its time was over."""

    is_outage = True


class TopicMissingError(StreamletError):
    """A topic does not exist, or a partition has had no leader for too long."""


class BrokerAnswerError(StreamletError):
    """A broker answered with a code that has no better error here."""

    def __init__(self, what: str, code: int, *, remedy: str | None = None) -> None:
        super().__init__(f"{what}: the broker answered {code_name(code)}", remedy=remedy)
        self.code = code


class BrokerTooOldError(FinalError):
    """The broker does not speak the version of an API that is needed."""

    def __init__(self, api: str, version: int, lowest: int, highest: int) -> None:
        spoken = f"speaks {lowest} to {highest}" if highest >= lowest else "does not know it"
        super().__init__(
            f"{api} version {version} is needed, but the broker {spoken}",
            remedy="use Apache Kafka 3.1 or newer",
        )


class AccessDeniedError(FinalError):
    """The broker does not allow this user what is needed."""


class ProtocolMismatchError(FinalError):
    """The port speaks TLS or wants SASL and the client does not, or the other way round."""


class TopicUnknownError(FinalError):
    """A topic that the job names does not exist at its start."""


class CorruptRecordsError(StreamletError):
    """Record batches that cannot be read. Met inside; fetched once more, then it is the source's error."""

    def __init__(self, offset: int | None, reason: str) -> None:
        where = "somewhere" if offset is None else f"in the batch at offset {offset}"
        super().__init__(f"damaged records {where}: {reason}")


class RecordsDamagedError(FinalError):
    """Records of a partition cannot be read, also when they are fetched again."""


class TopicReplacedError(FinalError):
    """A topic was deleted and created again: the positions that are held belong to the old one."""


class TopicGoneError(FinalError):
    """A topic or partition that is to be read has not been there for too long."""


class OffsetGoneError(FinalError):
    """A partition does not hold the position that is to be read from: records are lost, or it is not the same log."""
