"""A thread that sees when the event loop stands still, for nobody in the loop can.

A user's function that blocks (a lock, a request without a time-out, an endless loop) stops the whole job: no batch,
no checkpoint, not even its time-out.  This thread names the line where it stands, and when a job may not go without a
checkpoint any longer, interrupts the function there: it fails like one that raised, at its record, and the restart
strategy goes on from that.  What catches every exception and blocks again is interrupted again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from types import FrameType

from streamlet.calling import is_engine_file, is_user_file
from streamlet.clock import Clock
from streamlet.errors import FunctionBlockedError
from streamlet.operators.user_code.pausing import Pause

log = logging.getLogger("streamlet.runtime")

_BEAT_SECONDS = 0.25
_REMEMBERED_BEATS = 40
_PAUSE_SECONDS = 0.05
"""A function that has held the loop longer than that, when this thread looks, goes on after a turn."""
_TELL_AGAIN_SECONDS = 30.0
_SIGNAL = signal.SIGURG
"""Ignored by every program that does not ask for it."""


class LoopWatch:
    """Watches the event loop of the thread that makes it."""

    def __init__(self, clock: Clock, warn_seconds: float, interrupt_seconds: float, *, may_interrupt: bool) -> None:
        self._clock = clock
        self._warn_seconds = warn_seconds
        self._interrupt_seconds = interrupt_seconds
        self._may_interrupt = may_interrupt
        self._watched = threading.get_ident()
        self._stood: float | None = None
        self._ended = threading.Event()
        self._late: deque[float] = deque(maxlen=_REMEMBERED_BEATS)
        self._beat_at = clock.monotonic()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)

    async def beat(self) -> None:
        """Shows that the loop turns."""
        self._thread.start()
        try:
            while True:
                self._beat_at = self._clock.monotonic()
                await asyncio.sleep(_BEAT_SECONDS)
                self._late.append(self._clock.monotonic() - self._beat_at - _BEAT_SECONDS)
        finally:
            self._ended.set()

    def lateness_seconds(self) -> float:
        """By how much the loop was late at most in the last ten seconds, and is now.  May be asked in any thread."""
        now = self._clock.monotonic() - self._beat_at - _BEAT_SECONDS
        return max(0.0, now, *tuple(self._late))

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler, in the loop's thread: ends the function of the job that runs just now, if one does."""
        stood = self._stood
        if stood is not None and _users_line(frame) is not None:
            raise FunctionBlockedError(
                f"the function has held the event loop for {stood:.1f} s, so it was interrupted here",
                remedy="give what it waits for a time-out of its own, shorter than checkpoint_timeout",
            )

    def _watch(self) -> None:
        tell_at = interrupt_at = stood = 0.0
        seen = looked = self._beat_at
        while not self._ended.wait(_BEAT_SECONDS):
            beat, now = self._beat_at, self._clock.monotonic()
            # What this thread has slept through, the whole process was stopped for: that is no function's fault.
            if now - beat > _BEAT_SECONDS + _PAUSE_SECONDS:
                Pause.ask()
            stood = 0.0 if beat != seen else stood + min(now - looked, 2 * _BEAT_SECONDS)
            seen, looked = beat, now
            if stood < self._warn_seconds:
                tell_at, interrupt_at, self._stood = self._warn_seconds, self._interrupt_seconds, None
                continue
            if stood >= tell_at:
                tell_at = stood + _TELL_AGAIN_SECONDS
                self._tell(stood)
            if self._may_interrupt and stood >= interrupt_at:
                interrupt_at = stood + self._interrupt_seconds
                self._stood = stood
                signal.pthread_kill(self._watched, _SIGNAL)

    def _tell(self, stood: float) -> None:
        line = where_it_stands(self._watched) or "something"
        log.warning("%s has held the event loop for %.1f s: nothing else runs, no checkpoint either", line, stood)


def where_it_stands(thread: int) -> str | None:
    """The line of the job's own code that a thread is at; None when it is none."""
    return _users_line(sys._current_frames().get(thread))


def _users_line(frame: FrameType | None) -> str | None:
    """The innermost line of the job's own code, if a function of it is what runs."""
    while frame is not None and not is_engine_file(frame.f_code.co_filename):
        if is_user_file(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return None


@contextlib.asynccontextmanager
async def watched_loop(clock: Clock, *, warn_seconds: float, interrupt_seconds: float) -> AsyncIterator[LoopWatch]:
    """Watches the running loop; interrupting needs the main thread, where Python runs the handlers of signals."""
    is_main = threading.current_thread() is threading.main_thread()
    watch = LoopWatch(clock, warn_seconds, interrupt_seconds, may_interrupt=is_main)
    before = signal.signal(_SIGNAL, watch.interrupt) if is_main else None
    beating = asyncio.create_task(watch.beat(), name="loop-watch")
    try:
        yield watch
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        if is_main:
            signal.signal(_SIGNAL, before)
