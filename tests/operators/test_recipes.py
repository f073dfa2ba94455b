"""Every operator under the recipe: same output with and without breaks, on both stores, as plain Python says."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamlet.operators
from streamlet.operators.aggregates.rolling import RollingFold
from streamlet.operators.functions import CallingOperator, FunctionOperator
from streamlet.operators.joins.operator import KeyedJoin
from streamlet.operators.keying import SlotLookup
from streamlet.operators.operator import Operator
from streamlet.operators.process import FunctionRunner
from streamlet.operators.windows.operator import WindowOperator
from streamlet.operators.windows.tumbling import AlignedWindows
from tests.operators.recipe import RUNS, Case, Row
from tests.unit.state_kit import STORES

PARTS = {CallingOperator, FunctionOperator, RollingFold, FunctionRunner, WindowOperator, AlignedWindows, KeyedJoin}
"""What several operators share and is none itself."""


def _cases() -> list[Case]:
    """The `CASES` of every module `cases_*.py` beside this one."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
    return [case for name in names for case in importlib.import_module(f"tests.operators.{name}").CASES]


def _operators() -> set[type[Operator]]:
    found = set()
    for module in pkgutil.walk_packages(streamlet.operators.__path__, "streamlet.operators."):
        for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(one, Operator) and one is not Operator:
                found.add(one)
    return found - PARTS


def test_every_operator_has_a_recipe() -> None:
    # The lookup of keys stands before every keyed operator.
    assert len(_operators()) > 20
    assert _operators() == {type(case.make()) for case in _cases()} | {SlotLookup}


def test_no_two_recipes_have_one_name() -> None:
    names = [case.name for case in _cases()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("case", _cases(), ids=lambda case: case.name)
def test_the_output_is_what_plain_python_says(
    case: Case, run: Callable[[Case, type[Any], Path], list[Row]], kind: type[Any], tmp_path: Path
) -> None:
    assert run(case, kind, tmp_path) == list(case.expected)
