"""What the network may do between a job and a real broker: lose answers, cut, fall silent, deliver late."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kafka.broker import KafkaBroker
from tests.kafka.proxy import ADD_PARTITIONS, END_TXN, INIT_PRODUCER_ID, PRODUCE, Held, Proxy, Trouble, a_proxy
from tests.kafka.wire_driving import a_wire
from tests.recovery.running_jobs import SECONDS, RunningJob
from tests.recovery.spending import QUICK, Spending, a_spending

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

RECORDS = 1000


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    broker = KafkaBroker(is_proxied=True)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def proxy(broker: KafkaBroker) -> Iterator[Proxy]:
    with a_proxy(broker) as proxy:
        yield proxy


@pytest.fixture
def spending(broker: KafkaBroker, proxy: Proxy, tmp_path: Path) -> Iterator[Spending]:
    """The job goes through the proxy; what feeds it and what reads its output does not."""
    with a_spending(broker, tmp_path, BOOTSTRAP=proxy.bootstrap) as spending:
        yield spending


def a_job_at_work(spending: Spending) -> RunningJob:
    spending.feed(RECORDS)
    job = spending.home.start(*QUICK)
    spending.wait_for_output(job)
    return job


def go_on(spending: Spending, job: RunningJob) -> None:
    """The process gets to the end of what was fed, and its output is exact."""
    spending.feed(RECORDS)
    spending.wait_for_output(job)
    assert job.stop() == 0, job.said
    spending.check()


def feed_until(spending: Spending, job: RunningJob, condition: Callable[[], bool], what: str) -> None:
    def fed_and_seen() -> bool:
        spending.feed(50)
        return condition()

    job.wait_until(fed_and_seen, what)


@pytest.mark.parametrize("trouble", [Trouble.LOSE_ANSWER, Trouble.CUT_BEFORE])
def test_a_running_job_gets_over_requests_whose_answers_are_lost(
    spending: Spending, proxy: Proxy, trouble: Trouble
) -> None:
    job = a_job_at_work(spending)
    for api in (END_TXN, PRODUCE, ADD_PARTITIONS, INIT_PRODUCER_ID):
        rule = proxy.plan(api, trouble, times=2)
        feed_until(spending, job, lambda rule=rule: rule.hits == 2, f"api {api}: two answers are lost")  # type: ignore[misc]
    go_on(spending, job)
    assert "restart 1" not in job.said


def test_a_running_job_gets_over_cuts_silence_and_slowness_in_mid_transaction(spending: Spending, proxy: Proxy) -> None:
    job = a_job_at_work(spending)
    for _ in range(3):
        # A Produce has just gone out, so a transaction is open.
        rule = proxy.plan(PRODUCE, Trouble.LOSE_ANSWER)
        feed_until(spending, job, lambda rule=rule: rule.hits == 1, "a transaction is open")  # type: ignore[misc]
        assert proxy.cut() > 0
    with proxy.silence():
        spending.feed(RECORDS)
    proxy.slow(0.02)
    go_on(spending, job)


@pytest.mark.parametrize("api", [PRODUCE, END_TXN])
def test_a_request_of_a_dead_process_that_comes_late_changes_nothing(
    spending: Spending, proxy: Proxy, api: int
) -> None:
    first = a_job_at_work(spending)
    proxy.plan(api, Trouble.HOLD)
    feed_until(spending, first, lambda: bool(proxy.held), "a request is on its way")
    first.kill()
    second = a_job_at_work(spending)
    proxy.release(proxy.held[0])
    go_on(spending, second)


def test_an_id_that_a_dead_process_takes_late_costs_a_prepared_transaction_but_no_record(
    spending: Spending, proxy: Proxy, broker: KafkaBroker
) -> None:
    """InitProducerId knows no epoch of its sender, so the broker obeys it, and aborts what the next attempt prepared
    under the id.  The checkpoint that lists it was decided; it is given up and made again."""
    first = spending.home.start("--checkpoint-interval", "50ms")
    feed_until(spending, first, lambda: first.has_restored, "it runs")
    proxy.plan(INIT_PRODUCER_ID, Trouble.HOLD, only=lambda frame: transactional_id(frame).endswith(".0.0"))
    feed_until(spending, first, lambda: bool(proxy.held), "it takes the first id of its pool")
    first.kill()
    (late,) = proxy.held

    second = spending.home.start(*QUICK, fault="after_manifest_durable", stops=True)
    feed_until(spending, second, lambda: second.stands_still, "a checkpoint is decided, its output prepared")
    assert asyncio.run(fate(broker, transactional_id(late.frame), late, proxy)) == ["Ongoing", "CompleteAbort"]
    second.send(signal.SIGCONT)
    go_on(spending, second)
    assert "restart 1 in" in second.said
    assert "going back from checkpoint" in second.said


def transactional_id(frame: bytes) -> str:
    """The id in an InitProducerId request of version 0: behind api, version, correlation id and client id."""
    start = 10 + int.from_bytes(frame[8:10])
    return frame[start + 2 : start + 2 + int.from_bytes(frame[start : start + 2])].decode()


async def fate(broker: KafkaBroker, id: str, late: Held, proxy: Proxy) -> list[str]:
    """What the coordinator says of the transaction before and after the request has come."""
    async with a_wire(broker.bootstrap) as wire:
        before = (await wire.describe(id)).state
        proxy.release(late)
        async with asyncio.timeout(SECONDS):
            while (after := (await wire.describe(id)).state) in ("Ongoing", "PrepareAbort"):  # noqa: ASYNC110 - a broker tells nobody
                await asyncio.sleep(0.01)
        return [before, after]
