"""What a function emits lazily is taken whole, or is an error that names the function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from streamlet import KeyedProcessFunction, ProcessContext
from streamlet.connect import Batch
from streamlet.errors import UserFunctionError
from streamlet.operators.functions import whole
from streamlet.operators.process import KeyedProcess
from streamlet.operators.stateless import FlatMap
from tests.unit.operator_kit import Keyed, Origin, feed, open_operator
from tests.unit.state_kit import STORES


class Counting:
    """An iterator that ends by its own StopIteration, some calls deep."""

    def __init__(self, end: int) -> None:
        self.at, self.end = 0, end

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        return self._advance()

    def _advance(self) -> int:
        if self.at == self.end:
            raise StopIteration
        self.at += 1
        return self.at


def _stops_at_three(value: int) -> int:
    if value == 3:
        raise StopIteration
    return value


CUT: dict[str, Callable[[], Iterable[int]]] = {
    "map": lambda: map(_stops_at_three, [1, 2, 3, 4]),
    "filter": lambda: filter(_stops_at_three, [1, 2, 3, 4]),
    "map over an iterator": lambda: map(_stops_at_three, Counting(4)),
    "generator": lambda: (_stops_at_three(one) for one in [1, 2, 3, 4]),
}


@pytest.mark.parametrize(
    "emitted",
    [[1, 2, 3], (1, 2, 3), iter([1, 2, 3]), Counting(3), map(int, Counting(3)), chain([1], [2, 3]), range(1, 4),
     (one for one in (1, 2, 3)), {1: "a", 2: "b", 3: "c"}],
)  # fmt: skip
def test_what_ends_by_itself_is_taken_whole(emitted: Iterable[int]) -> None:
    assert list(whole(emitted, is_any=True)) == [1, 2, 3]


@pytest.mark.parametrize("kind", CUT)
def test_a_function_that_raises_stop_iteration_does_not_end_what_it_is_called_for(kind: str) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(whole(CUT[kind]()))


class Lazy(KeyedProcessFunction[str, int, int]):
    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterable[int]:
        return map(_stops_at_three, [1, value, 2])


def test_a_lazy_map_of_a_process_function_is_an_error_of_its_record_and_names_the_line(tmp_path: Path) -> None:
    keyed = Keyed(STORES[1], tmp_path, KeyedProcess(Lazy()))
    _require_error(lambda: keyed.feed([1, 3, 2], lambda _: "k", origin=Origin()))


def test_a_lazy_map_of_a_flat_map_is_an_error_of_its_record_and_names_the_line() -> None:
    operator = open_operator(FlatMap(lambda value: map(_stops_at_three, [1, value, 2])))
    _require_error(lambda: feed(operator, Batch([1, 3, 2], origin=Origin())))


def _require_error(call: Callable[[], Any]) -> None:
    with pytest.raises(UserFunctionError, match=r"StopIteration(.|\n)*record: record 1") as caught:
        call()
    line = _stops_at_three.__code__.co_firstlineno + 2
    assert str(caught.value).startswith(f"{__file__}:{line} in _stops_at_three")
