"""What a person sees of a running job: a live line on a terminal, now and then a log line otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from streamlet.clock import Clock
from streamlet.observe.facts import JobFacts
from streamlet.tally import told

if TYPE_CHECKING:
    from rich.live import Live


class Progress:
    """Shows figures: on a terminal four times a second in place, otherwise one line every ten seconds."""

    def __init__(self, name: str, look: Callable[[], JobFacts | None], stream: TextIO, clock: Clock) -> None:
        self._name = name
        self.look = look
        self._clock = clock
        self._stream = stream
        self._live: Live | None = None
        self._last: tuple[float, int] | None = None
        self.seconds_between = 0.25 if self.is_live else 10.0

    @property
    def is_live(self) -> bool:
        """True when the line is shown in place, on a terminal."""
        return self._stream.isatty()

    def __enter__(self) -> Progress:
        if self.is_live:
            # Only here: a restart without a terminal owes nobody the time that loading it takes.
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream, highlight=False)
            self._live = Live(f"{self._name}: starting", console=console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        if self._live is not None:
            self._live.console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def show(self) -> None:
        """Shows the figures of now."""
        facts = self.look()
        if facts is None:
            return
        line = self._line(facts)
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            self.say(line)

    def _line(self, facts: JobFacts) -> str:
        now, work, checkpoint = self._clock.monotonic(), facts.work, facts.checkpoint
        rate = 0.0
        if self._last is not None and now > self._last[0]:
            rate = max(0, work.records - self._last[1]) / (now - self._last[0])
        self._last = (now, work.records)
        state = f"{self._name}: {facts.state}"
        if not facts.is_healthy:
            state += f", unhealthy: {facts.unhealthy}"
        elif facts.remark:
            state += f", {facts.remark}"
        parts = [state, f"{rate:,.0f} records/s", f"{work.records:,} read"]
        if work.lag is not None:
            parts.append(f"{work.lag:,} behind")
        if checkpoint.last is not None:
            parts.append(
                f"checkpoint {checkpoint.last} {checkpoint.age_seconds or 0:.1f} s ago"
                f" (took {checkpoint.seconds * 1000:.0f} ms)"
            )
        if work.keys:
            parts.append(f"{work.keys:,} keys in {work.state_bytes / (1 << 20):.0f} MB")
        parts.extend(told(work.counts))
        if restarts := sum(facts.restarts.values()):
            parts.append(f"{restarts} restarts")
        return " | ".join(parts)
