"""Errors of workers as data: the parent restarts, suspends and shows as if they had happened in it."""

from __future__ import annotations

from streamlet import errors
from streamlet.errors import StreamletError, UserFunctionError, WorkerDiedError
from streamlet.outages import is_outage
from streamlet.runtime.job.supervisor import describe, first_error, is_final
from streamlet.runtime.processes.messages import Failed


def failure_of(group: BaseException) -> Failed:
    """Puts what made a worker fail into data."""
    error = first_error(group)
    if not isinstance(error, StreamletError):
        return Failed(StreamletError.__name__, describe(error), None, False, is_outage(error), None)
    kind = next(one.__name__ for one in type(error).__mro__ if one.__module__ == errors.__name__)
    place = error.place if isinstance(error, UserFunctionError) else None
    return Failed(kind, error.message, error.remedy, is_final(error), is_outage(error), place)


def error_of(failure: Failed) -> StreamletError:
    """Gives the error that the failure of a worker is for the job."""
    kind = getattr(errors, failure.kind, StreamletError)
    if failure.place is not None:
        error: StreamletError = UserFunctionError(failure.message, place=failure.place, remedy=failure.remedy)
    else:
        error = kind(failure.message, remedy=failure.remedy)
    error.final = failure.is_final
    error.is_outage = failure.is_outage
    return error


def death(number: int, pid: int, code: int | None) -> WorkerDiedError:
    """Gives the error of a worker that ended without a word."""
    if code is None:
        how = "has closed its connection"
    else:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return WorkerDiedError(
        f"worker {number} (process {pid}) {how}",
        remedy="what it wrote to stderr may say why; a kernel that is short of memory kills without a word",
    )
