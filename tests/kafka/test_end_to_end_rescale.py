"""A job that goes on with another parallelism goes on with the same output."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kafka.broker import Kafka
from tests.recovery.spending import QUICK, a_spending

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def test_output_is_exact_over_one_then_three_then_two_subtasks(kafka: Kafka, tmp_path: Path) -> None:
    with a_spending(kafka, tmp_path, users=300) as spending:
        spending.feed(3000)
        one = spending.home.start(*QUICK)
        spending.wait_for_output(one)
        assert one.stop() == 0, one.said
        spending.feed(3000)
        three = spending.home.start(*QUICK, "--parallelism", "3")
        spending.wait_for_output(three)
        spending.feed(3000)
        three.kill()
        spending.finish("--parallelism", "2")
