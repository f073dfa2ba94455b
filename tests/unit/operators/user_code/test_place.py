"""Where in the user's program something was said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streamlet import Job
from streamlet.calling import calling_line, is_user_file
from streamlet.connect import Batch
from streamlet.operators.functions import call_each
from streamlet.operators.user_code.place import Place, function_error
from tests.unit.operator_kit import Origin


def _here() -> int:
    return sys._getframe(1).f_lineno


def test_the_calling_line_is_the_innermost_outside_the_engine() -> None:
    assert calling_line() == (__file__, _here())


def test_a_job_knows_the_line_that_made_each_operator() -> None:
    from streamlet_connectors.generator import Generator

    job = Job("j")
    stream, line = job.source(Generator(str, count=1)), _here()
    stream.map(str).filter(str)
    assert [(node.place.file, node.place.line) for node in job.graph.nodes] == [
        (__file__, line),
        (__file__, line + 1),
        (__file__, line + 1),
    ]


def test_engine_connectors_and_libraries_are_not_user_files() -> None:
    import json

    import msgspec

    import streamlet.dsl.job
    import streamlet_connectors.print

    for module in (json, msgspec, streamlet_connectors.print, streamlet.dsl.job):
        assert module.__file__ is not None
        assert not is_user_file(module.__file__)
    assert is_user_file(__file__)


def test_a_folder_that_only_begins_like_the_engines_is_the_users() -> None:
    import streamlet

    assert streamlet.__file__ is not None
    assert is_user_file(f"{Path(streamlet.__file__).parent}-jobs/job.py")


def test_an_error_without_a_user_frame_names_the_line_that_made_the_operator() -> None:
    place = Place(__file__, 1, "map", "double")
    with pytest.raises(Exception, match="could not convert") as caught:
        call_each(float, Batch(["x"]), fail=lambda error, batch, row: function_error(error, place, batch, row))
    assert str(caught.value).startswith(f"{__file__}:1: ValueError: could not convert string to float: 'x'")
    assert "in map 'double', subtask 0" in str(caught.value)


def test_the_same_function_failing_at_the_same_record_is_the_same_place() -> None:
    place = Place(__file__, 1, "map", "double")
    first = function_error(ValueError("1"), place, Batch(["x"], keys=["k"]))
    again = function_error(ValueError("2"), place, Batch(["x"], keys=["k"]))
    other_key = function_error(ValueError("1"), place, Batch(["x"], keys=["other"]))
    other_record = function_error(ValueError("1"), place, Batch(["y"], keys=["k"]))
    assert first.place == again.place
    assert first.place not in (other_key.place, other_record.place)


def test_a_record_of_known_origin_is_the_same_whatever_it_looks_like() -> None:
    class Unshowable:
        def __repr__(self) -> str:
            raise ValueError("no repr")

    place = Place(__file__, 1, "map", "double")
    known = [function_error(ValueError(), place, Batch([Unshowable()], origin=Origin())) for _ in range(2)]
    unknown = function_error(ValueError(), place, Batch([Unshowable()]))
    assert known[0].place == known[1].place != unknown.place


def test_what_a_record_holds_is_not_in_its_place() -> None:
    error = function_error(ValueError(), Place(__file__, 1, "map", "double"), Batch(["secret"]))
    assert "secret" not in error.place
    assert "secret" not in str(error)
