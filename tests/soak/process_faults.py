"""Faults of the process that runs the job.  Each says whether it really hit."""

from __future__ import annotations

import re
import signal
import time

from tests.recovery.running_jobs import SECONDS, RunningJob
from tests.soak.field import Field

POINTS = (
    "before_manifest",
    "after_manifest_written",
    "after_manifest_renamed",
    "after_manifest_durable",
    "end_txn_sent",
    "end_txn_answered",
    "before_marker",
    "after_marker",
    "during_release",
    "produce_sent",
)
RESTORE_POINTS = (
    "after_attempt_begun",
    "before_settling",
    "end_txn_sent",
    "end_txn_answered",
    "before_marker",
    "after_marker",
    "after_settling",
    "after_opening_recorded",
    "during_restore",
    "",  # a random time
)
_GIVES_UP = re.compile("was taken over by another process|another process has taken this job over")
_POINT_SECONDS = 10.0


def kill(field: Field) -> bool:
    """kill -9 at a random time.  The job is started again at once; every other one may first come to new output."""
    what = f"kill -9 at parallelism {field.parallelism}"
    job = field.job if field.job is not None and not field.job.has_ended else field.start()
    if field.random.random() < 0.5:
        field.live(0.05, 2.0)
    else:
        field.await_output(job, field.watcher.mark())
        field.live(0.0, 1.0)
    killed = field.kill()
    again = field.start()
    if field.random.random() < 0.7:
        field.await_output(again, field.watcher.mark(), f"{what} -> output", killed)
    return True


def kill_at_a_point(field: Field) -> bool:
    """kill -9 at a named instant of a checkpoint."""
    stop_what_runs(field)
    job = field.start(fault=f"{field.random.choice(POINTS)}@{field.random.randint(1, 5)}")
    has_hit = is_killed(job, _POINT_SECONDS)
    field.at_work()
    return has_hit


def kill_in_restore(field: Field) -> bool:
    """A kill while prepared output is open, and a second one before the next process has restored."""
    stop_what_runs(field)
    job = field.start(fault=f"after_manifest_durable@{field.random.randint(3, 6)}")
    assert is_killed(job, SECONDS), f"the first kill did not come:\n{job.said}"
    point = field.random.choice(RESTORE_POINTS)
    job = field.start(fault=point)
    if not point:
        field.live(0.1, 0.4)
        if not job.has_ended:
            job.process.kill()
    has_hit = is_killed(job, _POINT_SECONDS) and not job.has_restored
    killed = time.monotonic()
    mark = field.watcher.mark()
    field.await_output(field.start(), mark, "kill -9 during restore -> output", killed)
    return has_hit


def is_killed(job: RunningJob, seconds: float) -> bool:
    """Waits for a fault point; True when it ended the job, which ends anyway."""
    deadline = time.monotonic() + seconds
    while not job.has_ended and time.monotonic() < deadline:
        time.sleep(0.005)
    has_hit = job.process.poll() == -signal.SIGKILL
    job.close()
    return has_hit


def stop_what_runs(field: Field) -> None:
    """Ends the job as people do."""
    if field.job is not None and not field.job.has_ended:
        assert field.job.stop() == 0, field.job.said
    field.job = None


def clean_stop(field: Field) -> bool:
    """Ctrl-C: a last checkpoint, exit code 0."""
    field.at_work()
    stop_what_runs(field)
    return True


def stand_still(field: Field) -> bool:
    """SIGSTOP for a while, then SIGCONT: the same process goes on."""
    job = field.at_work()
    field.live(0.0, 0.5)
    job.send(signal.SIGSTOP)
    job.wait_until(lambda: job.stands_still, "it stands still")
    field.live(0.1, 4.0)
    mark = field.watcher.mark()
    job.send(signal.SIGCONT)
    field.await_output(job, mark)
    return True


def zombie(field: Field) -> bool:
    """Stopped, taken over, and woken up while another process runs its job: it gives up, and says why."""
    sleeper = field.at_work()
    if field.random.random() < 0.5:
        stop_what_runs(field)
        point = f"{field.random.choice(POINTS)}@{field.random.randint(4, 12)}"
        sleeper = field.start(fault=point, stops=True)
    else:
        field.live(0.0, 0.6)
        sleeper.send(signal.SIGSTOP)
    sleeper.wait_until(lambda: sleeper.stands_still, "it stands still")
    stopped = time.monotonic()
    mark = field.watcher.mark()
    new = field.start("--take-over")
    field.await_output(new, mark, "SIGSTOP, take-over -> output", stopped)
    assert sleeper.stands_still
    sleeper.send(signal.SIGCONT)
    code = sleeper.wait()
    assert code == 1 and _GIVES_UP.search(sleeper.said), f"the zombie ended with {code}:\n{sleeper.said}"
    assert "go on with" not in sleeper.said, sleeper.said
    field.await_output(new, field.watcher.mark())
    return True
