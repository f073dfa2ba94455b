"""What the parent of a job and its workers say to each other, beside what coordinator and subtasks do."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from streamlet.checkpoint.messages import ToCoordinator, ToSubtask
from streamlet.config import JobConfig
from streamlet.elements import Position
from streamlet.errors import JobDefinitionError, WorkerDiedError
from streamlet.observe.facts import WorkFacts
from streamlet.state.evolution.findings import Allowed

T = TypeVar("T")

VERSION = 1
"""Of everything that is said over links. A release that says anything else has another one."""


class JobFile(msgspec.Struct, frozen=True):
    """What a worker needs to have the same job: the first frame that it gets."""

    target: str
    """`job.py` or `job.py:name`, absolute."""
    arguments: list[str]
    config: JobConfig
    processes: int
    here: int
    """The worker's number, from 0."""
    plan: str
    """The plan as text: the worker's own must be the same."""
    version: int = VERSION


class Build(msgspec.Struct, frozen=True, tag=True):
    """To a worker: open state and wire everything."""

    instance: str
    attempt: int
    manifest: bytes | None
    positions: dict[str, dict[str, Position]]
    allowed: Allowed = Allowed()


class Begin(msgspec.Struct, frozen=True, tag=True):
    """To a worker: all workers are built, so run."""


class Tell(msgspec.Struct, frozen=True, tag=True):
    """To a worker: a message for one of its subtasks."""

    task: str
    subtask: int
    message: ToSubtask


class Pinned(msgspec.Struct, frozen=True, tag=True):
    """To a worker: what `Pin` asked for is done."""

    number: int


class Hold(msgspec.Struct, frozen=True, tag=True):
    """To a worker: some other worker's memory is full, or none is any more."""

    is_on: bool


class Finish(msgspec.Struct, frozen=True, tag=True):
    """To a worker: close everything and end."""


class Built(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it is ready to begin."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a worker: why it ends."""

    kind: str
    """The nearest class of the engine's errors."""
    message: str
    remedy: str | None
    is_final: bool
    is_outage: bool
    place: str | None
    """Of an error in a function of the job: where, and at which record."""


class Said(msgspec.Struct, frozen=True, tag=True):
    """From a worker: a line of its log."""

    logger: str
    level: int
    text: str


class Pin(msgspec.Struct, frozen=True, tag=True):
    """From a worker: a file of this name is kept for a store from here on; answered by `Pinned`."""

    number: int
    name: str
    owner: str


class Pressure(msgspec.Struct, frozen=True, tag=True):
    """From a worker: its memory is full of what only a checkpoint can free, or is no more."""

    is_on: bool


class Away(msgspec.Struct, frozen=True, tag=True):
    """From a worker: something outside does not answer."""

    what: str
    reason: str


class Back(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it answers again, or is not asked any more."""

    what: str
    over: str | None = None
    """Why it is not waited for any more, for people; None: it answered."""


class _Versioned(msgspec.Struct):
    """What can be read of a job file of any version."""

    version: int


ToWorker = Build | Begin | Tell | Pinned | Hold | Finish
FromWorker = ToCoordinator | Built | Failed | Said | Pin | Pressure | WorkFacts | Away | Back

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_job_file = msgspec.msgpack.Decoder(JobFile)
_said_version = msgspec.msgpack.Decoder(_Versioned)


def encoded(message: Any) -> bytes:
    """Packs any of these messages."""
    return _encoder.encode(message)


def job_file_of(data: bytes) -> JobFile:
    """Gives the first frame of a worker; like the others it raises `WorkerDiedError` for bytes that are none, and
    `JobDefinitionError` when the process that sends it is of another release."""
    if (version := _decoded(_said_version, data).version) != VERSION:
        raise JobDefinitionError(
            f"this worker speaks version {VERSION} to other processes of the job, the one that started it version "
            f"{version}: streamlet was replaced while the job ran",
            remedy="stop the job and start it again; nothing is lost",
        )
    return _decoded(_job_file, data)


def to_worker_of(data: bytes) -> ToWorker:
    """Gives a message to a worker."""
    return _decoded(_to_worker, data)


def from_worker_of(data: bytes) -> FromWorker:
    """Gives a message from a worker."""
    return _decoded(_from_worker, data)


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WorkerDiedError(
            f"another process of the job has sent {len(data)} bytes that are no message: {error}"
        ) from error
