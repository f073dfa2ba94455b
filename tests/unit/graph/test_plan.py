"""How a graph is laid out as tasks, and how that is described."""

from __future__ import annotations

import pytest

from streamlet import Count, Job, KeyedProcessFunction, ProcessContext, Stream, Sum, ValueState
from streamlet.config import JobConfig
from streamlet.graph.describe import describe_plan, warnings_of
from streamlet.graph.job_graph import Routing
from streamlet.graph.plan import ExecutionPlan
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Seen(KeyedProcessFunction[int, int, int]):
    seen = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[int]) -> None:
        pass


def _source(job: Job, uid: str = "in", parallelism: int | None = None) -> Stream[int]:
    return job.source(Generator(int, count=1), uid=uid, parallelism=parallelism)


def _tasks(plan: ExecutionPlan) -> dict[str, list[str]]:
    return {task.name: [node.uid for node in task.nodes] for task in plan.tasks}


def _keyed_job(parallelism: int) -> ExecutionPlan:
    job = Job("j", parallelism=parallelism)
    counted = _source(job).map(abs, uid="m").key_by(abs, uid="k").aggregate(Count(), uid="count")
    counted.filter(bool, uid="f").sink(Print(), uid="out")
    return job.plan()


def test_with_parallelism_1_everything_is_one_chain() -> None:
    assert _tasks(_keyed_job(1)) == {"in": ["in", "m", "k", "count", "f", "out"]}


def test_a_keyed_edge_above_parallelism_1_begins_a_task() -> None:
    plan = _keyed_job(2)
    assert _tasks(plan) == {"in": ["in", "m", "k"], "count": ["count", "f", "out"]}
    assert [edge.routing for edge in plan.tasks[1].inputs] == [Routing.HASH]
    assert plan.tasks[0].outputs == plan.tasks[1].inputs


def test_a_change_of_parallelism_begins_a_task_that_takes_batches_in_turn() -> None:
    job = Job("j")
    _source(job).map(abs, uid="m", parallelism=3).sink(Print(), uid="out")
    plan = job.plan()
    assert _tasks(plan) == {"in": ["in"], "m": ["m"], "out": ["out"]}
    assert [task.parallelism for task in plan.tasks] == [1, 3, 1]
    assert [edge.routing for task in plan.tasks for edge in task.inputs] == [Routing.REBALANCE] * 2


def test_a_key_by_runs_with_what_is_before_it_whatever_the_parallelism_behind() -> None:
    job = Job("j")
    _source(job).key_by(abs, uid="k").aggregate(Count(), uid="count", parallelism=4).sink(Print(), uid="out")
    assert _tasks(job.plan()) == {"in": ["in", "k"], "count": ["count"], "out": ["out"]}


def test_a_union_begins_a_task_with_one_input_for_each_stream() -> None:
    job = Job("j")
    _source(job, "a").union(_source(job, "b"), _source(job, "c"), uid="u").sink(Print(), uid="out")
    plan = job.plan()
    assert _tasks(plan) == {"a": ["a"], "b": ["b"], "c": ["c"], "u": ["u", "out"]}
    assert [edge.routing for edge in plan.tasks[3].inputs] == [Routing.FORWARD] * 3


def test_a_union_of_a_stream_with_itself_has_two_inputs() -> None:
    job = Job("j")
    numbers = _source(job)
    numbers.union(numbers, uid="u").sink(Print(), uid="out")
    assert len(job.plan().tasks[1].inputs) == 2


def test_two_ways_from_one_operator_stay_in_its_chain() -> None:
    job = Job("j")
    numbers = _source(job)
    numbers.map(abs, uid="m").sink(Print(), uid="one")
    numbers.sink(Print(), uid="two")
    assert _tasks(job.plan()) == {"in": ["in", "m", "one", "two"]}


def test_operators_behind_the_same_key_by_share_a_store_and_others_do_not() -> None:
    job = Job("j")
    keyed = _source(job).key_by(abs, uid="k")
    keyed.aggregate(Count(), uid="count").key_by(abs, uid="k2").reduce(max, uid="max").sink(Print(), uid="out")
    keyed.process(Seen(), uid="seen").sink(Print(), uid="out2")
    plan = job.plan()
    stores = {store.name: sorted(store.states) for store in plan.tasks[0].stores.values()}
    assert stores == {
        "count": [("count", "accumulator"), ("seen", "seen")],
        "max": [("max", "accumulator")],
    }


def test_the_plan_declares_every_state_of_the_job() -> None:
    assert [(key, state.type) for key, state in _keyed_job(3).states().items()] == [(("count", "accumulator"), int)]


def test_the_plan_knows_parallelisms_sources_and_sinks_by_uid() -> None:
    plan = _keyed_job(2)
    assert plan.parallelisms == {"in": 2, "m": 2, "k": 2, "count": 2, "f": 2, "out": 2}
    assert (list(plan.sources), list(plan.sinks)) == (["in"], ["out"])


def test_a_config_given_to_plan_goes_before_the_jobs_own() -> None:
    job = Job("j")
    _source(job).sink(Print(), uid="out")
    assert job.plan(JobConfig(parallelism=5)).parallelisms == {"in": 5, "out": 5}


@pytest.mark.parametrize("parallelism", [1, 2])
def test_planning_twice_gives_the_same(parallelism: int) -> None:
    assert describe_plan(_keyed_job(parallelism)) == describe_plan(_keyed_job(parallelism))


def test_a_plan_is_described_task_by_task() -> None:
    assert describe_plan(_keyed_job(2)).splitlines() == [
        "task in x2: source 'in' > map 'm' > key_by 'k'",
        "  hash -> task count x2",
        "task count x2: aggregate 'count' > filter 'f' > sink 'out'",
    ]


def test_only_what_is_found_again_by_its_uid_is_warned_about() -> None:
    job = Job("j")
    job.source(Generator(int, count=1)).map(abs).key_by(abs).aggregate(Sum()).sink(Print())
    warned = list(warnings_of(job.plan()))
    told = [warning.partition(": ")[2].partition(" '")[0] for warning in warned]
    assert told == ["source", "aggregate", "sink"]
    assert all(warning.startswith(f"{__file__}:") and 'write uid="..."' in warning for warning in warned)
    assert list(warnings_of(_keyed_job(1))) == []


@pytest.mark.parametrize("source", [1, 2, 4])
def test_a_key_by_has_as_many_subtasks_as_what_it_reads_so_that_keys_keep_their_order(source: int) -> None:
    job = Job("j", parallelism=2)
    numbers = _source(job, parallelism=source)
    numbers.key_by(abs, uid="by").count(uid="count").sink(Print(), uid="out")
    tasks = {task.name: task for task in job.plan().tasks}
    assert tasks.keys() == {"in", "count"}, "the key_by is chained to its source"
    assert [node.uid for node in tasks["in"].nodes] == ["in", "by"]
    assert [edge.routing.value for edge in tasks["in"].outputs] == ["hash"]
