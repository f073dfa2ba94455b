"""An output topic that is deleted while its prepared output waits: the start stops, and goes on when the loss is
accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kafka.broker import Kafka
from tests.kafka.reading import read_committed
from tests.recovery.spending import PARTITIONS, QUICK, a_spending

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

RECORDS = 500


def test_output_in_a_topic_that_was_deleted_and_created_again_stops_the_start_until_its_loss_is_accepted(
    kafka: Kafka, tmp_path: Path
) -> None:
    with a_spending(kafka, tmp_path) as spending:
        spending.feed(RECORDS)
        killed = spending.home.start(*QUICK, fault="after_manifest_durable@3")
        spending.feed_while(killed)
        killed.wait_until_killed()
        kafka.delete_topic(spending.out_topic)
        kafka.create_topic(spending.out_topic, PARTITIONS)
        for _ in range(2):
            refused = spending.home.start(*QUICK)
            assert refused.wait() == 1, refused.said
            assert f"topic '{spending.out_topic}' was deleted and created again" in refused.said
            assert "records: lost" in refused.said and "--accept-lost-output" in refused.said
        accepted = spending.home.start(*QUICK, "--accept-lost-output")
        accepted.wait_until_it_says("restored checkpoint")
        assert "output is lost, as accepted" in accepted.said
        before = len(spending.fed)
        spending.feed(RECORDS)

        def seen() -> int:
            return len(read_committed(kafka.bootstrap, spending.out_topic))

        accepted.wait_until(lambda: seen() >= RECORDS, "what was fed since is committed")
        assert accepted.stop() == 0, accepted.said
        assert RECORDS <= seen() < before + RECORDS
        again = spending.home.start(*QUICK)
        spending.feed(RECORDS)
        wanted = seen() + RECORDS
        again.wait_until(lambda: seen() >= wanted, "the next start needs no flag")
        assert again.stop() == 0, again.said
