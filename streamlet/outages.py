"""Outages of the outside: connectors tell of them, and people are told once, now and then, and when they are over."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass

from streamlet.clock import Clock
from streamlet.errors import StreamletError
from streamlet.limits import with_limit

log = logging.getLogger("streamlet.outages")

_AGAIN_SECONDS = 30.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAY_PASS = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT})


@dataclass
class _Outage:
    since: float
    reason: str
    is_told: bool


class Outages:
    """What does not answer just now, by name.  One object lives as long as the run, over all its attempts.

    Whoever tries something outside calls `away` at every failure and `back` at every success, from the event loop,
    as often as it likes; a part of something is named `part of whole`.  However many parts of the job meet the same
    outage, a line is logged when it begins, at most every 30 s while it lasts, and when it is over.  While there is
    one the job is reported as unhealthy.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now: dict[str, _Outage] = {}
        self._told: dict[str, float] = {}

    def away(self, what: str, reason: str) -> None:
        """Says that `what` did not answer; `reason` is for people."""
        now = self._clock.monotonic()
        outage = self._now.setdefault(what, _Outage(now, reason, is_told=False))
        outage.reason = reason
        if now - self._told.get(what, now - _AGAIN_SECONDS) < _AGAIN_SECONDS:
            return
        self._told[what] = now
        outage.is_told = True
        lasted = f" for {now - outage.since:.0f} s" if now > outage.since else ""
        log.warning("%s", with_limit(f"{what} does not answer{lasted}: {reason}; trying on"))

    def back(self, what: str) -> None:
        """Says that `what` answered."""
        outage = self._now.pop(what, None)
        if outage is not None and outage.is_told:
            log.warning("%s answers again, after %.1f s", what, self._clock.monotonic() - outage.since)

    def over(self, what: str, why: str = "") -> None:
        """Says that `what` is asked for nothing any more, which ends its outage; with a reason people are told."""
        outage = self._now.pop(what, None)
        if why and outage is not None and outage.is_told:
            log.warning(
                "%s is not waited for any more, after %.1f s: %s", what, self._clock.monotonic() - outage.since, why
            )

    def describe(self) -> str:
        """Names every outage, how long it has lasted, and why; empty when there is none."""
        now = self._clock.monotonic()
        return "; ".join(
            f"{what} has not answered for {now - one.since:.0f} s ({one.reason})"
            for what, one in self._now.items()
            if not any(what.endswith(f" of {whole}") for whole in self._now)
        )


def is_outage(error: BaseException) -> bool:
    """True for what ends by itself or by an operator's hand, without a change to the job: also a full disk."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # one that is raised again may be the cause of its own cause
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        seen.add(id(cause))
        cause = cause.__cause__
    return isinstance(error, StreamletError) and error.is_outage


def may_pass(error: OSError) -> bool:
    """True for what a disk, or a file system behind a network, answers for a while: nothing is known to be wrong with
    what lies there."""
    return error.errno in _MAY_PASS
