"""Where in the user's program something was said, and errors of user functions that point there first."""

from __future__ import annotations

import contextlib
import linecache
from collections.abc import Iterator
from typing import Any

import msgspec

from streamlet.elements import Batch
from streamlet.errors import SinkError, SourceError, StreamletError, UserFunctionError
from streamlet.operators.user_code.raised import ENDING, ENDS, causes_of, exit_error, missing_method, shown_of, spot_of

_MEND = "mend the function"
_REMEDY = f'{_MEND}; on_error="skip" leaves out records for which it fails, on_error=OutputTag(...) puts them aside'


_CONNECTOR = "mend the connector: what it raises is tried again; a FinalError(..., remedy=...) stops the job at once"
_NO_VALUE = (
    "the record is None: see that the step before gives its result (dict.update, list.append, list.sort give None)"
)


class Place(msgspec.Struct, frozen=True):
    """One line of the job file and the operator that it made."""

    file: str
    line: int
    kind: str
    uid: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def operator(self) -> str:
        """The operator, for messages."""
        return f"{self.kind} {self.uid!r}"


def function_error(
    error: BaseException,
    place: Place,
    batch: Batch[Any] | None = None,
    row: int = 0,
    *,
    subtask: int = 0,
    show_record: bool = False,
) -> UserFunctionError:
    """Makes the error of a user function: its line first, then operator and record."""
    spot, text = spot_of(error) or (str(place), linecache.getline(place.file, place.line).strip())
    words = (missing_method(error) or shown_of(error)).removeprefix(f"{spot.partition(' in ')[0]}: ")
    lines = [f"{spot}: {type(error).__name__}" + (f": {words}" if words else "")]
    if text:
        lines.append(f"    {text}")
    lines.extend(causes_of(error))
    lines.append(f"  in {place.operator}, subtask {subtask}, made at {place}")
    if batch is not None:
        lines.append(f"  record: {describe_record(batch, row)}")
        if show_record:
            lines.append(f"  value: {batch.values[row]!r:.2000}")
    identity = f"{place.uid}|{spot}|{_identity(batch, row)}"
    # Errors of the engine have remedies of their own; without a record there is none to leave out.
    remedy = None if isinstance(error, StreamletError) and error.remedy else _REMEDY if batch is not None else _MEND
    if remedy is _REMEDY and batch is not None and batch.values[row] is None and "NoneType" in words:
        remedy = f"{_NO_VALUE}; else {_REMEDY}"
    if isinstance(error, ENDS):
        remedy = ENDING
    made = UserFunctionError("\n".join(lines), place=identity, line=spot, remedy=remedy, batch=batch, row=row)
    made.__cause__ = error  # also where nobody says so by `from`: dead letters tell of it
    made.final = isinstance(error, ENDS) or (isinstance(error, StreamletError) and error.final)
    return made


@contextlib.contextmanager
def connector_at(place: Place) -> Iterator[None]:
    """Around a call of a source or sink: its error begins with the line that made it.  What is no error of the engine
    is one of the connector's code, and is named by that code's own line."""
    try:
        yield
    except StreamletError as error:
        error.at(str(place), place.operator)
        raise
    except ENDS as error:
        raise exit_error(error, f"{place.operator}, made at {place}") from error
    except Exception as error:
        spot, text = spot_of(error) or (str(place), "")
        lines = [f"{spot}: {type(error).__name__}: {shown_of(error)}", *([f"    {text}"] if text else [])]
        lines += [*causes_of(error), f"  in {place.operator}, made at {place}"]
        made = (SourceError if place.kind == "source" else SinkError)("\n".join(lines), remedy=_CONNECTOR)
        made.is_placed = True
        raise made from error


def describe_record(batch: Batch[Any], row: int) -> str:
    """Names a record without showing it: its origin where known, else its key and time."""
    origin = batch.describe_row(row)
    if origin is not None:
        return origin
    parts = []
    if batch.keys is not None:
        key = batch.keys[row]
        parts.append(f"key {getattr(key, 'key', key)!r}")
    if batch.timestamps is not None:
        parts.append(f"time {batch.timestamps[row]} ms")
    where = ", ".join(parts) or "unknown"
    return f"{where} (origin not known behind a shuffle; Job(trace_origins=True) tells it)"


def _identity(batch: Batch[Any] | None, row: int) -> str:
    """Tells whether it is the same record again; where its origin is not known, by what it holds (never shown)."""
    if batch is None:
        return ""
    origin = batch.describe_row(row)
    if origin is not None:
        return origin
    try:
        content = hash(repr(batch.values[row]))
    except Exception:
        return f"nothing is known of it {id(batch)}"
    return f"{describe_record(batch, row)} {content}"
