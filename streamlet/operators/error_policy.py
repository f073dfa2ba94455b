"""Error policies: what becomes of a record for which a user's function raises, where that is not the job's end.

An operator whose functions see no state leaves out by itself what fails, before that has changed anything.  For others
the whole batch is tried at once, as ever: when a record of it fails, what the batch did to state and timers is undone,
what it put out is dropped, and the records before and behind the bad one are run again without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import msgspec

from streamlet.elements import Batch, OutputTag
from streamlet.errors import FunctionBlockedError, JobDefinitionError, StreamletError, UserFunctionError
from streamlet.operators.operator import Emit, Operator, OperatorContext
from streamlet.operators.user_code.place import Place
from streamlet.operators.user_code.raised import ENDS
from streamlet.state.descriptor import Descriptor
from streamlet.state.memory.undo import UndoLog, undoable
from streamlet.tally import Kind

log = logging.getLogger("streamlet.operators")

_NOT_THE_RECORDS_FAULT = (FunctionBlockedError, JobDefinitionError, MemoryError, *ENDS)


class DeadLetter(msgspec.Struct, frozen=True):
    """A record for which a function of the job raised, and why.

    >>> dead = OutputTag[DeadLetter]("dead")
    >>> letters = numbers.map(lambda n: 1 // (n - 4), on_error=dead).side_output(dead)
    >>> [(letter.value, letter.error, letter.message) for letter in emitted(letters)]
    [(4, 'ZeroDivisionError', 'integer division or modulo by zero')]
    """

    value: Any
    """The record as it came to the operator."""
    uid: str
    operator: str
    """The kind of the operator: `map`, `aggregate`, ..."""
    line: str
    """The user's line that raised: file, line and function."""
    error: str
    """The class of the exception."""
    message: str
    """Its text."""
    key: Any = None
    timestamp: int | None = None
    """Event time, epoch ms."""
    origin: str | None = None
    """Where the source read the record; None behind a shuffle, without `trace_origins`."""

    def in_any_case(self) -> DeadLetter:
        """Gives it with record and key as text: for a format that cannot write them, which may be why it is dead."""
        message = self.message.encode(errors="backslashreplace").decode()
        key = None if self.key is None else _text_of(self.key)
        return msgspec.structs.replace(self, value=_text_of(self.value), key=key, message=message)


def _text_of(value: Any) -> str:
    try:
        return repr(value).encode(errors="backslashreplace").decode()
    except Exception:
        return f"<{type(value).__name__}, which has no text>"


def letter_of(error: StreamletError, place: Place, batch: Batch[Any], row: int) -> Batch[DeadLetter]:
    """The dead letter of a row, as what is put out under a tag."""
    key = batch.keys[row] if batch.keys is not None else None
    cause = error.__cause__ or error
    letter = DeadLetter(
        batch.values[row],
        place.uid,
        place.kind,
        getattr(error, "line", "") or str(place),
        type(cause).__name__,
        str(cause),
        getattr(key, "key", key),
        batch.timestamps[row] if batch.timestamps is not None else None,
        batch.describe_row(row),
    )
    bad = batch.part(row, row + 1)
    return Batch([letter], bad.timestamps, origin=bad.origin, rows=bad.rows)


def is_the_records_fault(error: StreamletError) -> bool:
    """True where an error is about the record in hand: a policy may leave that out."""
    return not isinstance(error.__cause__ or error, _NOT_THE_RECORDS_FAULT)


class LeavingOut(Operator):
    """Runs another operator, and takes what that leaves out by `context.leave_out`.

    It is put out under a tag as `DeadLetter`s, or dropped and counted.  What is in the state is the other's.
    """

    def __init__(self, inner: Operator, tag: OutputTag[DeadLetter] | None) -> None:
        self.inner = inner
        self.tag = tag
        self.uses_time = inner.uses_time
        self._has_told = False

    @property
    def side_outputs(self) -> Collection[OutputTag[Any]]:
        own = () if self.tag is None else (self.tag,)
        return (*self.inner.side_outputs, *own)

    def declared_states(self) -> Mapping[str, Descriptor]:
        return self.inner.declared_states()

    def open(self, context: OperatorContext) -> None:
        super().open(context)
        inside = msgspec.structs.replace(
            context, side=self._side, leave_out=self.leave_out, count=self._count, pause=None
        )
        self.inner.open(inside)

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self.inner.process(batch, out)

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        self.inner.process_input(index, batch, out)

    def on_watermark(self, timestamp: int, out: Emit) -> bool | None:
        return self.inner.on_watermark(timestamp, out)

    def held_watermark(self) -> int | None:
        return self.inner.held_watermark()

    def has_room(self) -> bool:
        return self.inner.has_room()

    def next_clock_ms(self) -> int | None:
        return self.inner.next_clock_ms()

    def on_clock(self, now_ms: int, out: Emit) -> None:
        self.inner.on_clock(now_ms, out)

    def on_end(self, out: Emit) -> None:
        self.inner.on_end(out)

    def snapshot(self) -> Any:
        return self.inner.snapshot()

    def restore(self, snapshots: list[Any]) -> None:
        self.inner.restore(snapshots)

    def close(self) -> None:
        self.inner.close()

    def _side(self, tag: OutputTag[Any], batch: Batch[Any]) -> None:
        self.context.side(tag, batch)

    def _count(self, kind: Kind, number: int) -> None:
        self.context.count(kind, number)

    def leave_out(self, error: UserFunctionError, is_told: bool = True) -> None:
        batch, row, place = error.batch, error.row, self.context.place
        if batch is None or not is_the_records_fault(error):
            raise error
        if not is_told:
            return
        if self.tag is None:
            if not self._has_told:
                self._has_told = True
                log.warning("%s\n  -> left out, as will be others without a word (on_error='skip')", error.message)
            self._count("left out", 1)
            return
        self._side(self.tag, letter_of(error, place, batch, row))
        self._count("dead letters", 1)


class WithErrorPolicy(LeavingOut):
    """Undoes what a batch did in which a record fails, and leaves out that record alone.

    A function may be called again for the other records of the batch.
    """

    def __init__(self, inner: Operator, tag: OutputTag[DeadLetter] | None) -> None:
        super().__init__(inner, tag)
        self._undo_log: UndoLog | None = None
        self._gathered: list[tuple[OutputTag[Any] | None, Batch[Any]]] = []
        self._counted: list[tuple[Kind, int]] = []
        self._is_gathering = False

    def open(self, context: OperatorContext) -> None:
        if context.store is None:
            super().open(context)
        else:
            with undoable(context.store) as self._undo_log:
                super().open(msgspec.structs.replace(context, undo_log=self._undo_log))

    def process(self, batch: Batch[Any], out: Emit) -> None:
        self._take(self.inner.process, batch, out)

    def process_input(self, index: int, batch: Batch[Any], out: Emit) -> None:
        self._take(partial(self.inner.process_input, index), batch, out)

    def _take(self, process: Callable[[Batch[Any], Emit], None], batch: Batch[Any], out: Emit) -> None:
        """Runs a batch piece by piece: at first it is one piece, and each bad record cuts its piece in two."""
        pieces: list[Batch[Any] | UserFunctionError] = [batch]
        while pieces:
            piece = pieces.pop()
            if isinstance(piece, UserFunctionError):
                self.leave_out(piece)
                continue
            error = self._try(process, piece)
            if error is None:
                self._deliver(out)
                continue
            row = error.row
            if row + 1 < len(piece):
                pieces.append(piece.part(row + 1, len(piece)))
            pieces.append(error)
            if row:
                pieces.append(piece.part(0, row))

    def _try(self, process: Callable[[Batch[Any], Emit], None], piece: Batch[Any]) -> UserFunctionError | None:
        """Runs a piece; gives the error of a record of it, with nothing left of what the piece did."""
        undo_log = self._undo_log
        if undo_log is not None:
            self.inner.drop_caches()
            undo_log.open()
        self._is_gathering = True
        try:
            process(piece, self._gather)
        except UserFunctionError as error:
            if error.batch is not piece or isinstance(error.__cause__, _NOT_THE_RECORDS_FAULT):
                raise
            if undo_log is not None:
                undo_log.undo()
                self.inner.drop_caches()
            self._gathered.clear()
            self._counted.clear()
            return error
        finally:
            self._is_gathering = False
        if undo_log is not None:
            undo_log.close()
        return None

    def _deliver(self, out: Emit) -> None:
        counted, self._counted = self._counted, []
        for kind, number in counted:
            self.context.count(kind, number)
        gathered, self._gathered = self._gathered, []
        for tag, batch in gathered:
            if tag is None:
                out(batch)
            else:
                self.context.side(tag, batch)

    def _gather(self, batch: Batch[Any]) -> None:
        self._gathered.append((None, batch))

    def _side(self, tag: OutputTag[Any], batch: Batch[Any]) -> None:
        if self._is_gathering:
            self._gathered.append((tag, batch))
        else:
            self.context.side(tag, batch)

    def _count(self, kind: Kind, number: int) -> None:
        if self._is_gathering:
            self._counted.append((kind, number))
        else:
            self.context.count(kind, number)


def with_error_policy(inner: Operator, tag: OutputTag[DeadLetter] | None) -> LeavingOut:
    """The operator under a policy that leaves records out: under a tag, or without a word."""
    return LeavingOut(inner, tag) if inner.leaves_out else WithErrorPolicy(inner, tag)
