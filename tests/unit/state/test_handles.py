"""Declared states become typed handles of one function object; a changed declaration is refused at restore."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, assert_type

import pytest

from streamlet import BroadcastState, Job, KeyedBroadcastProcessFunction, KeyedProcessFunction
from streamlet.errors import JobDefinitionError, StateTypeError
from streamlet.state.backends.memory import MemoryKeyedStore
from streamlet.state.binding import bind_states
from streamlet.state.descriptor import Descriptor, declared_states
from streamlet.state.descriptors import ListState, MapState, ValueState
from streamlet.state.evolution.findings import Allowed
from streamlet.state.upgrade.comparing import compare
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print
from tests.unit.state_kit import declare, make_store


class Function:
    last = ValueState(int)
    history = ListState(str)
    seen = MapState(str, float)


class Child(Function):
    more = ValueState(list[int])
    history = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True)
class FrozenFunction:
    limit: int = 3
    last = ValueState(int)


def bound(function: object, tmp_path: Path) -> Any:
    declared = declare(**declared_states(function))
    store = make_store(MemoryKeyedStore, tmp_path, declared)
    store.open()
    bind_states(function, store, [state.spec for state in declared])
    return store


def test_a_class_tells_its_states_in_the_order_of_declaration() -> None:
    assert list(declared_states(Function)) == ["last", "history", "seen"]
    assert list(declared_states(Child())) == ["last", "seen", "more"]
    assert [state.kind for state in declared_states(Function).values()] == ["value", "list", "map"]


@pytest.mark.parametrize("name", ["process_element", "on_timer"])
def test_a_state_that_hides_a_method_is_refused_by_name(name: str) -> None:
    hiding = type("Hiding", (KeyedProcessFunction,), {name: ValueState(int)})
    job = Job("job")
    keyed = job.source(Generator(int, count=1), uid="in").key_by(lambda number: number)
    with pytest.raises(JobDefinitionError, match=f"state '{name}' of Hiding has the name of a method"):
        keyed.process(hiding(), uid="hiding").sink(Print(), uid="out")
        job.plan()


def test_a_broadcast_state_that_hides_a_method_is_refused_by_name() -> None:
    name = "process_broadcast_element"
    hiding = type("Hiding", (KeyedBroadcastProcessFunction,), {name: BroadcastState(str)})
    job = Job("job")
    numbers = job.source(Generator(int, count=1), uid="in")
    with pytest.raises(JobDefinitionError, match=f"state '{name}' of Hiding has the name of a method"):
        both = numbers.key_by(lambda number: number).connect_broadcast(numbers)
        both.process(hiding(), uid="hiding").sink(Print(), uid="out")
        job.plan()


def test_a_bound_function_sees_the_state_of_the_key_in_hand(tmp_path: Path) -> None:
    function = Function()
    store = bound(function, tmp_path)
    store.current, other = store.lookup(["a", "b"])
    assert_type(function.last.value(), int | None)
    assert_type(function.history.get(), list[str])
    assert_type(function.seen.get("x"), float | None)
    assert function.last.value() is None
    function.last.update(5)
    function.history.add("x")
    function.seen.put("m", 1.5)
    assert (function.last.value(), function.history.get(), list(function.seen.items())) == (5, ["x"], [("m", 1.5)])
    assert (list(function.seen.keys()), list(function.seen.values()), "m" in function.seen) == (["m"], [1.5], True)
    store.current = other
    assert (function.last.value(), function.history.get(), function.seen.is_empty()) == (None, [], True)


def test_binding_changes_one_object_and_not_its_class(tmp_path: Path) -> None:
    bound(FrozenFunction(), tmp_path)
    with pytest.raises(JobDefinitionError, match="'last' of FrozenFunction was used outside a running job"):
        FrozenFunction().last.value()
    assert isinstance(FrozenFunction.last, ValueState)


def test_clearing_a_map_while_going_through_it_is_safe(tmp_path: Path) -> None:
    function = Function()
    store = bound(function, tmp_path)
    store.current = store.lookup(["a"])[0]
    for number in range(5):
        function.seen.put(f"m{number}", number)
    for key in function.seen.keys():  # noqa: SIM118
        function.seen.remove(key)
    assert function.seen.is_empty()


def test_a_map_key_that_is_no_key_type_is_refused_at_declaration() -> None:
    with pytest.raises(StateTypeError, match="map state 'm' of 'op'"):
        declare(m=MapState(float, int))


def test_a_state_that_was_of_another_type_is_refused_with_both_types() -> None:
    before = [state.spec for state in declare(a=ValueState(int), b=MapState(str, int))]

    def said(**states: Descriptor) -> list[tuple[str, str, str]]:
        found = compare(before, declare(**states), Allowed()).findings
        return [(one.verdict, one.name, one.what) for one in found if one.verdict != "kept"]

    both = {"a": ValueState(int), "b": MapState(str, int)}
    assert said(**both, new=ListState(int)) == [("new", "new", "")]
    assert said(**both | {"a": ValueState(str)}) == [("refused", "a", "was int and is str")]
    assert said(**both | {"b": MapState(int, int)}) == [("refused", "b", "its keys were str and are int")]
    assert said(**both | {"a": ListState(int)}) == [("refused", "a", "was a value state and is a list state")]
    assert said(a=ValueState(int)) == [("refused", "b", "the step does not have it any more")]
