"""Event time under crashes: nothing becomes late by a restore, and no watermark is taken back."""

from __future__ import annotations

import os

from tests.simulation.timed_scenarios import run_timed

SEEDS = 2000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 60


def test_times_that_rise_in_every_split_make_nothing_late_and_no_watermark_goes_back() -> None:
    for seed in range(SEEDS):
        try:
            run_timed(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
