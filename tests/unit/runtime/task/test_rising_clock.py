"""A wall clock that is set back: what was over stays over, in a run and over a restart."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from streamlet.clock import RisingClock
from streamlet.graph.plan import plan
from streamlet.runtime.task.chain import Chain
from streamlet.state.lifetimes import Lifetime, Lifetimes, StateTtl
from streamlet.state.memory.timers import Timers
from streamlet_connectors.print import Print
from tests.unit.job_kit import Waiting, make_job


def test_it_goes_on_at_half_the_pace_until_the_other_has_caught_up() -> None:
    shown = [1000]
    clock = RisingClock(lambda: shown[0])
    told = []
    for now in (1000, 400, 401, 402, 405, 300, 310, 1009, 1700, 1710):
        shown[0] = now
        told.append(clock.now_ms())
    assert told == [1000, 1000, 1000, 1001, 1002, 1002, 1007, 1009, 1700, 1710]
    clock.not_before(5000)
    assert clock.now_ms() == 5000
    shown[0] = 9000
    assert clock.now_ms() == 9000


def test_what_was_over_is_over_when_the_clock_goes_back() -> None:
    shown = [0]
    lifetimes = Lifetimes(lambda: shown[0])
    lifetime = Lifetime(StateTtl(timedelta(hours=1)), Timers.__new__(Timers), lifetimes, "state")
    stamp = lifetime.stamp()
    shown[0] = 3_600_001
    assert lifetime.is_over(stamp)
    shown[0] = 1_800_000
    assert lifetime.is_over(stamp)
    assert lifetime.stamp() == 3_600_001


def test_how_far_the_clock_came_is_kept_in_the_checkpoint_of_a_task(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Waiting(1), uid="in").map(int, uid="same").sink(Print(), uid="out")
    (task,) = plan(job.graph, job.config).tasks

    def chain(now: int) -> Chain:
        return Chain(task, 0, {}, {}, {}, show_records=False, now_ms=lambda: now)

    before = chain(7000)
    assert before.snapshot() == {}  # nobody has asked for the time
    before.clock.now_ms()
    kept = before.snapshot()
    assert kept == {"in@clock/0": 7000}
    after = chain(3000)
    after.restore({"in@clock": [7000, 6000]})
    assert after.clock.now_ms() == 7000
