"""Ctrl-C and SIGTERM, heard in a thread of its own: the main thread may be inside a function that never returns.

```text
signal -> Python's handler in C -> a pipe -> the listening thread -> whoever asked
```
Python runs handlers in the main thread alone, between two lines of it: a function of the job that sleeps, loops or
swallows `KeyboardInterrupt` would keep them from it.  What is heard of other signals is passed on to the event loop,
whose pipe this one replaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

STOPPING = (signal.SIGINT, signal.SIGTERM)

Heard = Callable[[int], None]
"""Takes how often one of them has come, this time included."""


class Ears:
    """Hears signals. Made, opened and closed in the main thread."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._times = 0
        self._ends, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._loops = -1
        self._once = _OnceOnly()

    def open(self) -> None:
        """Begins to listen."""
        self._before = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        self._once.arm()

    def take_from_loop(self) -> None:
        """Takes the place of an event loop, which begins to listen itself whenever it begins to run."""
        self._loops = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)

    def handle(self, number: int, frame: object) -> None:
        """The handler: what nobody listened to when it came comes this way, as in a loop that has taken the place
        back."""
        now = signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        if now != self._pipe:
            self._loops = now
            os.write(self._pipe, bytes([number]))

    def close(self) -> None:
        """Ends it, with its thread."""
        self._once.disarm()
        signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
        os.close(self._pipe)

    def _listen(self) -> None:
        while numbers := os.read(self._ends, 64):
            for number in numbers:
                if number in STOPPING:
                    self._once.disarm()
                    self._times += 1
                    self._heard(self._times)
            others = bytes(number for number in numbers if number not in STOPPING)
            if others and self._loops >= 0:
                with contextlib.suppress(OSError):
                    os.write(self._loops, others)
        os.close(self._ends)


class _OnceOnly:
    """Leaves the second of these signals to the system, as long as this process gives its threads no turn.

    Code in C that keeps the interpreter's lock stops the listening thread, too.  Where the C library has handlers that
    serve once, as of System V, the system ends the process at the second Ctrl-C then; a thread that has its turn takes
    that back.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, int | None] = {}
        self._library = ctypes.CDLL(None) if sys.platform == "linux" else None
        if self._library is None or not hasattr(self._library, "sysv_signal"):
            self._library = None
            return
        for function in (self._library.signal, self._library.sysv_signal):
            function.restype = ctypes.c_void_p
            function.argtypes = [ctypes.c_int, ctypes.c_void_p]

    def arm(self) -> None:
        if self._library is not None:
            for number in STOPPING:
                # Ignored for no longer than these two calls take.
                self._handlers[number] = self._library.signal(number, signal.SIG_IGN)
                self._library.sysv_signal(number, self._handlers[number])

    def disarm(self) -> None:
        handlers, self._handlers = self._handlers, {}
        if self._library is not None:
            for number, handler in handlers.items():
                self._library.signal(number, handler)


@contextlib.contextmanager
def heard_apart(heard: Heard) -> Iterator[Ears | None]:
    """Calls `heard`, in another thread, at each Ctrl-C and SIGTERM.  Gives None outside of the main thread, where
    Python sets up no signals: whoever runs the job there stops it."""
    if threading.current_thread() is not threading.main_thread():
        yield None
        return
    ears = Ears(heard)
    before = {number: signal.signal(number, ears.handle) for number in STOPPING}
    ears.open()
    try:
        yield ears
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        ears.close()
