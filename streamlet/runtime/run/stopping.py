"""How a run is ended by hand: the first Ctrl-C or SIGTERM stops it with a last checkpoint, the second ends the process.

Whatever the job does, the first is answered at once by what it waits for, and the second ends all within a second:
both are heard beside the main thread, and neither waits for the event loop, for a lock, or for the terminal.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from streamlet.runtime.job.loop_watch import where_it_stands

INTERRUPTED = 130
"""The exit code of a run that ended at once."""

_ANSWER_SECONDS = 0.25
_GOODBYE_SECONDS = 0.3
_TELL_SECONDS = (3.0, 10.0, 30.0)
"""After so long it is said again what a stop waits for; the last, again and again."""


class Stopping:
    """Answers the signals of one run; `heard` is called in any thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_asked = False
        self._has_ended = threading.Event()

    def is_for(
        self,
        stop: Callable[[], None],
        waits_for: Callable[[], str],
        say: Callable[[str], None],
        goodbye: Callable[[], None],
    ) -> None:
        """Takes what there is to stop, once, in the running loop. `stop` and `waits_for` are called in the loop,
        `goodbye` leaves the terminal as it was."""
        self._stop, self._waits_for, self._say, self._goodbye = stop, waits_for, say, goodbye
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if self._was_asked:
                self._beside(self._begin)

    def heard(self, times: int) -> None:
        """Takes a signal, which is the first, second ... of this run."""
        with self._lock:
            self._was_asked = True
            loop = self._loop
        if times == 1 and loop is not None:
            self._beside(self._begin)
        elif times > 1:
            if loop is not None:
                # A terminal may take nothing just now: it gets so long and no longer.
                self._beside(self._goodbye).wait(_GOODBYE_SECONDS)
            os._exit(INTERRUPTED)

    def ended(self) -> None:
        """Says no more: the run is over."""
        self._has_ended.set()

    def _beside(self, work: Callable[[], None]) -> threading.Event:
        done = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                done.set()

        try:
            threading.Thread(target=run, name="stopping", daemon=True).start()
        except (RuntimeError, MemoryError):  # there are no more threads, which may be why it is stopped
            run()
        return done

    def _begin(self) -> None:
        standing = self._ask(self._stop)
        what = "with a last checkpoint" if standing is None else f"as soon as {standing}"
        self._say(f"stopping {what}; again to end at once")
        waited = 0
        while not self._has_ended.wait(_TELL_SECONDS[min(waited, len(_TELL_SECONDS) - 1)]):
            waited += 1
            found: list[str] = []
            standing = self._ask(lambda to=found: to.append(self._waits_for()))  # type: ignore[misc]
            self._say(f"still stopping, as soon as {standing or found[0]}; again to end at once")

    def _ask(self, function: Callable[[], None]) -> str | None:
        """Has a function called in the loop; says what must end first where the loop does not get to it."""
        done = threading.Event()

        def call() -> None:
            function()
            done.set()

        assert self._loop is not None, "there is something to stop"
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return "its threads have ended"
        return None if done.wait(_ANSWER_SECONDS) else standing_words(self._thread)


def standing_words(thread: int) -> str:
    """What has to happen before the event loop of a thread goes on."""
    where = where_it_stands(thread)
    return "the event loop is free again" if where is None else f"{where} returns: it holds the event loop"


class WorkerStopping:
    """In a worker, which stops when its parent says so: names there the function that keeps it from hearing that."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None

    def is_for(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the loop that it asks."""
        self._loop = loop

    def heard(self, times: int) -> None:
        """Takes a signal."""
        if self._loop is None:
            return
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        if not turned.wait(_ANSWER_SECONDS):
            self._say(f"stopping as soon as {standing_words(self._thread)}")
