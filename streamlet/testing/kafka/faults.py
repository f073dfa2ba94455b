"""Trouble on the way between a client and the broker, for tests."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Trouble(enum.Enum):
    CLOSE = "the connection is closed instead of an answer"
    SILENCE = "no answer comes, the connection stays open"
    DELAY = "the answer comes late"


@dataclass(slots=True)
class Fault:
    """What happens to the next requests of one API.

    `is_applied` says whether the broker does what was asked: a client cannot tell the two apart.
    """

    api: str
    trouble: Trouble
    is_applied: bool = True
    seconds: float = 0.0
    times: int = 1
    only: Callable[[Any], bool] | None = None
    """Looks at a request, of `kio`'s types; False leaves it alone."""
    hits: int = 0

    def takes(self, api: str, request: Any) -> bool:
        if self.api != api or self.hits >= self.times or (self.only is not None and not self.only(request)):
            return False
        self.hits += 1
        return True


class Faults:
    """The faults that are planned. The first that fits a request happens to it."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []

    def plan(self, fault: Fault) -> Fault:
        """Gives the fault back: its `hits` tell whether it happened."""
        self._planned.append(fault)
        return fault

    def close(self, api: str, *, is_applied: bool, times: int = 1, only: Callable[[Any], bool] | None = None) -> Fault:
        """Closes the connection at a request, before or after it was applied."""
        return self.plan(Fault(api, Trouble.CLOSE, is_applied, times=times, only=only))

    def silence(
        self, api: str, *, is_applied: bool, times: int = 1, only: Callable[[Any], bool] | None = None
    ) -> Fault:
        """Never answers a request; the connection gives no later answers either, as they come in order."""
        return self.plan(Fault(api, Trouble.SILENCE, is_applied, times=times, only=only))

    def delay(
        self,
        api: str,
        seconds: float,
        *,
        is_applied: bool = True,
        times: int = 1,
        only: Callable[[Any], bool] | None = None,
    ) -> Fault:
        """Answers late; the request is applied before the pause, or behind it."""
        return self.plan(Fault(api, Trouble.DELAY, is_applied, seconds, times, only))

    def clear(self) -> None:
        """Forgets every fault."""
        self._planned.clear()

    def take(self, api: str, request: Any) -> Fault | None:
        """The fault that happens to this request."""
        return next((fault for fault in self._planned if fault.takes(api, request)), None)
