"""Which functions are told to be selectors, that those do the same, and whose line an error names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamlet import Count, Sum
from streamlet.elements import Batch
from streamlet.errors import UserFunctionError
from streamlet.operators.aggregates.rolling import aggregating
from streamlet.operators.selectors import selector
from streamlet.operators.stateless import KeyBy
from tests.unit.operator_kit import Keyed, feed, open_operator
from tests.unit.state_kit import STORES

OUTER = "item"
OTHER = SimpleNamespace(first=1)


def _named(value: Any) -> Any:
    return value.first


def _documented(value: Any) -> Any:
    """Takes an item."""
    return value["first"]


def _nested() -> Callable[[Any], Any]:
    return lambda value: value.second


ATTRIBUTES = [lambda value: value.first, lambda _: _.second, _named, _nested()]
ITEMS = [lambda row: row["first"], lambda row: row[7], lambda row: row[(1, 2)]]


@pytest.mark.parametrize("function", ATTRIBUTES)
def test_a_function_that_gives_an_attribute(function: Callable[[Any], Any]) -> None:
    value = SimpleNamespace(first=object(), second=object())
    quick = selector(function)
    assert quick is not None
    assert quick([value, value])[1] is function(value)


@pytest.mark.parametrize("function", ITEMS)
def test_a_function_that_gives_an_item(function: Callable[[Any], Any]) -> None:
    value = {"first": object(), 7: object(), (1, 2): object()}
    quick = selector(function)
    assert quick is not None
    assert quick([value, value])[1] is function(value)


@pytest.mark.parametrize("header", ["", "from __future__ import annotations\n", "from __future__ import division\n"])
@pytest.mark.parametrize("text", ["lambda value: value.first", "lambda value: value['first']"])
def test_whatever_the_job_file_imports_from_the_future(text: str, header: str) -> None:
    job_file: dict[str, Any] = {}
    exec(compile(f"{header}function = {text}", "job.py", "exec", dont_inherit=True), job_file)  # noqa: S102 - as a job file is
    assert selector(job_file["function"]) is not None


OTHERS: dict[str, Callable[..., Any]] = {
    "two attributes": lambda value: value.first.second,
    "an attribute called": lambda value: value.first(),
    "an item of an attribute": lambda value: value.first["x"],
    "the value": lambda value: value,
    "a constant": lambda value: 5,
    "of another": lambda value, other=OTHER: other.first,
    "with a default": lambda value, other=None: value.first,
    "any number": lambda *value: value.count,
    "by name only": lambda *, value: value.first,
    "of a global": lambda value: value[OUTER],
    "of a global's attribute": lambda value: ITEMS.copy,
    "from the end": lambda value: value[-1:],
    "a generator": lambda value: (yield value.first),
    "no function": functools.partial(getattr, OTHER),
    "a class": str,
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_function_is_called_as_it_is(name: str) -> None:
    assert selector(OTHERS[name]) is None


def test_an_async_function_is_no_selector() -> None:
    async def first(value: Any) -> Any:
        return value.first

    assert selector(first) is None


class Reading:
    """A value whose property fails at one of them."""

    def __init__(self, number: int, error: type[BaseException] | None = None) -> None:
        self._number = number
        self._error = error

    @property
    def number(self) -> int:
        if self._error is not None:
            raise self._error(f"number {self._number}")
        return self._number


@pytest.mark.parametrize("error", [AttributeError, ValueError, StopIteration])
def test_an_error_names_the_line_of_the_function_and_the_row(error: type[Exception], tmp_path: Path) -> None:
    values = [Reading(1), Reading(2, error), Reading(3)]
    with pytest.raises(UserFunctionError) as caught:
        feed(open_operator(KeyBy(lambda value: value.number)), Batch(values))
    assert caught.value.row == 1
    assert error is StopIteration or __file__ in str(caught.value)
    keyed = Keyed(STORES[1], tmp_path, aggregating([Count(), Sum(lambda value: value.number)], None))
    with pytest.raises(UserFunctionError) as caught:
        keyed.feed(values, lambda _: "k")
    assert caught.value.row == 1
    assert error is StopIteration or __file__ in str(caught.value)


def test_a_missing_attribute_names_the_lambda() -> None:
    function = lambda value: value.missing  # noqa: E731
    with pytest.raises(UserFunctionError, match=r"in <lambda>: AttributeError: .*missing"):
        feed(open_operator(KeyBy(function)), Batch([Reading(1)]))
