"""Runs the planted bugs, and says how many seeds each needs: `python -m tests.simulation.planted_gate`.

Words behind it choose those whose name has one of them.  `--remember` writes which seed found each into `finders.py`:
it is tried first from then on, and where it finds nothing any more, the others are as before.

A bug counts as found only when the oracle, an invariant or the engine's own checks say what is wrong.  An error that
nothing expects, as a patch that does not fit the engine any more raises, shows nothing and is reported as such.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from streamlet.errors import StreamletError, UserFunctionError
from streamlet.testing.errors import EngineBroke, SimulationStuck
from tests.simulation import (
    planted_async,
    planted_decisions,
    planted_event_time,
    planted_flow,
    planted_kafka,
    planted_language,
    planted_outages,
    planted_slow,
    planted_state,
)
from tests.simulation.finders import FINDERS
from tests.simulation.oracle import JobFailed, WrongOutput
from tests.simulation.planting import PLANTED, with_bug
from tests.simulation.scenario import Faults, Scenario, Shape, SinkSpec, scenario
from tests.simulation.seeds import default_workers, describe, over_processes
from tests.simulation.world import simulate

PARTS = (
    planted_async,
    planted_decisions,
    planted_event_time,
    planted_flow,
    planted_kafka,
    planted_language,
    planted_outages,
    planted_slow,
    planted_state,
)
"""Their bugs are planted by importing them."""
MOST_STRANGE = 5


def paused_where_it_begins(seed: int) -> Scenario:
    """A scenario whose second process stands still in the middle of its beginning, which comes about by chance in one
    seed of hundreds."""
    one = scenario(seed)
    one.faults.crashes = (("step", 200 + seed * 7 % 600), ("disk", 1 + seed % 25), *one.faults.crashes[:1])
    one.faults.pauses = (False, True)
    return one


def rewritten_and_folded(seed: int) -> Scenario:
    """A scenario whose keys come, go and come again, with rewrites and slow folds in turns, and nothing but a crash."""
    one = replace(
        scenario(seed), keyed="clearing", regroups=False, may_lose=False, rewrites=0.6, folds_after=2, beside=[]
    )
    one.settings["checkpoint_interval"] = timedelta(seconds=0.01)
    one.sinks = [SinkSpec("out", "end", "pooled")]
    one.slow_calls = {"finish_fold": 10.0}
    one.faults = Faults(crashes=(("step", 150 + seed * 37 % 900),))
    return one


def of_pairs(seed: int) -> Scenario:
    """A scenario that keeps pairs of numbers, of few keys that change all the time, and often dies."""
    one = replace(scenario(seed), keyed="pair", regroups=False, may_lose=False, beside=[])
    one.settings["checkpoint_interval"] = timedelta(seconds=0.01)
    one.sinks = [SinkSpec("out", "end", "pooled")]
    one.faults = Faults(crashes=tuple(("step", 100 + (seed * 37 + 211 * number) % 700) for number in range(3)))
    return one


def set_back(seed: int) -> Scenario:
    """A scenario whose wall clock goes back by an hour while keys are marked for a while by it; then it dies, twice."""
    one = replace(scenario(seed), keyed="value", regroups=False, may_lose=False, beside=["lasting"])
    one.sinks = [SinkSpec("out", "end", "pooled"), SinkSpec("beside0", "beside0", "pooled")]
    one.shapes = [Shape(1 + seed % 2, {source.uid: 1 for source in one.sources}, None, None, None, (None,))]
    one.clock_steps = ((0.3 + seed % 10 / 10, -3600.0),)
    one.faults = Faults(crashes=(("step", 150 + seed * 37 % 600), ("step", 300)))
    return one


SHAPED = {
    "pair that changes before it is packed keeps half of what it was": of_pairs,
    "wall clock may go back": set_back,
    "wall clock of before a restart is forgotten": set_back,
    "taken over process begins an attempt beside its successor": paused_where_it_begins,
    "rewrite deletes a key that is there again": rewritten_and_folded,
    "rewrite stands on the base of a fold under way": rewritten_and_folded,
}
"""Bugs that are hunted in scenarios of their own."""


@dataclass
class Verdict:
    """How one bug was found."""

    name: str
    seeds: int | None
    """How many it took; None when it was not found."""
    said: str
    found_by: int | None = None
    """The seed that showed it."""
    strange: int = 0
    """Seeds that raised what shows nothing."""

    def __str__(self) -> str:
        return f"{self.name:70s} {'none' if self.seeds is None else self.seeds:>5}  {self.said}"


def _is_proof(error: Exception) -> bool:
    if isinstance(error, JobFailed):
        return isinstance(error.__cause__, StreamletError) and not isinstance(error.__cause__, UserFunctionError)
    if isinstance(error, EngineBroke):
        return isinstance(error.__cause__, AssertionError)
    return isinstance(error, WrongOutput | SimulationStuck)


def hunt(name: str) -> Verdict:
    """Plants one bug and runs seeds until one shows it."""
    strange: list[str] = []
    bug = PLANTED[name]
    run = bug.run or (lambda seed: simulate(SHAPED.get(name, scenario)(seed)))
    first = [FINDERS[name]] if FINDERS.get(name) in bug.seeds else []
    for tried, seed in enumerate([*first, *(seed for seed in bug.seeds if seed not in first)], start=1):
        try:
            with with_bug(name):
                run(seed)
        except Exception as error:
            said = describe(error)
            if _is_proof(error):
                return Verdict(name, tried, said.splitlines()[0][:100], seed, len(strange))
            strange.append(f"seed {seed}: {said}")
            if len(strange) > MOST_STRANGE:
                break
    return Verdict(name, None, "; ".join(strange[:1]) or "nothing was noticed", None, len(strange))


def gate(names: list[str] | None = None) -> list[Verdict]:
    """Hunts every planted bug, over a few processes."""
    wanted = list(PLANTED) if names is None else names
    found = {one.name: one for one in over_processes(hunt, wanted, default_workers())}
    return [found[name] for name in wanted]


def remember(verdicts: Iterable[Verdict]) -> None:
    """Writes which seed found each bug."""
    path = Path(__file__).with_name("finders.py")
    head = path.read_text().partition("FINDERS: dict")[0]
    lines = [f"    {one.name!r}: {one.found_by},\n".replace("'", '"') for one in verdicts if one.found_by is not None]
    path.write_text(f"{head}FINDERS: dict[str, int] = {{\n{''.join(lines)}}}\n")


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--remember"]
    verdicts = gate([name for name in PLANTED if not words or any(word in name for word in words)])
    for one in verdicts:
        print(one)
    if len(words) < len(sys.argv) - 1:
        remember(verdicts)
    return 1 if any(one.seeds is None for one in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
