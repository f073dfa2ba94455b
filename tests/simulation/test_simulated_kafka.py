"""The real Kafka connector against a simulated broker over a simulated network: whatever dies, is cut, lost, late or
aborted, the output is that of a run without failures.

`python -m tests.simulation.kafka_seeds` runs more seeds than these, or one of them.
"""

from __future__ import annotations

import os

from tests.simulation.kafka_fair_weather import simulate_moves, simulate_silence
from tests.simulation.kafka_leftovers import written
from tests.simulation.kafka_scenario import kafka_scenario
from tests.simulation.kafka_seeds import KafkaReport, run_kafka_seeds, simulate_kafka
from tests.simulation.seeds import chunks, default_workers, over_processes

SEEDS = 5000 if os.environ.get("STREAMLET_TEST_FULL", "") == "1" else 160
ONCE_FAILED = (61, 73, 124, 148, 242, 433, 1018)
"""A stop while it settled, behind questions that had failed (61); a connection that stayed open when closing was
cancelled; partitions that still joined when closing was cancelled (148, on Python 3.13); a late InitProducerId of a
process that had lost the job; an attempt that such a process had set aside; a reader that was not closed when its task
was cancelled twice; an error that was the cause of its own cause (433)."""
MUST_HAPPEN = (
    "crash", "zombie", "restart", "cut connection", "broker restart", "leader change", "broker that left",
    "disk failure", "going back", "calm",
)  # fmt: skip


def test_output_after_failures_of_job_network_and_broker_is_that_of_a_run_without_failures() -> None:
    total = KafkaReport()
    for report in over_processes(run_kafka_seeds, chunks(sorted({*ONCE_FAILED, *range(SEEDS)})), default_workers()):
        total.add(report)
    assert not total.failures, "\n".join(total.failures[seed] for seed in sorted(total.failures))
    unseen = [kind for kind in MUST_HAPPEN if not total.happened.get(kind)]
    assert not unseen, f"never happened: {unseen}; a simulation without them shows nothing"


def test_no_checkpoint_waits_for_a_group_that_is_for_lag_tools_only() -> None:
    for seed in range(4):
        simulate_silence(seed)


def test_a_job_reads_on_whoever_leads() -> None:
    for seed in range(4):
        simulate_moves(seed)


def test_the_same_seed_gives_the_same_run_of_job_network_and_broker() -> None:
    for seed in (19, 49):
        one, other = simulate_kafka(kafka_scenario(seed)), simulate_kafka(kafka_scenario(seed))
        assert (one.total, one.outcomes, one.happened()) == (other.total, other.outcomes, other.happened())
        assert one.clock.seconds == other.clock.seconds
        assert written(one.scenario, one.kafka) == written(other.scenario, other.kafka)
