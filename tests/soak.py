"""A soak: `python -m tests.soak --minutes 10 --seed 7`.

Runs `examples/spend_per_user.py` on a real broker of its own under faults drawn by the seed, round after round, each on
new topics and a new state directory: kill -9 at a random time or at a named instant, a second kill while the first is
restored, SIGSTOP and CONT, a take-over of a stopped process that wakes up later, a broker killed and started again,
another parallelism at the next start, a clean stop.  After each round an independent reader checks every record.
The seed fixes which faults come in which order; when they hit differs from run to run.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.kafka.broker import KafkaBroker
from tests.recovery.running_jobs import RunningJob
from tests.recovery.spending import QUICK, Feeder, Spending, a_spending

RECORDS = 40_000
FAULTS_PER_ROUND = 8
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
    "after_attempt_begun",
    "before_settling",
    "after_settling",
    "during_restore",
    "produce_sent",
)


class Round:
    """One job on one pair of topics, hit by faults until its input has ended."""

    def __init__(self, spending: Spending, broker: KafkaBroker, randomness: random.Random) -> None:
        self._spending = spending
        self._broker = broker
        self._random = randomness
        self.faults: collections.Counter[str] = collections.Counter()

    def run(self) -> None:
        """Feeds, hits, and checks that the output is exact."""
        feeder = Feeder(self._spending.feed, RECORDS, 500, RECORDS / (FAULTS_PER_ROUND * 2.0))
        hits = (
            self.kill,
            self.kill_at_a_point,
            self.kill_twice,
            self.stop_and_go_on,
            self.take_over,
            self.kill_the_broker,
            self.stop,
        )
        for _ in range(FAULTS_PER_ROUND):
            hit = self._random.choice(hits)
            self.faults[hit.__name__] += 1
            hit()
        feeder.finish()
        self._spending.finish("--parallelism", self._parallelism())

    def _parallelism(self) -> str:
        return str(self._random.choice((1, 1, 2, 3)))

    def _start(self, *options: str, fault: str = "") -> RunningJob:
        return self._spending.home.start(*QUICK, "--parallelism", self._parallelism(), *options, fault=fault)

    def _live(self, longest: float = 2.0) -> None:
        time.sleep(self._random.uniform(0.1, longest))

    def kill(self) -> None:
        """kill -9 at a random time."""
        job = self._start()
        self._live()
        job.kill()

    def kill_at_a_point(self) -> None:
        """kill -9 at a named instant, or soon, if the job does not come by there."""
        job = self._start(fault=f"{self._random.choice(POINTS)}@{self._random.randint(1, 3)}")
        deadline = time.monotonic() + 3.0
        while not job.has_ended and time.monotonic() < deadline:
            time.sleep(0.01)
        job.close()

    def kill_twice(self) -> None:
        """A kill while prepared output is open, and another one soon after the restart."""
        self.kill_at_a_point()
        job = self._start()
        self._live(0.8)
        job.kill()

    def stop_and_go_on(self) -> None:
        """SIGSTOP for a while, then CONT; the job goes on, and is killed later."""
        job = self._start()
        self._live()
        job.send(signal.SIGSTOP)
        self._live()
        job.send(signal.SIGCONT)
        self._live()
        job.kill()

    def take_over(self) -> None:
        """A stopped process loses its job to another one, and wakes up beside it."""
        old = self._start()
        self._live()
        old.send(signal.SIGSTOP)
        new = self._start("--take-over")
        self._live()
        old.send(signal.SIGCONT)
        self._live()
        old.close()
        new.kill()

    def kill_the_broker(self) -> None:
        """The broker dies under the job, and comes back."""
        job = self._start()
        self._live()
        self._broker.kill()
        self._live(1.0)
        self._broker.start()
        self._live(3.0)
        job.kill()

    def stop(self) -> None:
        """Ctrl-C: a last checkpoint, exit code 0."""
        job = self._start()
        code = job.stop()
        if code != 0:
            raise AssertionError(f"a clean stop ended with {code}:\n{job.said}")


def main() -> int:
    """Runs rounds until the time is over; 1 at the first wrong round, with its seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    first = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 30)
    deadline = time.monotonic() + arguments.minutes * 60
    faults: collections.Counter[str] = collections.Counter()
    broker = KafkaBroker()
    broker.start()
    rounds = 0
    try:
        while rounds == 0 or time.monotonic() < deadline:
            seed = first + rounds
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="streamlet-soak-") as folder:
                with a_spending(broker, Path(folder), users=200, outages=True) as spending:
                    one = Round(spending, broker, random.Random(seed))
                    try:
                        one.run()
                    except BaseException:
                        said = "\n".join(run.said[-1500:] for run in spending.home.runs[-3:])
                        print(f"FAILED with --seed {seed}: {dict(one.faults)}\n{said}", flush=True)
                        raise
                faults += one.faults
            rounds += 1
            print(
                f"round {rounds}, seed {seed}: exact, {RECORDS} records, {time.monotonic() - began:.0f} s", flush=True
            )
    finally:
        broker.close()
    print(f"{rounds} rounds exact; faults: {dict(faults)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
