"""process: the user's own function with value, list and map state, on both stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlet import KeyedProcessFunction, ListState, MapState, ProcessContext, ValueState
from streamlet.errors import JobDefinitionError, UserFunctionError
from streamlet.operators.process import KeyedProcess
from tests.unit.operator_kit import Keyed, Origin
from tests.unit.state_kit import STORES


class Remembering(KeyedProcessFunction[str, int, tuple[str, int, list[int], list[tuple[int, int]]]]):
    """Emits everything that it remembers of the key; the value 0 makes it forget."""

    count = ValueState(int)
    values = ListState(int)
    squares = MapState(int, int)

    def process_element(
        self, value: int, ctx: ProcessContext[str]
    ) -> Iterator[tuple[str, int, list[int], list[tuple[int, int]]]]:
        if value == 0:
            self.count.clear()
            self.values.clear()
            self.squares.clear()
            return
        self.count.update((self.count.value() or 0) + 1)
        self.values.add(value)
        self.squares.put(value, value * value)
        yield ctx.key, self.count.value() or 0, self.values.get(), sorted(self.squares.items())


def _key(value: int) -> str:
    return "k"


@pytest.mark.parametrize("kind", STORES)
def test_value_list_and_map_state_belong_to_the_key(kind: type[Any], tmp_path: Path) -> None:
    keyed = Keyed(kind, tmp_path, KeyedProcess(Remembering()))
    assert keyed.values([1, 2, 3], lambda value: "odd" if value % 2 else "even") == [
        ("odd", 1, [1], [(1, 1)]),
        ("even", 1, [2], [(2, 4)]),
        ("odd", 2, [1, 3], [(1, 1), (3, 9)]),
    ]
    keyed.checkpoint()


@pytest.mark.parametrize("kind", STORES)
def test_state_is_there_again_after_a_restore(kind: type[Any], tmp_path: Path) -> None:
    before = Keyed(kind, tmp_path, KeyedProcess(Remembering()))
    before.values([1, 2], _key)
    after = Keyed(kind, tmp_path, KeyedProcess(Remembering()), before.checkpoint())
    assert after.values([3], _key) == [("k", 3, [1, 2, 3], [(1, 1), (2, 4), (3, 9)])]
    after.checkpoint()


@pytest.mark.parametrize("kind", STORES)
def test_what_was_cleared_stays_cleared_after_a_restore(kind: type[Any], tmp_path: Path) -> None:
    before = Keyed(kind, tmp_path, KeyedProcess(Remembering()))
    before.values([1, 2], _key)
    middle = Keyed(kind, tmp_path, KeyedProcess(Remembering()), before.checkpoint())
    assert middle.values([0], _key) == []
    after = Keyed(kind, tmp_path, KeyedProcess(Remembering()), middle.checkpoint())
    assert after.values([5], _key) == [("k", 1, [5], [(5, 25)])]
    after.checkpoint()


class Emitting(KeyedProcessFunction[str, int, Any]):
    """Emits whatever it was made with, and the time."""

    def __init__(self, emits: object) -> None:
        self.emits = emits
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterable[Any] | None:
        self.calls.append(f"{ctx.key} {value} {ctx.timestamp}")
        made: Any = self.emits
        if isinstance(made, Exception) and value == 2:
            raise made
        return [list(self.calls)] if made is True else None if isinstance(made, Exception) else made

    def close(self) -> None:
        self.calls.append("close")


@pytest.mark.parametrize("emits", [None, (), []])
def test_a_function_that_gives_nothing_emits_no_batch(emits: object, tmp_path: Path) -> None:
    assert Keyed(STORES[1], tmp_path, KeyedProcess(Emitting(emits))).feed([1, 2], _key) == []


def test_the_function_sees_key_and_time_and_is_opened_once(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Emitting(True)))
    (batch,) = keyed.feed([7, 8], _key, timestamps=[70, 80])
    assert batch.values[-1] == ["open", "k 7 70", "k 8 80"]
    (without_times,) = keyed.feed([9], _key)
    assert without_times.values[-1][-1] == "k 9 None"


def test_each_subtask_works_on_a_copy_of_the_users_instance(tmp_path: Path) -> None:
    function = Emitting(True)
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(function))
    keyed.feed([1], _key)
    keyed.operator.close()
    assert function.calls == []


def test_what_is_emitted_has_time_key_and_origin_of_its_record(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Emitting(["x", "y"])))
    (batch,) = keyed.feed([1, 2], str, timestamps=[10, 20], origin=Origin(), rows=[5, 6])
    assert batch.values == ["x", "y", "x", "y"]
    assert batch.timestamps == [10, 10, 20, 20]
    assert [slot.key for slot in batch.keys or ()] == ["1", "1", "2", "2"]
    assert [batch.describe_row(row) for row in range(4)] == ["record 5", "record 5", "record 6", "record 6"]


@pytest.mark.parametrize("error", [ValueError("bad"), StopIteration(), KeyError("k")])
def test_an_error_names_the_line_and_the_record(error: Exception, tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Emitting(error)))
    with pytest.raises(UserFunctionError) as caught:
        keyed.feed([1, 2, 3], _key, origin=Origin())
    assert str(caught.value).startswith(f"{__file__}:")
    assert f"in process_element: {type(error).__name__}" in str(caught.value)
    assert "record: record 1" in str(caught.value)


def test_giving_something_that_is_no_iterable_is_an_error_of_the_record(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Emitting(5)))
    with pytest.raises(UserFunctionError, match=r"gave an int where(.|\n)*yield value(.|\n)*record: record 0"):
        keyed.feed([1], _key, origin=Origin())


def test_a_value_of_another_type_than_the_states_is_an_error_of_the_record(tmp_path: Path) -> None:
    class Wrong(KeyedProcessFunction[str, int, int]):
        last = ValueState(int)

        def process_element(self, value: int, ctx: ProcessContext[str]) -> None:
            self.last.update("text")  # type: ignore[arg-type]

    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Wrong()))
    with pytest.raises(UserFunctionError, match=r"in process_element: StateTypeError: (.|\n)*record: record 0"):
        keyed.feed([1], _key, origin=Origin())


def test_an_error_in_open_names_the_line(tmp_path: Path) -> None:
    class Closed(KeyedProcessFunction[str, int, int]):
        def open(self) -> None:
            raise OSError("no such model")

    with pytest.raises(UserFunctionError, match=rf"^{__file__}:\d+ in open: OSError: no such model"):
        Keyed(STORES[1], tmp_path, KeyedProcess(Closed()))


def test_state_used_outside_a_running_job_says_so() -> None:
    with pytest.raises(JobDefinitionError, match="state 'count' of Remembering was used outside a running job"):
        Remembering().count.value()


def test_closing_twice_closes_the_function_once(tmp_path: Path) -> None:
    closed: list[int] = []

    class Closing(KeyedProcessFunction[str, int, int]):
        def close(self) -> None:
            closed.append(1)

    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Closing()))
    keyed.operator.close()
    keyed.operator.close()
    assert closed == [1]
