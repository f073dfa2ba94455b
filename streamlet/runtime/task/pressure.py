"""Memory pressure of a whole job: while any store is full of what only a checkpoint can free, sources are held."""

from __future__ import annotations

from collections.abc import Callable


class MemoryPressure:
    """Who is pressed, and who wants to know when nobody is any more."""

    def __init__(self, on_pressed: Callable[[], None]) -> None:
        self._pressed: set[object] = set()
        self._is_held = False
        self._on_pressed = on_pressed
        self.on_relieved: list[Callable[[], None]] = []
        self.on_own: Callable[[bool], None] = lambda _: None
        """Told when the first of this process is pressed, and when the last is relieved."""

    @property
    def is_on(self) -> bool:
        """True while sources must not read on."""
        return bool(self._pressed) or self._is_held

    def ask(self) -> None:
        """Asks for a checkpoint now, so that memory will not fill up; holds nobody."""
        self._on_pressed()

    def press(self, who: object) -> None:
        """Says that a subtask's memory is full of changes."""
        if who not in self._pressed:
            self._pressed.add(who)
            if len(self._pressed) == 1:
                self.on_own(True)
            self._on_pressed()

    def relieve(self, who: object) -> None:
        """Says that it has room again."""
        if who in self._pressed:
            self._pressed.discard(who)
            if not self._pressed:
                self.on_own(False)
            self._tell_relieved()

    def hold(self, *, is_on: bool) -> None:
        """Says whether a subtask in another process is pressed."""
        self._is_held = is_on
        self._tell_relieved()

    def _tell_relieved(self) -> None:
        if not self.is_on:
            for relieved in self.on_relieved:
                relieved()
