"""What a user writes builds a graph, and every refusal names the user's line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from streamlet import (
    Count,
    DeadLetter,
    Job,
    KeyedProcessFunction,
    MapState,
    Mean,
    OutputTag,
    ProcessContext,
    Sum,
    ValueState,
)
from streamlet.aggregates import AggregateFunction
from streamlet.errors import ConfigError, JobDefinitionError
from streamlet.windows import CountWindows
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print

DEAD = OutputTag[DeadLetter]("dead")


def _numbers(job: Job) -> Any:
    return job.source(Generator(int, count=1), uid="numbers")


async def _asynchronous(value: int) -> int:
    return value


async def _generating(value: int) -> AsyncIterator[int]:
    yield value


async def _of_a_job(value: Job) -> int:
    return 0


class _Unstorable(KeyedProcessFunction[int, int, int]):
    held = ValueState(object)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> None:
        pass


class _FloatKeys(KeyedProcessFunction[int, int, int]):
    held = MapState(float, int)  # type: ignore[type-var, unused-ignore]

    def process_element(self, value: int, ctx: ProcessContext[int]) -> None:
        pass


class _Untyped(AggregateFunction[int, int, int]):
    def create_accumulator(self) -> int:
        return 0

    def add(self, accumulator: int, value: int) -> int:
        return accumulator + value

    def result(self, accumulator: int) -> int:
        return accumulator


class _Adding(AggregateFunction[int, int, int]):
    accumulator_type = int

    async def add(self, accumulator: int, value: int) -> int:  # type: ignore[override]
        return accumulator + value


WRONG: dict[str, tuple[Callable[[Any], object], str]] = {
    "map of a value": (lambda s: s.map(5), "map takes a function, not 5"),
    "filter of None": (lambda s: s.filter(None), "filter takes a function, not None"),
    "flat_map of a text": (lambda s: s.flat_map("x"), "flat_map takes a function, not 'x'"),
    "key_by of a value": (lambda s: s.key_by(5), "key_by takes a function, not 5"),
    "key_by of functions": (lambda s: s.key_by("user", int), "one function, or names of fields, not \\('user', <"),
    "key_by of no name": (lambda s: s.key_by(""), "one function, or names of fields, not \\('',\\)"),
    "deduplicate by a value": (lambda s: s.deduplicate(5, ttl=None), "key_by takes a function, not 5"),
    "deduplicate for a number": (lambda s: s.deduplicate(int, ttl=60), "ttl=60 is no time to live"),
    "split without names": (lambda s: s.split(str), "split takes different names, not \\(\\)"),
    "split with a name twice": (lambda s: s.split(str, "a", "a"), "split takes different names"),
    "split by the name of its letters": (
        lambda s: s.split(str, "a", "dead", on_error=DEAD),
        "split gives a stream 'dead', and dead letters of on_error have that name",
    ),
    "side output of a split": (lambda s: s.split(str, "a")[0].side_output(DEAD), "side output 'a' of split 'split-"),
    "sample of more than all": (lambda s: s.sample(1.5), "the fraction of a sample is 1.5"),
    "sample by a text": (lambda s: s.sample(0.5, by="user"), "sample takes a function, not 'user'"),
    "sample with a text as seed": (lambda s: s.sample(0.5, seed="x"), "the seed of a sample is 'x'"),
    "inspect of a value": (lambda s: s.inspect(5), "inspect takes a function, not 5"),
    "batch of nothing": (lambda s: s.key_by(int).batch(0, within=timedelta(1)), "the size of a batch is 0"),
    "batch for no time": (lambda s: s.key_by(int).batch(5, within=timedelta(0)), "no time that a batch may wait"),
    "async key_by": (lambda s: s.key_by(_asynchronous), "key_by takes a plain function, not an async one"),
    "map_async of a number": (lambda s: s.map_async(3), "map_async takes an async function, not 3"),
    "an asynchronous generator": (lambda s: s.flat_map(_generating), "flat_map takes no asynchronous generator"),
    "map_async of none": (lambda s: s.map_async(_asynchronous, capacity=0), "map_async: capacity is 0"),
    "map_async at once": (lambda s: s.map_async(_asynchronous, timeout=timedelta(0)), "map_async: timeout is datetime"),
    "map_async never late": (lambda s: s.map_async(_asynchronous, on_timeout=int), "map_async: on_timeout gives"),
    "map_async again": (lambda s: s.map_async(_asynchronous, retry=3), "map_async: retry is 3"),
    "map_async of a lock": (lambda s: s.map_async(_asynchronous, type=Job), "is not a type|which cannot be stored"),
    "map_async of a job": (lambda s: s.map(_of_a_job), "is not a type|which cannot be stored"),
    "union with a list": (lambda s: s.union([s]), "union takes streams of the same job, not \\[<"),
    "union of two jobs": (lambda s: s.union(_numbers(Job("other"))), "union takes streams of the same job"),
    "sink of a class": (lambda s: s.sink(Print), "sink takes a Sink, not <class"),
    "source of a list": (lambda s: s._job.source([1, 2]), "source takes a Source, not \\[1, 2\\]"),
    "aggregate of nothing": (lambda s: s.key_by(int).aggregate(), "aggregate needs a function"),
    "aggregate of a class": (lambda s: s.key_by(int).aggregate(Count), "aggregate takes aggregate functions"),
    "aggregate to a value": (lambda s: s.key_by(int).aggregate(Count(), result=5), "aggregate takes a function, not 5"),
    "sum of an async function": (
        lambda s: s.key_by(int).sum(_asynchronous),
        "Sum takes a plain function, not an async",
    ),
    "min of a text": (lambda s: s.key_by(int).min("amount"), "Min takes a function, not 'amount'"),
    "top_k by an async function": (lambda s: s.key_by(int).top_k(2, _asynchronous), "TopK takes a plain function"),
    "distinct of an async function": (lambda s: s.key_by(int).distinct(_asynchronous), "Distinct takes a plain func"),
    "count with an async result": (lambda s: s.key_by(int).count(result=_asynchronous), "aggregate takes a plain func"),
    "aggregate of async functions": (lambda s: s.key_by(int).aggregate(m=Mean(_asynchronous)), "Mean takes a plain f"),
    "aggregate into an async function": (
        lambda s: s.key_by(int).aggregate(n=Count(), into=_asynchronous),
        "cannot be put into <function _asynchronous",
    ),
    "an aggregate that is async": (lambda s: s.key_by(int).aggregate(_Adding()), "add of _Adding is an async function"),
    "an async aggregate by name": (lambda s: s.key_by(int).aggregate(n=_Adding()), "add of _Adding is an async func"),
    "an async aggregate of windows": (
        lambda s: s.key_by(int).window(CountWindows(2)).aggregate(Count(), _Adding()),
        "add of _Adding is an async function",
    ),
    "aggregate by place and name": (
        lambda s: s.key_by(int).aggregate(Count(), total=Sum()),
        "functions by place with result=, or by name with into=",
    ),
    "aggregate of a value by name": (lambda s: s.key_by(int).aggregate(total=5), "total is no aggregate function"),
    "aggregate into a value": (lambda s: s.key_by(int).aggregate(n=Count(), into=5), "cannot be put into 5"),
    "aggregate by name of nothing": (lambda s: s.key_by(int).aggregate(into=dict), "no aggregate function has a name"),
    "aggregate by name, untyped": (lambda s: s.key_by(int).aggregate(n=_Untyped()), "n has no accumulator_type"),
    "an unknown policy": (lambda s: s.map(int, on_error="ignore"), "on_error is 'ignore'"),
    "reduce of a value": (lambda s: s.key_by(int).reduce(0), "reduce takes a function, not 0"),
    "process of a function": (lambda s: s.key_by(int).process(int), "process takes a KeyedProcessFunction"),
    "process of a class": (lambda s: s.key_by(int).process(_Unstorable), "process takes a KeyedProcessFunction"),
    "uid with a slash": (lambda s: s.map(int, uid="a/b"), "uid 'a/b' cannot be used"),
    "empty uid": (lambda s: s.map(int, uid=""), "uid '' cannot be used"),
    "long uid": (lambda s: s.map(int, uid="x" * 121), "cannot be used"),
    "uid that is no text": (lambda s: s.map(int, uid=7), "uid 7 cannot be used"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_built_is_refused_at_the_users_line_with_a_remedy(what: str) -> None:
    build, message = WRONG[what]
    stream = _numbers(Job("j"))
    with pytest.raises(JobDefinitionError, match=message) as caught:
        build(stream)
    assert re.match(rf"{re.escape(__file__)}:\d+: ", str(caught.value))
    assert caught.value.remedy


PLANNED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "goes nowhere": (lambda s: s.map(str, uid="m"), r"the output of map 'm' goes nowhere"),
    "parallelism 0": (lambda s: s.map(str, parallelism=0).sink(Print()), "parallelism is 0"),
    "parallelism true": (lambda s: s.map(str, parallelism=True).sink(Print()), "parallelism is True"),
    "above key groups": (
        lambda s: s.key_by(int).aggregate(Count(), parallelism=129).sink(Print()),
        "parallelism 129 is above key_groups 128",
    ),
    "taken uid": (
        lambda s: s.map(str, uid="x").filter(str, uid="x").sink(Print()),
        rf"uid 'x' is taken by the map at {re.escape(__file__)}:\d+",
    ),
    "uid like a derived one": (
        lambda s: (one := s.map(str)).map(str, uid=one._job.graph.nodes[one._node].uid).sink(Print()),
        "' is taken by the map at ",
    ),
    "state of objects": (
        lambda s: s.key_by(int).process(_Unstorable(), uid="p").sink(Print()),
        r"process 'p': .*<class 'object'>",
    ),
    "map state by float": (
        lambda s: s.key_by(int).process(_FloatKeys(), uid="p").sink(Print()),
        r"process 'p': .*<class 'float'> is not a type for keys",
    ),
    "several, one untyped": (
        lambda s: s.key_by(int).aggregate(Count(), _Untyped(), uid="a").sink(Print()),
        "aggregate 'a': .*no accumulator_type",
    ),
}


@pytest.mark.parametrize("what", PLANNED)
def test_what_cannot_be_planned_is_refused_with_the_users_line_and_a_remedy(what: str) -> None:
    build, message = PLANNED[what]
    job = Job("j")
    build(_numbers(job))
    with pytest.raises(JobDefinitionError, match=message) as caught:
        job.plan()
    assert re.match(rf"{re.escape(__file__)}:\d+: ", str(caught.value))
    assert caught.value.remedy


def test_a_job_without_a_source_is_refused() -> None:
    with pytest.raises(JobDefinitionError, match="the job has no source"):
        Job("j").plan()


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", 5])
def test_a_job_name_that_cannot_be_a_folder_is_refused(name: Any) -> None:
    with pytest.raises(JobDefinitionError, match="cannot be used"):
        Job(name)


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no setting 'paralelism'") as caught:
        Job("j", paralelism=2)
    assert caught.value.remedy == "did you mean parallelism?"


def _derived(extra: bool) -> list[str]:
    job = Job("j")
    stream = job.source(Generator(int, count=1)).map(int).filter(bool)
    if extra:
        stream = stream.filter(bool, uid="mine")
    stream.key_by(int).aggregate(Sum()).map(str).sink(Print())
    return [node.uid for node in job.graph.nodes if not node.has_own_uid]


def test_derived_uids_are_stable_and_do_not_move_when_an_operator_with_its_own_is_added() -> None:
    names = _derived(extra=False)
    kinds = [name.partition("-")[0] for name in names]
    assert kinds == ["source", "map", "filter", "key_by", "aggregate", "map", "sink"]
    assert _derived(extra=True) == names


def test_building_a_job_calls_no_user_function() -> None:
    def never(*_: object) -> Any:
        raise AssertionError("called while the job was built")

    job = Job("j")
    numbers = job.source(Generator(never, count=1))
    numbers.map(never).filter(never).flat_map(never).key_by(never).reduce(never).sink(Print())
    job.plan()
