"""The deduplicating example, tested with the test kit as a user would."""

from __future__ import annotations

from examples.deduplicate import job
from streamlet.testing import collect


def test_an_event_comes_out_once_and_what_has_no_id_is_a_dead_letter() -> None:
    deliveries = [{"id": "a", "at": 0}, {"id": "b", "at": 1}, {"id": "a", "at": 2}, {"at": 3}]
    out = collect(job, {"deliveries": deliveries})
    assert [one["id"] for one in out.pop("out")] == ["a", "b"]
    ((letter),) = out.popitem()[1]
    assert letter.value == {"at": 3}
