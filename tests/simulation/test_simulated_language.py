"""Windows, timers, joins, expiring state and error policies under crashes, rescales and faults.

`python -m tests.simulation.language_seeds` runs more seeds than these, or one of them.
"""

from __future__ import annotations

import os

from tests.simulation.language_seeds import LanguageReport, run_language_seeds
from tests.simulation.seeds import chunks, default_workers, over_processes

SEEDS = 5000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 160


def test_windows_timers_joins_and_policies_put_out_what_a_run_without_failures_does() -> None:
    total = LanguageReport()
    for report in over_processes(run_language_seeds, chunks(range(SEEDS)), default_workers()):
        total.add(report)
    assert not total.failures, "\n".join(total.failures[seed] for seed in sorted(total.failures))
    assert total.died > SEEDS, "a simulation without crashes shows nothing"
