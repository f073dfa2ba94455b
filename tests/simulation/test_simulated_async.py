"""Asynchronous functions under crashes: nothing in flight is lost, doubled, out of order or late."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from tests.simulation.seeds import describe
from tests.simulation.timed_scenarios import run_asynchronous

SEEDS = 2000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 30
KNOWN = (43, 95, 107, 139, 144, 164, 178, 233, 262, 280, 281, 816, 902, 994, 1075, 1086, 2290, 4657, 5004)
"""Gates that had heard of no watermark, or whose inputs went straight on, restored at the highest one (43 and most of
those below 300); a subtask that ended while its checkpoint was written, taken for one that had ended at the barrier
(95).  A start checkpoint that said another parallelism than that of its snapshots (280); event time of a keyed operator
in a chain, unknown when it got a gate (281); output of what was in flight, never committed before a record came (233);
a source that had ended, taken for its whole chain of after a rescale: lost (2290); two folders of one attempt (5004).
The simulator's own: unbounded jobs stopped too early or never (816 to 1086), damage that came back (144, 4657)."""


def _broken(seeds: Iterable[int]) -> Iterator[str]:
    for seed in seeds:
        try:
            run_asynchronous(seed)
        except Exception as error:
            yield f"seed {seed}: {describe(error)}"


def test_what_is_in_flight_survives_every_crash() -> None:
    assert list(_broken((*range(SEEDS), *KNOWN))) == []
