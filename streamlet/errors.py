"""Every exception of the engine. Each says what happened, where, and what to do.

```text
StreamletError            retriable unless said otherwise
+- FinalError             restarting cannot help: the job suspends at once
|  +- JobDefinitionError  the job file, its graph or its options are wrong
|  +- ConfigError         an option or setting is wrong
|  +- StateDirectoryError the state directory is held, damaged, or not ours
|  |  +- JobLockedError
|  |  +- AttemptSupersededError   another process took over
|  +- CheckpointError     a checkpoint cannot be used
|  |  +- CheckpointDamagedError
|  +- OutputLostError     prepared output is not what it must be: aborted, gone, or not to be told
|  +- RecordError         a record that cannot be read, written or keyed
|  |  +- DecodeError
|  |  +- EncodeError
|  |  +- KeyTypeError    a key is not of the one type of its keyed stream
|  |  +- ExchangeError   a record cannot go to another process
|  +- StateTypeError      a state's type does not fit
+- UserFunctionError      a function of the job raised
+- FunctionBlockedError   raised into a function of the job that blocks
+- SourceError            reading failed
+- SinkError              writing failed
+- CheckpointFailedError  a checkpoint was abandoned, or none completed for too long
+- DiskFullError          no space left where state is kept
+- WorkerDiedError        a process that hosts a part of the job has ended
+- DiskFailedError       the disk failed under a checkpoint, or what is written cannot be read; the attempt ends
+- CheckpointUndecidedError  the attempt ends without knowing whether a checkpoint is durable
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlet.elements import Batch


class StreamletError(Exception):
    """An error of streamlet: `message` says what and where, `remedy` what to do about it.

    >>> try:
    ...     Job("spend", parallelism=0)
    ... except StreamletError as error:
    ...     print(error.remedy)
    give a whole number from 1
    """

    final = False
    """True when another attempt would meet the same error."""
    is_outage = False
    """True when something outside did not answer: a job that has run waits for it, however long."""
    is_placed = False
    """True when the message begins with the user's line."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message if remedy is None else f"{message}\n  -> {remedy}")
        self.message = message
        self.remedy = remedy

    def at(self, line: str, what: str = "") -> None:
        """Puts the user's line, and what was made there, before the message, unless it begins with one."""
        if not self.is_placed:
            self.is_placed = True
            self.message = f"{line}: {what}: {self.message}" if what else f"{line}: {self.message}"
            self.args = (self.message if self.remedy is None else f"{self.message}\n  -> {self.remedy}",)


class FinalError(StreamletError):
    """Another attempt would meet the same: the job suspends at once and keeps its last checkpoint."""

    final = True


class JobDefinitionError(FinalError):
    """The job file, its graph or an operator's options are wrong."""


class ConfigError(FinalError):
    """An option or a setting is wrong."""


class StateDirectoryError(FinalError):
    """The state directory cannot be used as it is."""


class JobLockedError(StateDirectoryError):
    """Another process runs this job on this state directory."""


class AttemptSupersededError(StateDirectoryError):
    """Another process took the job over: this one may decide nothing any more."""


class CheckpointError(FinalError):
    """A checkpoint cannot be restored as asked."""


class CheckpointDamagedError(CheckpointError):
    """A file of a checkpoint is missing or is not what was written."""


class OutputLostError(FinalError):
    """Prepared output was aborted by the outside or is gone with what it was written to, or what became of it cannot be
    told; or what was to be aborted is committed."""


class RecordError(FinalError):
    """A record that cannot be processed as the job stands: the same again after a restart."""


class DecodeError(RecordError):
    """Bytes that are not what the format says. `index` is the place in the list that was decoded."""

    def __init__(self, message: str, *, index: int = 0, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.index = index


class EncodeError(RecordError):
    """A value that the format cannot write. `index` is the place in the list that was encoded.

    Raised by a sink's `write` it says that this record of the batch cannot be written, and that the first `written`
    ones, and no others, have been taken.
    """

    def __init__(self, message: str, *, index: int = 0, remedy: str | None = None, written: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.index = index
        self.written = written


class ExchangeError(RecordError):
    """A record that cannot go from one process of the job to another and be the same there."""


class StateTypeError(FinalError):
    """A value, key or restored state is not of the declared type."""


class StateRefusedError(FinalError):
    """What a checkpoint holds does not fit the job as it is now, and how it would is not said."""


class UserFunctionError(StreamletError):
    """A function of the job raised: names the user's line, the operator and the record."""

    is_placed = True

    def __init__(
        self,
        message: str,
        *,
        place: str,
        remedy: str | None = None,
        line: str = "",
        batch: Batch[Any] | None = None,
        row: int = 0,
    ) -> None:
        """`line` is where it raised, for the record in row `row` of `batch`, where there is one."""
        super().__init__(message, remedy=remedy)
        self.place = place
        self.line = line
        self.batch = batch
        self.row = row


class FunctionBlockedError(StreamletError):
    """A function of the job was interrupted because it held the event loop for too long."""


class SourceError(StreamletError):
    """Reading failed."""


class SinkError(StreamletError):
    """Writing failed."""


class CheckpointFailedError(StreamletError):
    """No checkpoint completed for too long."""


class DiskFullError(StreamletError):
    """There is no space left where state is kept."""

    is_outage = True


class WorkerDiedError(StreamletError):
    """A process that hosts a part of the job has ended, or has said what makes no sense."""


class DiskFailedError(StreamletError):
    """The disk failed where checkpoints are decided, or does not give back what checkpoints are made of: the attempt
    ends, and the next one starts from what is there.

    After a failed fsync a second one may succeed though the data is gone, so nothing from this attempt is believed.
    """


class CheckpointUndecidedError(StreamletError):
    """Whether a checkpoint is durable cannot be known: the attempt ends, and the restart finds out."""


class KeyTypeError(RecordError):
    """A key is not of the one type of its keyed stream. `index` is the row of the first such key."""

    def __init__(self, message: str, *, index: int = 0, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.index = index
