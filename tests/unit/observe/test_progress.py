"""What a person sees of a running job."""

from __future__ import annotations

import io

from msgspec.structs import replace

from streamlet.observe.facts import CheckpointFacts, JobFacts, WorkFacts
from streamlet.observe.progress import Progress
from tests.unit.state_kit import SteppingClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


FACTS = JobFacts("spend", "running", WorkFacts(1000), CheckpointFacts())
MORE = JobFacts(
    "spend",
    "running",
    WorkFacts(3000, 4321, 1234, 5 << 20),
    CheckpointFacts(7, 0.3, seconds=0.0125),
    restarts={"outage": 1, "SinkError": 1},
)


def test_without_a_terminal_figures_are_plain_lines_with_the_rate_in_between() -> None:
    out, seen = io.StringIO(), iter([FACTS, MORE])
    with Progress("spend", lambda: next(seen), out, SteppingClock(1.0)) as progress:
        assert not progress.is_live
        progress.show()
        progress.show()
    assert out.getvalue().splitlines() == [
        "spend: running | 0 records/s | 1,000 read",
        "spend: running | 2,000 records/s | 3,000 read | 4,321 behind | checkpoint 7 0.3 s ago (took 12 ms)"
        " | 1,234 keys in 5 MB | 2 restarts",
    ]


def test_nothing_is_shown_while_there_is_nothing_to_show() -> None:
    out = io.StringIO()
    with Progress("spend", lambda: None, out, SteppingClock()) as progress:
        progress.show()
    assert out.getvalue() == ""


def test_a_line_that_is_said_stays_as_it_is() -> None:
    out = io.StringIO()
    text = "a [bold]line[/bold] with /paths/and 'quotes', longer than any terminal: " + "x" * 300
    with Progress("spend", lambda: None, out, SteppingClock()) as progress:
        progress.say(text)
    assert out.getvalue() == text + "\n"


def test_on_a_terminal_the_line_is_shown_in_place_and_ends_with_the_job() -> None:
    out = Terminal()
    with Progress("spend", lambda: FACTS, out, SteppingClock(1.0)) as progress:
        assert progress.is_live
        progress.show()
        progress.say("restored checkpoint 3")
    shown = out.getvalue()
    assert "spend: running" in shown
    assert "restored checkpoint 3" in shown
    assert "\x1b[2K" in shown


def test_an_unhealthy_job_says_why() -> None:
    out = io.StringIO()
    with Progress("spend", lambda: replace(FACTS, unhealthy="Kafka is away"), out, SteppingClock()) as progress:
        progress.show()
    assert out.getvalue() == "spend: running, unhealthy: Kafka is away | 0 records/s | 1,000 read\n"
