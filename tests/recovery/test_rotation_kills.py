"""A job that follows a log is killed while the log is rotated: each line that was written is in its output once.

`STREAMLET_TEST_ROTATION_KILLS=500` says how many kills; as many are spread over several logs.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.recovery.part_files import hidden_files, part_files
from tests.recovery.rotated_log import RotatedLog
from tests.recovery.running_jobs import PROJECT, JobHome, RunningJob, a_home, a_seed, is_full_run

FOLLOWING = PROJECT / "tests" / "recovery" / "following.py"
KILLS = int(os.environ.get("STREAMLET_TEST_ROTATION_KILLS", "200" if is_full_run() else "8"))
KILLS_OF_ONE_LOG = 8
CALLS = {"look": 60, "fsync": 12, "rename": 6}

pytestmark = pytest.mark.timeout(120 + 10 * KILLS)


def output(home: JobHome) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in part_files(home.state_dir / "out"):
        found.update(line.strip('"') for line in path.read_text().splitlines())
    return found


def kill_at_a_call(home: JobHome, log: RotatedLog, chance: random.Random) -> str:
    """Kills it right before one of the calls that come after the log was rotated."""
    begin = home.state_dir / "rotated"
    begin.unlink(missing_ok=True)
    call = chance.choice(list(CALLS))
    at = f"{call}@{chance.randint(1, CALLS[call])}"
    job = home.start(main="tests.recovery.kill_at_each", KILL_AT=at, KILL_FROM=str(begin))
    job.wait_until(lambda: job.has_restored, "it runs")
    begin.touch()
    done = rotate_until_it_ended(job, log, chance)
    job.wait_until_killed()
    return f"{at} after {done}"


def rotate_until_it_ended(job: RunningJob, log: RotatedLog, chance: random.Random) -> list[str]:
    done = [log.step()]
    deadline = time.monotonic() + 20
    while not job.has_ended and time.monotonic() < deadline:
        time.sleep(chance.uniform(0, 0.1))
        if len(done) < 4:
            done.append(log.step())
        else:
            log.write()
    return done


def kill_at_an_instant(home: JobHome, log: RotatedLog, chance: random.Random) -> str:
    """Kills it before the next checkpoint may know of a rotation, or a little later."""
    job = home.start()
    job.wait_until(lambda: job.has_restored, "it runs")
    done = []
    for _ in range(chance.randint(1, 3)):
        time.sleep(chance.uniform(0, 0.3))
        done.append(log.step())
    time.sleep(chance.uniform(0, 0.15))
    job.kill()
    return f"an instant after {done}"


def test_every_line_of_a_rotated_log_is_written_once_after_kills(tmp_path: Path) -> None:
    chance = random.Random(a_seed())
    for number in range(0, KILLS, KILLS_OF_ONE_LOG):
        folder = tmp_path / f"log-{number}"
        folder.mkdir()
        live(folder, chance, min(KILLS_OF_ONE_LOG, KILLS - number))


def live(folder: Path, chance: random.Random, kills: int) -> None:
    log = RotatedLog(folder, chance)
    with a_home(FOLLOWING, folder) as home:
        for _ in range(kills):
            kill = chance.choice((kill_at_a_call, kill_at_a_call, kill_at_an_instant))
            print(f"{folder.name}: killed at {kill(home, log, chance)}")
            for _ in range(chance.choice((0, 0, 1, 2))):
                print(f"{folder.name}: while it was away: {log.step()}")
        job = home.start()
        expected = Counter(log.written)
        job.wait_until(lambda: output(home).total() >= expected.total(), "all lines are there")
        assert job.stop() == 0, job.said
        found = output(home)
        assert not expected - found, f"lost: {sorted(expected - found)}\n{job.said}"
        assert not found - expected, f"doubled: {sorted(found - expected)}\n{job.said}"
        assert hidden_files(folder / "out") == []
        print(f"{folder.name}: {kills} kills, {expected.total()} lines")
