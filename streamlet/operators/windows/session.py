"""Session windows: what a key's records made, session by session.

What is in the state: per key one small tuple of sessions in the order of time - start, end, records since it was put
out, and what its records made - and about one timer per session.  A session closes at its end plus allowed lateness:
what its records made is freed then.  Its bounds stay for as long as a record could still come that is not late by its
own time and lies within them (one gap more): such a record belonged to the closed session, so it is late, and does not
begin another one that overlaps with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

from streamlet.elements import MAX_TIMESTAMP, Batch
from streamlet.errors import JobDefinitionError, UserFunctionError
from streamlet.operators.operator import Emit
from streamlet.operators.user_code.raised import RAISED
from streamlet.operators.windows.assigners import SessionWindows, Window, bounded
from streamlet.operators.windows.contents import Contents
from streamlet.operators.windows.operator import WindowOperator, WindowPolicy, keeps
from streamlet.operators.windows.triggers import AtEnd, EveryDuration, TriggerContext
from streamlet.state.evolution.schema import INT, NONE, Choice, Items, Row, Schema
from streamlet.state.memory.cells import ABSENT, Slot
from streamlet.state.memory.timers import Due


class Session(NamedTuple):
    """One session of a key."""

    start: int
    end: int
    new: int
    """Records since it was put out."""
    kept: Any
    """None when it was put out and discarded, or is closed."""


Fired = list[tuple[Slot, Window, Any]]

_EARLY = b"e"
"""The namespace of timers that put sessions out early."""


class Sessions(WindowOperator):
    """Takes each record into the session it belongs to, which may join others."""

    kept = "sessions"

    def __init__(self, policy: WindowPolicy, contents: Contents) -> None:
        super().__init__(policy, contents)
        assert isinstance(policy.assigner, SessionWindows)
        self.assigner = policy.assigner
        self.trigger = None if type(policy.trigger) is AtEnd else policy.trigger
        self.every = policy.trigger if isinstance(policy.trigger, EveryDuration) else None
        if self.every is None and not policy.trigger.counts_only:
            raise JobDefinitionError(
                f"{type(policy.trigger).__name__} cannot be a trigger of sessions, which join each other",
                remedy="use EveryRecords(n), EveryDuration(...), AtEndOfInput(), or one of your own with "
                "counts_only = True that looks at ctx.count alone",
            )
        if self.is_by_clock and policy.trigger.uses_event_time:
            raise JobDefinitionError(
                f"{type(policy.trigger).__name__} by event time cannot be a trigger of windows by processing time",
                remedy='give it time="processing"',
            )
        if contents.merge is None:
            raise JobDefinitionError(
                "sessions merge accumulators when a record joins two of them, and a function has no merge",
                remedy=contents.merge_remedy,
            )
        self.merge = contents.merge

    @property
    def may_use_clock(self) -> bool:
        return self.every is not None and self.every.time == "processing" and not self.is_by_clock

    def kept_type(self) -> Any:
        return tuple[tuple[int, int, int, Optional[keeps(self.contents)]], ...]  # type: ignore[misc]  # noqa: UP045

    def kept_schema(self, kept: Schema) -> Schema:
        return Items("tuple", Row((INT, INT, INT, Choice((kept, NONE)))))

    def take(self, batch: Batch[Any], times: Sequence[int], out: Emit) -> None:
        gap_ms, gap_after = self.assigner.gap_ms, self.assigner.gap_after
        late: list[int] = []
        fired: Fired = []
        row = 0
        inputs = self.contents.inputs(batch)
        goes_on = self._way_to_go_on()
        try:
            for row, (slot, time, value) in enumerate(zip(batch.keys or (), times, inputs, strict=False)):
                gap = gap_ms or gap_after(batch.values[row])
                if goes_on is not None and goes_on(slot, time, time + gap, value):
                    continue
                if not self._take_one(slot, bounded(time, time + gap), value, batch.values[row], fired):
                    late.append(row)
                elif fired:
                    # At once: what is discarded may be begun anew by the next record.
                    self._put_out(fired, out)
                    fired = []
        except UserFunctionError:
            raise
        except RAISED as error:
            raise self.failure(error, batch, row) from error
        if late:
            self.put_late(batch, late)

    def _way_to_go_on(self) -> Callable[[Slot, int, int, Any], bool] | None:
        """What takes a record into the one open session of its key, where that is all: mostly it is.  It gives False
        where there is more to do, and is None where it cannot be used."""
        contents, cells, progress = self.contents, self.cells, self.progress
        fold, change, cell_of = contents.fold, cells.change, cells.cell
        if fold is None or cells.holds_bytes or not contents.is_trusted or self.trigger is not None:
            return None

        def goes_on(slot: Slot, time: int, own_end: int, taken: Any) -> bool:
            cell = cell_of(slot)
            known = cell.value
            if type(known) is not tuple or len(known) != 1:
                return False
            start, end, new, kept = known[0]
            last = own_end if own_end > end else end
            if not new or time >= end or own_end <= start or last - 1 <= progress or last > MAX_TIMESTAMP:
                return False
            change(cell, ((time if time < start else start, last, new + 1, fold(kept, taken)),))
            return True

        return goes_on

    def _take_one(self, slot: Slot, own: Window, taken: Any, value: Any, fired: Fired) -> bool:
        """False when the record is late."""
        known = self.value_of(self.cells.cell(slot))
        sessions: list[Any] = [] if known is ABSENT else [Session(*one) for one in known]
        joined = [one for one in sessions if one.start < own.end and own.start < one.end]
        progress = self.progress
        if not joined and self._close_at(own.start, own.end) <= progress:
            return False
        if any(self._close_at(one.start, one.end) <= progress for one in joined):
            return False
        session = self._join(slot, own, joined, taken)
        final = self._final(session.start, session.end)
        if final > progress and (not joined or not all(one.new for one in joined)):
            # Others have a timer, which follows them.
            self.timers.set(slot, final)
        if self.every is not None and session.new == 1 and final > progress:
            self._set_early(slot, own.start, self.every)
        if final <= progress or self._is_triggered(session, own, value):
            fired.append((slot, Window(session.start, session.end), session.kept))
            session = self._emptied(session)
            if final <= progress:
                self.timers.set(slot, self._close_at(session.start, session.end))
        self._keep(slot, sorted([*(one for one in sessions if one not in joined), session], key=_start))
        return True

    def _join(self, slot: Slot, own: Window, joined: list[Session], taken: Any) -> Session:
        contents = self.contents
        filled = [one.kept for one in joined if one.new or self.policy.is_accumulating]
        if filled:
            kept = filled[0]
            for other in filled[1:]:
                kept = self.merge(kept, other)
            kept = contents.add(slot, kept, taken)
        else:
            kept = contents.first(slot, own.namespace[:8], taken)
        return Session(
            min([own.start, *(one.start for one in joined)]),
            max([own.end, *(one.end for one in joined)]),
            1 + sum(one.new for one in joined),
            kept,
        )

    def fire(self, slots: Sequence[Slot], due: Sequence[Due], until: int, out: Emit) -> None:
        early = {slot: one.time for slot, one in zip(slots, due, strict=True) if one.namespace == _EARLY}
        fired: Fired = []
        freed: list[tuple[Slot, Any]] = []
        for slot in dict.fromkeys(slots):
            known = self.value_of(self.cells.cell(slot))
            if known is ABSENT:
                continue
            left = []
            for session in map(Session._make, known):
                final = self._final(session.start, session.end)
                closes = self.close_after(final)
                is_due = final <= until or (slot in early and session.start <= early[slot])
                if is_due and session.new:
                    fired.append((slot, Window(session.start, session.end), session.kept))
                    session = self._emptied(session)
                if closes <= until and session.kept is not None:
                    freed.append((slot, session.kept))
                    session = session._replace(kept=None)
                forgotten = self._forgotten_at(session, closes)
                if forgotten > until:
                    self.timers.set(slot, final if final > until else closes if closes > until else forgotten)
                    left.append(session)
            self._keep(slot, left)
        self._put_out(fired, out)
        for slot, kept in freed:
            self.contents.free(slot, kept)

    def fire_by_clock(self, slots: Sequence[Slot], due: Sequence[Due], out: Emit) -> None:
        fired: Fired = []
        for slot in dict.fromkeys(slots):
            known = self.value_of(self.cells.cell(slot))
            sessions = [] if known is ABSENT else [Session._make(one) for one in known]
            fired += [(slot, Window(one.start, one.end), one.kept) for one in sessions if one.new]
            self._keep(slot, [self._emptied(one) if one.new else one for one in sessions])
        self._put_out(fired, out)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _put_out(self, fired: Fired, out: Emit) -> None:
        self.put_out_in_order(fired, out)
        if not self.policy.is_accumulating:
            for slot, _, kept in fired:
                self.contents.free(slot, kept)

    def _set_early(self, slot: Slot, time: int, every: EveryDuration) -> None:
        """Asks for the session whose first new record came at `time` to be put out early."""
        if self.clock is not None:
            self.clock.set(slot, every.due_after(self.context.now_ms()))
        else:
            self.timers.set(slot, every.due_after(time) - self.is_by_clock, _EARLY)

    def _forgotten_at(self, session: Session, closes: int) -> int:
        """When no record can come any more that lies in a closed session and is not late by its own time.  Where gaps
        differ, the gap of such a record is taken to be no longer than the session."""
        if self.is_by_clock or closes == MAX_TIMESTAMP:
            return closes
        return min(closes + (self.assigner.gap_ms or session.end - session.start) - 1, MAX_TIMESTAMP)

    def _emptied(self, session: Session) -> Session:
        return session._replace(new=0, kept=session.kept if self.policy.is_accumulating else None)

    def _keep(self, slot: Slot, sessions: list[Session]) -> None:
        self.cells.change(self.cells.cell(slot), self.stored(tuple(sessions)) if sessions else ABSENT)

    def _final(self, start: int, end: int) -> int:
        return end - 1 if self.trigger is None else self.trigger.closes_at(Window(start, end))

    def _close_at(self, start: int, end: int) -> int:
        return self.close_after(self._final(start, end))

    def _is_triggered(self, session: Session, own: Window, value: Any) -> bool:
        if self.trigger is None or self.every is not None:
            return False
        context = TriggerContext(self.context.now_ms, _no_timers)
        context.window, context.count, context.state = Window(session.start, session.end), session.new, None
        return self.trigger.on_record(value, own.start, context)


def _start(session: Session) -> int:
    return session.start


def _no_timers(time: int, domain: str) -> None:
    raise RuntimeError("a trigger of sessions cannot set timers")
