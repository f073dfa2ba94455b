"""How batches reach the subtasks of the next task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from streamlet.connect import Batch
from streamlet.elements import Barrier, Element
from streamlet.errors import RecordError
from streamlet.graph.job_graph import Routing
from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.channel import Channel
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.routing import Router
from streamlet.state.encoding.key_groups import key_group, pack_key, subtask_of
from tests.naming import shown
from tests.unit.operator_kit import Origin

KEY_GROUPS = 16
PLACE = Place("job.py", 7, "aggregate", "count")


def _routed(
    routing: Routing,
    count: int,
    *batches: Batch[Any],
    subtask: int = 0,
    traces_origins: bool = False,
    then: Sequence[Element] = (),
) -> list[list[Element]]:
    """What each subtask's channel holds after these batches."""

    async def work() -> list[list[Element]]:
        channels: list[Channel] = [InputGate(Backlog(1000)).connect(0) for _ in range(count)]
        router = Router(routing, subtask, channels, KEY_GROUPS, PLACE, traces_origins=traces_origins)
        for batch in batches:
            await router.deliver(batch)
        for element in then:
            router.broadcast(element)
        return [list(channel.waiting) for channel in channels]

    return asyncio.run(work())


def _values(elements: list[Element]) -> list[Any]:
    return [value for element in elements if isinstance(element, Batch) for value in element.values]


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_every_row_goes_to_the_owner_of_its_key_in_order(count: int) -> None:
    keys = [f"user-{number % 37}" for number in range(400)]
    rows = list(enumerate(keys))
    for subtask, elements in enumerate(
        _routed(Routing.HASH, count, Batch(rows[:150], keys=keys[:150]), Batch(rows[150:], keys=keys[150:]))
    ):
        expected = [
            row for row in rows if subtask_of(key_group(pack_key(row[1]), KEY_GROUPS), count, KEY_GROUPS) == subtask
        ]
        assert _values(elements) == expected


def test_keys_and_times_stay_with_their_rows() -> None:
    keys = list(range(50))
    columns = _routed(Routing.HASH, 3, Batch([-key for key in keys], [key * 10 for key in keys], keys))
    seen = [
        row
        for elements in columns
        for batch in elements
        if isinstance(batch, Batch)
        for row in zip(batch.values, batch.timestamps or (), batch.keys or (), strict=True)
    ]
    assert sorted(seen, key=lambda row: row[2]) == [(-key, key * 10, key) for key in keys]


def test_rebalance_deals_batches_in_turn_and_each_sender_begins_elsewhere() -> None:
    batches = [Batch([number]) for number in range(4)]
    assert list(map(_values, _routed(Routing.REBALANCE, 3, *batches))) == [[0, 3], [1], [2]]
    assert list(map(_values, _routed(Routing.REBALANCE, 3, *batches, subtask=1))) == [[2], [0, 3], [1]]


def test_broadcast_gives_every_batch_to_every_subtask() -> None:
    assert list(map(_values, _routed(Routing.BROADCAST, 3, Batch([1, 2])))) == [[1, 2]] * 3


@pytest.mark.parametrize("routing", Routing)
def test_barriers_go_to_every_subtask_behind_what_was_sent_before(routing: Routing) -> None:
    for elements in _routed(routing, 3, Batch(["x"], keys=["x"]), then=[Barrier(4)]):
        assert elements[-1] == Barrier(4)


def test_origins_end_at_a_shuffle_unless_the_job_traces_them() -> None:
    batch = Batch(list(range(20)), keys=list(range(20)), origin=Origin(), rows=list(range(100, 120)))
    for elements in _routed(Routing.HASH, 2, batch):
        assert all(isinstance(one, Batch) and one.describe_row(0) is None for one in elements)
    for elements in _routed(Routing.HASH, 2, batch, traces_origins=True):
        for one in elements:
            assert isinstance(one, Batch)
            assert [one.describe_row(row) for row in range(len(one))] == [
                f"record {value + 100}" for value in one.values
            ]


@pytest.mark.parametrize("key", [2.5, None, [1], {"a": 1}, object(), ("a", 1.5)], ids=shown)
def test_a_key_that_cannot_be_one_names_the_operator_and_the_record(key: Any) -> None:
    with pytest.raises(RecordError, match=r"job\.py:7: .*cannot be a key(.|\n)*in aggregate 'count'") as caught:
        _routed(Routing.HASH, 2, Batch(["a", "b"], [10, 20], ["fine", key]))
    assert "time 20 ms" in str(caught.value)
    assert caught.value.remedy is not None
