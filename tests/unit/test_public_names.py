"""The public names: few in the root, each in one place, and nothing is public by accident."""

from __future__ import annotations

import importlib

import pytest

import streamlet

ROOT_NAMES = set(
    """
    Job Stream WatermarkStrategy OutputTag DeadLetter Restart Retry
    Json Text Bytes
    ValueState ListState MapState ReducingState AggregatingState BroadcastState StateTtl
    KeyedProcessFunction KeyedCoProcessFunction KeyedBroadcastProcessFunction
    ProcessContext TimerContext BroadcastContext
    Count Sum Min Max Mean
    TumblingWindows SlidingWindows SessionWindows Window WindowAssigner EveryRecords EveryDuration
    """.split()  # noqa: SIM905 - a table by subject
)
MOST_ROOT_NAMES = 35

WHOLE_SUBJECTS = {"windows", "aggregates"}
"""Modules that repeat what the root has of their subject, so that one import line is enough."""


def test_the_root_has_the_listed_names_and_at_most_35() -> None:
    assert set(streamlet.__all__) == ROOT_NAMES
    assert len(ROOT_NAMES) <= MOST_ROOT_NAMES


@pytest.mark.parametrize("module", ["windows", "aggregates", "connect", "dsl"])
def test_each_public_name_has_one_home(module: str) -> None:
    names = importlib.import_module(f"streamlet.{module}").__all__
    assert len(set(names)) == len(names)
    if module not in WHOLE_SUBJECTS:
        assert not set(names) & set(streamlet.__all__)


@pytest.mark.parametrize("module", ["", ".windows", ".aggregates", ".connect", ".dsl"])
def test_every_public_name_is_there(module: str) -> None:
    found = importlib.import_module(f"streamlet{module}")
    assert [name for name in found.__all__ if not hasattr(found, name)] == []
