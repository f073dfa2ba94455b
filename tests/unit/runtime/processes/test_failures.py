"""Errors of workers: restarted, suspended and shown as if they had happened in the parent."""

from __future__ import annotations

import errno
import os

import pytest

from streamlet.errors import (
    CheckpointFailedError,
    DiskFullError,
    OutputLostError,
    SinkError,
    SourceError,
    StateDirectoryError,
    StreamletError,
    UserFunctionError,
)
from streamlet.outages import is_outage
from streamlet.runtime.job.supervisor import describe, is_final
from streamlet.runtime.processes.failures import error_of, failure_of
from streamlet.runtime.processes.messages import Failed, encoded, from_worker_of


def caused(error: StreamletError, number: int) -> StreamletError:
    error.__cause__ = OSError(number, os.strerror(number))
    return error


def marked(error: StreamletError, **facts: bool) -> StreamletError:
    vars(error).update(facts)
    return error


class OfAConnector(SourceError):
    is_outage = True


ERRORS: list[BaseException] = [
    OutputLostError("gone", remedy="look"),
    DiskFullError("full"),
    OfAConnector("away"),
    marked(SinkError("never", remedy="mend"), final=True),
    marked(CheckpointFailedError("stalled"), is_outage=True),
    caused(SinkError("no space"), errno.ENOSPC),
    caused(StateDirectoryError("once"), errno.EIO),
    caused(StateDirectoryError("forbidden"), errno.EACCES),
    UserFunctionError("job.py:3 in f: ValueError: x", place="f|3", remedy="mend it"),
    marked(UserFunctionError("job.py:3 in f: SystemExit: 3", place="f|3"), final=True),
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("of the engine"),
    ExceptionGroup("both", [ValueError("other"), DiskFullError("full")]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_an_error_of_a_worker_is_what_it_was_there(error: BaseException) -> None:
    there = error.exceptions[1] if isinstance(error, ExceptionGroup) else error
    message = from_worker_of(encoded(failure_of(error)))
    assert isinstance(message, Failed)
    here = error_of(message)
    assert is_final(here) == is_final(there)
    assert is_outage(here) == is_outage(there)
    assert describe(here) == describe(there)
    assert getattr(here, "place", None) == getattr(there, "place", None)
    if isinstance(there, StreamletError):
        assert isinstance(there, type(here))
