"""What the network may do between a job and a real broker: lose answers, cut, fall silent, deliver late."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from tests.kafka.broker import KafkaBroker
from tests.kafka.proxy import ADD_PARTITIONS, END_TXN, INIT_PRODUCER_ID, PRODUCE, Held, Proxy, Trouble, a_proxy
from tests.kafka.reading import Read, read_committed
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
        job.wait_until(lambda: proxy.cut() > 0, "what is connected is cut")
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


def prepared_by_the_second(spending: Spending, proxy: Proxy, subtask: int, *options: str) -> tuple[RunningJob, Held]:
    """A job whose newest checkpoint is decided and not committed, and an InitProducerId of the process before it that
    has not come yet."""
    id = f".{subtask}.0"
    first = spending.home.start("--checkpoint-interval", "50ms", *options)
    feed_until(spending, first, lambda: first.has_restored, "it runs")
    proxy.plan(INIT_PRODUCER_ID, Trouble.HOLD, only=lambda frame: transactional_id(frame).endswith(id))
    feed_until(spending, first, lambda: bool(proxy.held), "it takes the first id of its pool")
    first.kill()
    (late,) = proxy.held
    # On a busy machine a shorter time may be over before anything was read.
    second = spending.home.start("--checkpoint-interval", "1s", *options, fault="after_manifest_durable", stops=True)
    feed_until(spending, second, lambda: second.stands_still, "a checkpoint is decided, its output prepared")
    return second, late


@pytest.mark.parametrize("parallelism", [1, 3])
def test_an_id_that_a_dead_process_takes_late_is_none_of_the_next_attempt(
    spending: Spending, proxy: Proxy, broker: KafkaBroker, parallelism: int
) -> None:
    """InitProducerId knows no epoch of its sender: the broker obeys it, and aborts whatever is open under the id."""
    second, late = prepared_by_the_second(spending, proxy, parallelism - 1, "--parallelism", str(parallelism))
    asyncio.run(taken(broker, late, proxy))
    second.send(signal.SIGCONT)
    go_on(spending, second)
    assert "restart 1" not in second.said


def aborted_under_the_second(
    spending: Spending, proxy: Proxy, broker: KafkaBroker, subtask: int, *options: str
) -> RunningJob:
    """A job whose newest checkpoint is decided and not committed, when a stranger takes an id of its attempt."""
    second, _ = prepared_by_the_second(spending, proxy, subtask, *options)
    asyncio.run(aborted(broker, prepared_id(spending)))
    second.send(signal.SIGCONT)
    return second


def prepared_id(spending: Spending) -> str:
    """The id of a transaction that the newest checkpoint lists: of its last subtask that had anything to write."""
    storage = CheckpointStorage(spending.home.state_dir, "spend-per-user", LocalDisk())
    newest = max(storage.checkpoints(), key=lambda info: info.id).manifest
    assert newest is not None and newest.committables
    return str(max(newest.committables, key=lambda listed: listed.subtask).committable.id.split("/")[0])


def test_an_id_that_a_stranger_takes_costs_a_prepared_transaction_but_no_record(
    spending: Spending, proxy: Proxy, broker: KafkaBroker
) -> None:
    """The checkpoint that lists it was decided; it is given up and made again."""
    second = aborted_under_the_second(spending, proxy, broker, 0)
    go_on(spending, second)
    assert "restart 1 in" in second.said
    assert "going back from checkpoint" in second.said


def test_when_others_of_its_checkpoint_are_committed_the_job_stops_and_names_what_is_lost(
    spending: Spending, proxy: Proxy, broker: KafkaBroker
) -> None:
    """Of three transactions of one checkpoint, one is aborted.  If it is the first to be committed, nothing is lost;
    else there is no way that neither loses nor doubles, and none is taken."""
    second = aborted_under_the_second(spending, proxy, broker, 2, "--parallelism", "3")
    second.wait_until(lambda: "restart 1 in" in second.said, "the attempt fails")
    second.wait_until(
        lambda: "going back from checkpoint" in second.said or "without losing or doubling output" in second.said,
        "settling has judged",
    )
    if "going back from checkpoint" in second.said:
        go_on(spending, second)
        return
    assert second.wait() == 1
    assert "--accept-lost-output" in second.said
    lost = sum(map(int, re.findall(r", (\d+) records: aborted", second.said)))
    assert lost > 0, second.said
    # Nobody may be able to read what was committed: all that is prepared beside it stays open until that is decided.
    third = spending.home.start(*QUICK, "--parallelism", "3", "--accept-lost-output")
    spending.feed(RECORDS)

    def committed() -> list[Read]:
        return read_committed(broker.bootstrap, spending.out_topic, to_the_end=False)

    third.wait_until(lambda: len(committed()) >= len(spending.fed) - lost, "all but what is lost is committed")
    assert third.stop() == 0, third.said
    counts: dict[str, list[int]] = defaultdict(list)
    for record in committed():
        value = json.loads(record.value or b"")
        counts[value["user"]].append(value["count"])
    last = Counter(user for user, _ in spending.fed)
    # Of each user what came first is missing, if anything: the rest is there once and in order.
    assert all(
        numbers == list(range(last[user] + 1 - len(numbers), last[user] + 1)) for user, numbers in counts.items()
    )
    assert sum(map(len, counts.values())) == len(spending.fed) - lost


def transactional_id(frame: bytes) -> str:
    """The id in an InitProducerId request of version 0: behind api, version, correlation id and client id."""
    start = 10 + int.from_bytes(frame[8:10])
    return frame[start + 2 : start + 2 + int.from_bytes(frame[start : start + 2])].decode()


async def taken(broker: KafkaBroker, late: Held, proxy: Proxy) -> None:
    """Lets the request come, and returns when the coordinator has done it."""
    id = transactional_id(late.frame)
    async with a_wire(broker.bootstrap) as wire:
        before = await wire.describe(id)
        proxy.release(late)
        async with asyncio.timeout(SECONDS):
            while await wire.describe(id) == before:  # noqa: ASYNC110 - a broker tells nobody
                await asyncio.sleep(0.01)


async def aborted(broker: KafkaBroker, id: str) -> None:
    """Takes an id whose transaction is open."""
    async with a_wire(broker.bootstrap) as wire:
        assert (await wire.describe(id)).state == "Ongoing"
        await wire.init(id)
