"""The job under fire: its topics, its state directory, its traffic, and the process that runs it now."""

from __future__ import annotations

import contextlib
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests import checker
from tests.kafka.broker import KafkaBroker
from tests.kafka.proxy import Proxy, a_proxy
from tests.recovery.running_jobs import JobHome, RunningJob, a_home
from tests.recovery.small_disk import SmallDisk, a_small_disk
from tests.recovery.spending import JOB, PARTITIONS, QUICK
from tests.soak.ledger import Ledger
from tests.soak.traffic import Feeder, Watcher

USERS = 1000
OUTPUT_SECONDS = 60.0
"""New output comes within so long after any fault, or the soak fails."""
_END_SECONDS = 300.0
_CHECK_SECONDS = 900.0
_DISK_MEGABYTES = 12


class Field:
    """One job on one pair of topics. Faults use `random` for what they choose, and `ledger` for what they saw."""

    def __init__(
        self,
        broker: KafkaBroker,
        proxy: Proxy,
        disk: SmallDisk,
        home: JobHome,
        topics: tuple[str, str],
        records: int,
        parallelism: Sequence[int],
        ledger: Ledger,
        randomness: random.Random,
    ) -> None:
        self.broker, self.proxy, self.disk, self.home = broker, proxy, disk, home
        self.ledger, self.random = ledger, randomness
        self.job: RunningJob | None = None
        self.parallelism = parallelism[0]
        self.feeder = Feeder(broker.bootstrap, topics[0], records, USERS, randomness.randrange(1 << 30))
        self.watcher = Watcher(broker.bootstrap, topics[1], PARTITIONS)
        self._choices = parallelism
        self._topics = topics

    # --- the process ------------------------------------------------------------------------------------------------

    def start(self, *options: str, fault: str = "", stops: bool = False) -> RunningJob:
        """Starts the job with a parallelism of the field's choice."""
        self._require_no_end_of_its_own()
        self.parallelism = self.random.choice(self._choices)
        chosen = (*QUICK, "--parallelism", str(self.parallelism))
        self.job = self.home.start(*chosen, *options, fault=fault, stops=stops)
        return self.job

    def start_alike(self) -> RunningJob:
        """Starts the job with the parallelism that it had."""
        self._require_no_end_of_its_own()
        self.job = self.home.start(*QUICK, "--parallelism", str(self.parallelism))
        return self.job

    def at_work(self) -> RunningJob:
        """The job that runs, or a new one; it has committed something that was not there before."""
        if self.job is None or self.job.has_ended:
            mark = self.watcher.mark()
            self.await_output(self.start(), mark)
        assert self.job is not None
        return self.job

    def _require_no_end_of_its_own(self) -> None:
        """A job that gave up is a failure, also where a new start would go on as if nothing had been."""
        code = None if self.job is None else self.job.process.poll()
        assert code in (None, -signal.SIGKILL), f"the job ended by itself ({code}):\n{self.job and self.job.said}"

    def kill(self) -> float:
        """`kill -9`, and when it was."""
        assert self.job is not None
        self.job.kill()
        self.job = None
        return time.monotonic()

    def live(self, shortest: float, longest: float) -> None:
        """Lets things go on for a random time."""
        time.sleep(self.random.uniform(shortest, longest))

    def await_output(self, job: RunningJob, mark: dict[int, int], what: str = "", since: float = 0.0) -> None:
        """Waits until something behind the mark is visible, and notes under `what` how long that took."""
        self.await_condition(job, lambda: self.watcher.has_passed(mark), OUTPUT_SECONDS, "new output is committed")
        if what:
            self.ledger.waits[what].append(time.monotonic() - since)

    def await_condition(self, job: RunningJob, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not self.watcher.wait(condition, 0.05):
            assert not job.has_ended, f"the job ended ({job.process.returncode}) before {what}:\n{job.said}"
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}:\n{job.said}"

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self, name: str, *, console: bool) -> None:
        """Feeds the rest, lets the job get to its end, stops it, and has the output judged."""
        self.proxy.clear()
        fed = self.feeder.finish()
        job = self.start() if self.job is None or self.job.has_ended else self.job  # `start` judges how it ended
        self.await_condition(job, lambda: self.watcher.seen >= fed, _END_SECONDS, f"{fed} records are committed")
        assert job.stop() == 0, job.said
        said = checker.check(self.broker.bootstrap, *self._topics, console=console, seconds=_CHECK_SECONDS)
        self.ledger.checks.append((name, said))
        assert said["exact"], f"{name}: {said}\n" + "\n".join(run.said[-1500:] for run in self.home.runs[-3:])


@contextlib.contextmanager
def a_field(
    broker: KafkaBroker,
    folder: Path,
    records: int,
    parallelism: Sequence[int],
    ledger: Ledger,
    randomness: random.Random,
    *,
    is_on_small_disk: bool = False,
    is_behind_proxy: bool = False,
) -> Iterator[Field]:
    """New topics, a new state directory, and traffic that has begun."""
    name = uuid.uuid4().hex[:12]
    topics = f"payments-{name}", f"spend-{name}"
    for topic in topics:
        broker.create_topic(topic, PARTITIONS)
    logs = folder / f"said-{name}"
    logs.mkdir()
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(a_small_disk(folder / f"disk-{name}", _DISK_MEGABYTES))
        proxy = stack.enter_context(a_proxy(broker))
        bootstrap = proxy.bootstrap if is_behind_proxy else broker.bootstrap
        environment = {"BOOTSTRAP": bootstrap, "IN_TOPIC": topics[0], "OUT_TOPIC": topics[1]}
        state = (disk.folder if is_on_small_disk else folder) / f"state-{name}"
        home = stack.enter_context(a_home(JOB, state, environment, logs))
        field = Field(broker, proxy, disk, home, topics, records, parallelism, ledger, randomness)
        stack.callback(field.watcher.close)
        yield field
