"""A job on three real brokers: nodes that are killed or stopped, leaders that move, topics and logs that are others.

Each kind of trouble happens once; with `STREAMLET_TEST_CLUSTER_MINUTES=30` there is trouble for so long.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.cluster import KafkaCluster
from tests.kafka.reading import fill_topic
from tests.recovery.running_jobs import RunningJob, a_home, a_seed
from tests.recovery.spending import QUICK, Feeder, Spending, Witness, a_spending, a_witness

MINUTES = float(os.environ.get("STREAMLET_TEST_CLUSTER_MINUTES", "0.1"))
RECORDS_A_SECOND = 1000
REPLICAS = (1, 2)
_PORTION = 200
_LOOK_SECONDS = 0.05

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240 + int(MINUTES * 120))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    cluster = KafkaCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


class Trouble:
    """Does one thing after the other to the cluster and the job; one node at most is away at a time."""

    def __init__(self, cluster: KafkaCluster, spending: Spending, witness: Witness) -> None:
        self._cluster, self._spending, self._witness = cluster, spending, witness
        self._random = random.Random(a_seed())
        self.job = self._start()
        self.happened: Counter[str] = Counter()
        self.longest = 0.0
        """Seconds without output, at most, while there was input."""

    def go_on(self, seconds: float) -> None:
        """Lets the job work, and looks on."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            before = self._witness.last_at
            if self._witness.look(_LOOK_SECONDS) and before and self._witness.last_at > before:
                self.longest = max(self.longest, self._witness.last_at - before)
            assert not self.job.has_ended, (
                f"after {now - self.job.started:.0f} s the job ended by itself:\n{self.job.said}"
            )

    def happen(self, kind: str) -> None:
        self.happened[kind] += 1
        if kind == "kill of the job":
            self.job.kill()
            self.job = self._start()
        elif kind == "leaders move":
            for topic in (self._spending.in_topic, self._spending.out_topic):
                self._cluster.move_leaders(topic)
        else:
            node = self._cluster.nodes[self._random.choice(sorted(self._cluster.nodes))]
            if kind == "kill of a node":
                node.kill()
            else:
                node.stop()
            self.go_on(self._random.uniform(0.5, 5.0))
            node.launch()
            while not node.is_up():
                self.go_on(0.2)
        self.go_on(self._random.uniform(0.5, 3.0))

    def run(self, seconds: float) -> None:
        """Each kind once at least, then at random until the time is over."""
        kinds = ["kill of a node", "leaders move", "stop of a node", "kill of the job"]
        began, number = time.monotonic(), 0
        self.go_on(2.0)
        while number < len(kinds) or time.monotonic() - began < seconds:
            self.happen(kinds[number] if number < len(kinds) else self._random.choice(kinds))
            number += 1

    def _start(self) -> RunningJob:
        return self._spending.home.start(*QUICK, "--parallelism", "2")


def test_output_is_exact_whatever_happens_to_three_nodes(cluster: KafkaCluster, tmp_path: Path) -> None:
    began, seconds = time.monotonic(), MINUTES * 60
    with (
        a_spending(cluster, tmp_path, users=500, outages=True) as spending,
        a_witness(cluster, spending.out_topic) as witness,
    ):
        feeder = Feeder(spending.feed, int(RECORDS_A_SECOND * (seconds + 20)), _PORTION, RECORDS_A_SECOND)
        trouble = Trouble(cluster, spending, witness)
        trouble.run(seconds)
        feeder.cancel()
        total, job = len(spending.fed), trouble.job
        job.wait_until(lambda: witness.look(_LOOK_SECONDS) >= total, f"{total} records are committed")
        assert job.stop() == 0, job.said
        spending.check()
        assert "unhealthy" not in job.said.splitlines()[-1]
        happened = ", ".join(f"{count} x {kind}" for kind, count in sorted(trouble.happened.items()))
        print(
            f"{total} records in {time.monotonic() - began:.0f} s, each once: {happened}; longest time without output "
            f"{trouble.longest:.1f} s"
        )


def test_a_broker_that_is_gone_for_good_leaves_the_job_healthy(cluster: KafkaCluster, tmp_path: Path) -> None:
    with a_spending(cluster, tmp_path, outages=True) as spending:
        job = spending.home.start(*QUICK)
        spending.feed(500)
        spending.wait_for_output(job)
        victim = cluster.leaders(spending.in_topic)[0]
        cluster.nodes[victim].kill()
        try:
            spending.feed(500)
            spending.wait_for_output(job)
            job.wait_until_it_says("other brokers lead its partitions now")
            assert job.stop() == 0, job.said
            spending.check()
        finally:
            cluster.nodes[victim].start()


PASSING_ON = """
import os
from streamlet import Job, Text
from streamlet_connectors.files import FileSink
from streamlet_connectors.kafka import KafkaSource

job = Job("passing-on")
job.source(KafkaSource(os.environ["BOOTSTRAP"], os.environ["TOPIC"], value=Text()), uid="in").sink(
    FileSink(os.environ["OUT"]), uid="out"
)
"""


def _passed_on(folder: Path) -> int:
    return sum(len(part.read_text().splitlines()) for part in folder.rglob("*") if part.is_file())


@pytest.mark.parametrize("kind", ["created again", "truncated"])
def test_a_job_that_reads_stops_by_itself_when_the_log_is_another(
    cluster: KafkaCluster, tmp_path: Path, kind: str
) -> None:
    topic = f"another-{kind.replace(' ', '-')}"
    cluster.create_topic_on(REPLICAS, topic, min_insync_replicas=1, unclean_leader_election_enable="true")
    fill_topic(cluster.bootstrap, topic, [b"%d" % number for number in range(100)])
    (tmp_path / "job.py").write_text(PASSING_ON)
    environment = {"BOOTSTRAP": cluster.bootstrap, "TOPIC": topic, "OUT": str(tmp_path / "out")}
    with a_home(tmp_path / "job.py", tmp_path / "state", environment) as home:
        job = home.start(*QUICK)
        if kind == "created again":
            job.wait_until(lambda: _passed_on(tmp_path / "out") >= 100, "all are read")
            cluster.delete_topic(topic)
            cluster.create_topic(topic)
            fill_topic(cluster.bootstrap, topic, [b"new"] * 200)
            assert job.wait() == 1
            assert f"topic {topic} was deleted and created again" in job.said
        else:
            _lose_the_end(cluster, topic, job, tmp_path / "out")
            assert job.wait() == 1
            assert f"topic {topic}, partition 0: the log was truncated: it was read to offset 150" in job.said
            assert "50 offsets that were read are gone" in job.said
    assert "new" not in "".join(part.read_text() for part in (tmp_path / "out").rglob("*") if part.is_file())


def _lose_the_end(cluster: KafkaCluster, topic: str, job: RunningJob, out: Path) -> None:
    """Records 100 to 149 are on one node only when it dies, and another one that lacks them leads."""
    leads, follows = (cluster.nodes[node] for node in REPLICAS)
    follows.kill()
    cluster.wait_for_in_sync(topic, {REPLICAS[0]})
    fill_topic(cluster.bootstrap, topic, [b"%d" % number for number in range(100, 150)])
    job.wait_until(lambda: _passed_on(out) >= 150, "all are read")
    leads.kill()
    try:
        follows.start()
        cluster.wait_for_leader(topic, REPLICAS[1])
        fill_topic(cluster.bootstrap, topic, [b"new"] * 100)
    finally:
        leads.start()
