"""How often and how late an asynchronous function is called again on a record that it failed on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from streamlet.calling import calling_line
from streamlet.errors import ConfigError


@dataclass(frozen=True)
class Retry:
    """Calls again after an error, up to `attempts` calls in all for each record, a time-out being an error too.

    Before the second call it waits `delay`, before each further one `multiplier` times as long as before, at most
    `max_delay`.  Errors that are no instance of `on` are not tried again.  The count survives a restart, the wait does
    not: a restored record is called at once.

    >>> async def known(n: int) -> int:
    ...     return n
    >>> emitted(numbers.map_async(known, retry=Retry(attempts=3, delay=timedelta(milliseconds=100))))
    [1, 2, 3, 4]
    """

    attempts: int = 3
    delay: timedelta = timedelta(milliseconds=100)
    max_delay: timedelta = timedelta(seconds=10)
    multiplier: float = 2.0
    on: type[Exception] | tuple[type[Exception], ...] = Exception

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 1:
            raise _refused(f"attempts is {self.attempts!r:.80}", "give the number of calls, from 1 on")
        for name in ("delay", "max_delay"):
            if not isinstance(getattr(self, name), timedelta):
                raise _refused(
                    f"{name} is {getattr(self, name)!r:.80}", f"give a datetime.timedelta: {name}=timedelta(seconds=1)"
                )
        if not timedelta(0) <= self.delay <= self.max_delay:
            raise _refused(f"delay is {self.delay}, max_delay {self.max_delay}", "give a delay from 0 to max_delay")
        if type(self.multiplier) not in (int, float) or not self.multiplier >= 1:
            raise _refused(f"multiplier is {self.multiplier!r:.80}", "give a number from 1 on")
        for kind in self.on if isinstance(self.on, tuple) else (self.on,):
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise _refused(f"on is {self.on!r:.80}", "give a class of exceptions, or a tuple of such classes")

    def delay_after(self, failures: int, error: BaseException) -> float | None:
        """Gives the seconds to wait after so many failures, the last one by `error`; None for not again."""
        if failures >= self.attempts or not isinstance(error, self.on):
            return None
        # As a power it would overflow for very many attempts.
        doublings = min(failures - 1, 1000) if self.multiplier < 2 else min(failures - 1, 60)
        return float(min(self.delay.total_seconds() * self.multiplier**doublings, self.max_delay.total_seconds()))


def _refused(what: str, remedy: str) -> ConfigError:
    file, line = calling_line()
    return ConfigError(f"{file}:{line}: retry {what}", remedy=remedy)
