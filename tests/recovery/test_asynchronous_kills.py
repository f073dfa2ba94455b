"""A job with many asynchronous calls in flight that is killed at any time gives what one that never was gives."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from tests.recovery.part_files import check_counts, part_files
from tests.recovery.running_jobs import PROJECT, a_home, a_seed, is_full_run

pytestmark = pytest.mark.timeout(240)

ASKING = PROJECT / "tests" / "recovery" / "asking.py"
COUNT = 12_000
KILLS = 20 if is_full_run() else 3


def _in_flight(state_dir: Path) -> int:
    """The records in flight in the newest checkpoint that a start would take."""
    infos = CheckpointStorage(state_dir, "asking", LocalDisk()).checkpoints()
    newest = max((one for one in infos if one.manifest is not None), key=lambda one: one.id, default=None)
    if newest is None or newest.manifest is None:
        return 0
    return sum(len(one["records"]) for key, one in newest.manifest.operators.items() if key.startswith("ask/"))


@pytest.mark.parametrize("ordered", [True, False])
def test_calls_in_flight_are_made_again_and_their_results_come_once(ordered: bool, tmp_path: Path) -> None:
    chance = random.Random(a_seed())
    settings = {"COUNT": str(COUNT), "RATE": "3000", "ORDERED": str(int(ordered))}
    with a_home(ASKING, tmp_path, settings) as home:
        in_flight = 0
        for _ in range(KILLS):
            job = home.start()
            job.wait_until(lambda: job.has_restored, "it runs")  # noqa: B023 - called here only
            time.sleep(0.1 + chance.random() * 0.6)
            if job.has_ended:
                break
            job.kill()
            in_flight += _in_flight(tmp_path)
        assert in_flight, "nothing was in flight at any kill: this shows nothing"
        last = home.start()
        assert last.wait() == 0, last.said
    found = [json.loads(line) for path in part_files(tmp_path / "answers") for line in path.read_bytes().splitlines()]
    assert (found if ordered else sorted(found)) == list(range(COUNT))
    check_counts(tmp_path / "counts", (number % 97 for number in range(COUNT)), key="key")
