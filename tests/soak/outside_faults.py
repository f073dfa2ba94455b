"""Faults of what the job stands on: broker, network, disk.  Each says whether it really hit."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.kafka.proxy import ADD_PARTITIONS, END_TXN, INIT_PRODUCER_ID, PRODUCE, Trouble
from tests.recovery.running_jobs import PROJECT, SECONDS, RunningJob
from tests.soak.field import Field

_APIS = {
    "Produce": PRODUCE,
    "AddPartitionsToTxn": ADD_PARTITIONS,
    "EndTxn": END_TXN,
    "InitProducerId": INIT_PRODUCER_ID,
}
_HIT_SECONDS = 10.0
_NO_SPACE = "No space left on device"


def kill_broker(field: Field) -> bool:
    """kill -9 of the broker under a job at work, which goes on by itself when it is back; or dies meanwhile too."""
    job = field.at_work()
    field.live(0.0, 1.0)
    killed = time.monotonic()
    field.broker.kill()
    is_job_killed = field.random.random() < 0.3
    field.live(0.0, 1.5)
    if is_job_killed:
        field.kill()
    field.broker.start()
    back = time.monotonic()
    mark = field.watcher.mark()
    if is_job_killed:
        job = field.start()
    field.await_output(job, mark, "broker killed -> output", killed)
    field.ledger.waits["broker back -> output"].append(time.monotonic() - back)
    return True


def lose_answers(field: Field) -> bool:
    """Requests of one api are lost, before or after the broker has obeyed; the same process goes on."""
    job = field.at_work()
    name = field.random.choice(list(_APIS))
    trouble = field.random.choice((Trouble.LOSE_ANSWER, Trouble.CUT_BEFORE))
    times = field.random.randint(1, 4)
    began = time.monotonic()
    rule = field.proxy.plan(_APIS[name], trouble, times=times)
    deadline = began + _HIT_SECONDS
    while rule.hits < times and time.monotonic() < deadline:
        field.watcher.wait(lambda: rule.hits >= times, 0.02)
    field.proxy.clear()
    what = "answers" if trouble is Trouble.LOSE_ANSWER else "requests"
    field.ledger.count(f"  {name} {what} lost", rule.hits > 0)
    field.await_output(job, field.watcher.mark(), "answers lost -> output", began)
    return rule.hits > 0


def cut_or_silence(field: Field) -> bool:
    """All connections cut, or nothing comes through for a while, or everything slowly."""
    job = field.at_work()
    began = time.monotonic()
    kind = field.random.choice(("cut", "silence", "slow"))
    has_hit = True
    if kind == "cut":
        for _ in range(field.random.randint(1, 4)):
            has_hit = field.proxy.cut() > 0 and has_hit
            field.live(0.0, 0.3)
    elif kind == "silence":
        with field.proxy.silence():
            field.live(0.3, 4.0)
    else:
        field.proxy.slow(0.05)
        field.live(0.5, 2.0)
        field.proxy.clear()
    field.ledger.count(f"  network: {kind}", has_hit)
    field.await_output(job, field.watcher.mark(), f"network {kind} -> output", began)
    return has_hit


def deliver_late(field: Field) -> bool:
    """A request of a process that is killed comes to the broker while the next process is at work."""
    job = field.at_work()
    name = field.random.choice(list(_APIS))
    field.proxy.plan(_APIS[name], Trouble.HOLD)
    deadline = time.monotonic() + _HIT_SECONDS
    while not field.proxy.held and time.monotonic() < deadline:
        time.sleep(0.01)
    field.proxy.clear()
    has_hit = bool(field.proxy.held)
    killed = field.kill()
    mark = field.watcher.mark()
    job = field.start_alike()
    field.await_output(job, mark, "kill, request held -> output", killed)
    field.live(0.0, 0.5)
    for held in list(field.proxy.held):
        field.proxy.release(held)
    field.ledger.count(f"  {name} of a dead process comes late", has_hit)
    field.await_output(job, field.watcher.mark())
    return has_hit


def fill_disk(field: Field) -> bool:
    """The state directory's disk is full for a while: checkpoints fail, the old ones stay, the job goes on."""
    job = field.at_work()
    failures = job.said.count(_NO_SPACE)
    kind = field.random.choice(("goes on", "goes on", "killed while full", "killed and started while full"))
    with field.disk.filled():
        job.wait_until(lambda: job.said.count(_NO_SPACE) > failures, "a checkpoint fails")
        field.live(0.0, 1.0)
        if kind == "goes on":
            assert not job.has_ended, job.said
        else:
            killed = field.kill()
        check_checkpoints(field)
        if kind == "killed and started while full":
            start_on_a_full_disk(field)
    freed = time.monotonic()
    mark = field.watcher.mark()
    if kind != "goes on":
        job = field.start()
    field.await_output(job, mark, "space is back -> output", freed if kind == "goes on" else killed)
    field.ledger.count(f"  disk full: {kind}", True)
    return True


def check_checkpoints(field: Field) -> None:
    """Every checkpoint that is listed is whole, to the last byte of its files."""
    verify = [sys.executable, "-m", "streamlet", "checkpoints", "verify", str(field.home.job_file)]
    folder = str(field.home.state_dir)
    done = subprocess.run(
        [*verify, "--state-dir", folder], cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0 and ": whole" in done.stdout, done.stdout + done.stderr


def start_on_a_full_disk(field: Field) -> None:
    """It may wait for space or end with an error that names the disk; it must not begin anew."""
    job: RunningJob = field.start()
    field.live(1.0, 2.0)
    if job.has_ended:
        assert job.process.returncode != 0 and _NO_SPACE in job.said, job.said
    job.close()
    field.job = None
    assert "a new start" not in job.said, job.said
