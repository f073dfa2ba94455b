"""The deduplicating example, tested with the test kit as a user would."""

from __future__ import annotations

from examples.deduplicate import job
from streamlet.testing import collect, crash_everywhere


def test_an_event_comes_out_once_and_what_has_no_id_is_a_dead_letter() -> None:
    deliveries = [{"id": "a", "at": 0}, {"id": "b", "at": 1}, {"id": "a", "at": 2}, {"at": 3}]
    out = collect(job, {"deliveries": deliveries})
    assert [one["id"] for one in out.pop("out")] == ["a", "b"]
    ((letter),) = out.popitem()[1]
    assert letter.value == {"at": 3}


def test_a_kill_at_any_step_lets_no_event_through_twice() -> None:
    deliveries = [{"id": f"event-{number % 20}", "at": number} for number in range(60)]
    assert crash_everywhere(job, {"deliveries": deliveries}, at_most=20).killed == 20
