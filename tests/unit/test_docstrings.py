"""Every public name of the DSL has a docstring with an example, and every example gives what stands behind it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamlet
import streamlet.aggregates
import streamlet.dsl
import streamlet.windows
from streamlet import Job, Stream
from streamlet.cli.topics import names
from streamlet.dsl import BroadcastConnectedStreams, ConnectedStreams, KeyedStream, WindowedStream, Written
from tests.docstring_kit import failures, names_for

BUILDING_BLOCKS = (
    Job, Stream, KeyedStream, WindowedStream, ConnectedStreams, BroadcastConnectedStreams, Written
)  # fmt: skip
OF_THE_DSL_ITSELF = {"Job.add", "Job.line", "Job.takes"}


def _things() -> Iterator[tuple[str, object]]:
    for module in (streamlet, streamlet.windows, streamlet.aggregates, streamlet.dsl):
        for name in module.__all__:
            if inspect.isclass(getattr(module, name)):
                yield name, getattr(module, name)
    seen: set[object] = set()
    for kind in BUILDING_BLOCKS:
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            is_public = not name.startswith("_") and f"{kind.__name__}.{name}" not in OF_THE_DSL_ITSELF
            if is_public and method not in seen:
                seen.add(method)
                yield f"{kind.__name__}.{name}", method


DOCSTRINGS = {name: inspect.getdoc(thing) or "" for name, thing in _things()}


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_a_public_name_of_the_dsl_has_an_example(name: str) -> None:
    assert ">>> " in DOCSTRINGS[name]


@pytest.mark.parametrize("name", [name for name, text in DOCSTRINGS.items() if ">>> " in text])
def test_an_example_gives_what_stands_behind_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = DOCSTRINGS[name]
    assert failures(name, text, names_for(text)) == ""


def test_nine_of_ten_public_names_have_a_docstring() -> None:
    found = names()
    without = sorted(name for name, topic in found.items() if not topic.title)
    assert len(without) < 0.1 * len(found), without
