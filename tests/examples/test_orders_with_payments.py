"""The orders with their payments, tested with the test kit as a user would."""

from __future__ import annotations

from examples import orders_with_payments as example
from streamlet.testing import crash_everywhere


def test_a_kill_at_any_step_joins_the_same_orders_with_the_same_payments() -> None:
    inputs = {
        node.uid: [make(number) for number in range(40)]
        for node, make in zip(example.job.graph.nodes[:2], (example.order, example.payment), strict=True)
    }
    assert crash_everywhere(example.job, inputs, at_most=20).killed == 20
