"""key_by by fields, deduplicate, split, sample, batch and inspect in whole jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet import Count
from streamlet.operators.field_keys import field_key, sampling
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, lines, make_job, run


class Struct(msgspec.Struct):
    shop: str
    day: int


@dataclass
class Record:
    shop: str
    day: int


@pytest.mark.parametrize("value", [Struct("a", 1), Record("a", 1), {"shop": "a", "day": 1}], ids=repr)
def test_fields_are_keys_by_their_names(value: Any) -> None:
    assert field_key("shop")(value) == "a"
    assert field_key("shop", "day")(value) == ("a", 1)
    with pytest.raises(LookupError, match=r"no field 'user' in this \w+, which has shop, day$"):
        field_key("shop", "user")(value)


def test_a_missing_field_is_an_error_of_the_users_line(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    dicts = job.source(Waiting(3), uid="numbers").map(lambda number: {"shop": number})
    dicts.key_by("user", uid="by-user").aggregate(Count()).sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code == 1
    assert f"{__file__}:" in ran.said
    assert "there is no field 'user' in this dict, which has shop" in ran.said
    assert "in key_by 'by-user'" in ran.said


def test_a_sample_is_the_same_in_every_run_and_about_as_large_as_asked() -> None:
    numbers = range(10_000)
    chosen = list(filter(sampling(0.25, None, 7), numbers))
    assert chosen == list(filter(sampling(0.25, None, 7), numbers))
    assert 2300 < len(chosen) < 2700
    assert chosen != list(filter(sampling(0.25, None, 8), numbers))
    assert list(filter(sampling(0, None, 0), numbers)) == []
    assert list(filter(sampling(1, None, 0), numbers)) == list(numbers)
    by_tens = set(filter(sampling(0.5, lambda number: number // 10, 0), numbers))
    assert all(len(by_tens & set(range(ten, ten + 10))) in (0, 10) for ten in range(0, 10_000, 10))


def test_the_methods_do_what_they_say_in_a_job(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    shown: list[int] = []
    numbers = job.source(Waiting(40, 20), uid="numbers").inspect(shown.append)
    low, high = numbers.split(lambda number: "low" if number < 30 else "high", "low", "high", uid="split")
    low.deduplicate(lambda number: number % 7, ttl=None, uid="first").sink(FileSink(tmp_path / "low"), uid="low")
    batched = high.key_by(lambda number: number % 2).batch(3, within=timedelta(days=1), uid="batch")
    batched.sink(FileSink(tmp_path / "high"), uid="high")
    ran = run(job)
    assert ran.code == 0, ran
    assert shown == list(range(40))
    assert lines(tmp_path / "low") == list(range(7))
    assert sorted(lines(tmp_path / "high")) == [[30, 32, 34], [31, 33, 35], [36, 38], [37, 39]]


def test_a_name_that_split_does_not_know_is_an_error_of_its_function(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    (even,) = job.source(Waiting(9), uid="numbers").split(lambda number: "even" if number % 2 == 0 else "odd", "even")
    even.sink(FileSink(tmp_path / "out"))
    ran = run(job)
    assert ran.code == 1
    assert "split got 'odd' for a record, which is none of even" in ran.said
