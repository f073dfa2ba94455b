"""Mistakes in users' functions that Python does not notice: found before the job runs where the code shows them, else
by the first result that does.  Results are looked at once per batch: a function that is wrong is so from the start.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import AsyncGeneratorType, CodeType, CoroutineType, FunctionType, GeneratorType
from typing import Any

from streamlet.elements import OutputTag
from streamlet.errors import JobDefinitionError, RecordError
from streamlet.state.broadcast import declared_tables
from streamlet.state.descriptor import Descriptor, declared_states

_UNCALLED = {
    CoroutineType: (
        "a coroutine that nobody awaits",
        "write the function as `async def` that awaits it, or use map_async",
    ),
    AsyncGeneratorType: ("an asynchronous generator that nobody runs", "give plain values from a plain function"),
    GeneratorType: ("a generator that nobody runs", "use flat_map for a function that yields, or give list(...)"),
}
_NO_ITERABLES = (str, bytes, bytearray, memoryview, Mapping)


def check_results(results: list[Any]) -> RecordError | None:
    """The error of a function whose results are calls that were never made; None where the first is none."""
    if not results or type(results[0]) not in _UNCALLED:
        return None
    what, remedy = _UNCALLED[type(results[0])]
    name = results[0].__qualname__
    for one in results:
        if isinstance(one, CoroutineType | GeneratorType):
            one.close()
    return RecordError(f"the function gave {what} ({name})", remedy=remedy)


def not_iterable(emitted: Any, *, is_any: bool) -> RecordError | None:
    """The error of a function that gave what is no iterable of results; None where it is one.  Text and mappings are
    hardly meant as such, but where any iterable is asked for (`is_any`)."""
    if isinstance(emitted, CoroutineType | AsyncGeneratorType):
        what, remedy = _UNCALLED[type(emitted)]
        if isinstance(emitted, CoroutineType):
            emitted.close()
        return RecordError(f"the function gave {what} ({emitted.__qualname__})", remedy=remedy)
    if (not is_any and isinstance(emitted, _NO_ITERABLES)) or not isinstance(emitted, _Iterable):
        return RecordError(
            f"the function gave {a_kind(emitted)} where it gives what it emits, each result by itself",
            remedy="write `yield value` (or `return [value]`) for one result, and list(...) where the parts are meant",
        )
    return None


def a_kind(value: object) -> str:
    """The name of a value's type with its article."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


class _Iterables(type):
    def __instancecheck__(cls, value: object) -> bool:
        return hasattr(type(value), "__iter__") or hasattr(type(value), "__getitem__")


class _Iterable(metaclass=_Iterables):
    """What `iter` takes."""


def is_generator(function: object) -> bool:
    """True for what is made by `def` with a `yield` in it."""
    return any(inspect.isgeneratorfunction(one) for one in (function, getattr(function, "__call__", None)))  # noqa: B004


def check_arguments(function: Any, given: Sequence[str], what: str, line: str) -> None:
    """Refuses a function that cannot be called with these arguments, where its signature is known."""
    if inspect.iscoroutinefunction(function):
        return  # refused as that
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*given)
    except TypeError as error:
        count = "one argument" if len(given) == 1 else f"{len(given)} arguments"
        raise JobDefinitionError(
            f"{line}: {what} calls its function with {count} ({', '.join(given)}), which "
            f"{getattr(function, '__qualname__', repr(function))}{signature} does not take: {error}",
            remedy=f"write it as a function of {' and '.join(given) if len(given) < 3 else ', '.join(given)}",
        ) from None


def check_methods(made: object, line: str) -> None:
    """Refuses an object whose class lacks a method that the engine's class, which it derives from, leaves to it."""
    owner = type(made)
    if owner.__module__.startswith("streamlet."):
        return
    for name in dir(owner):
        method = getattr(owner, name)
        if not isinstance(method, FunctionType) or not method.__module__.startswith("streamlet."):
            continue
        if method.__code__.co_names == ("NotImplementedError",):  # all that it does is to raise that
            raise _lacks(owner, name, method, line)
    _check_overrides(owner)


def _check_overrides(owner: type) -> None:
    """Refuses methods that cannot be called, or give something else, as those of the engine's class which they are in
    the place of."""
    for name, method in _methods(owner):
        bases = (vars(base).get(name) for base in owner.__mro__ if base.__module__.startswith("streamlet."))
        base = next((one for one in bases if isinstance(one, FunctionType)), None)
        if base is None or name.startswith("__"):
            continue
        at = _at(method.__code__)
        arguments = list(inspect.signature(base).parameters)
        _check_override(method, arguments, f"{owner.__name__}.{name}", at)
        if is_uncalled(method) and not is_uncalled(base):
            raise JobDefinitionError(
                f"{at}: {owner.__name__}.{name} is asynchronous, and nobody would await it",
                remedy="write it as a plain function; call asynchronous services by map_async before it",
            )
        given = str(base.__annotations__.get("return", "None"))
        # None can be meant as a first accumulator.
        if len(arguments) > 1 and given != "bool" and "None" not in given:
            check_gives(method, f"{owner.__name__}.{name}")


def _check_override(method: FunctionType, arguments: list[str], name: str, line: str) -> None:
    """Refuses a method that cannot be called with the arguments of the one which it is in the place of."""
    signature = inspect.signature(method)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        given, takes = ", ".join(arguments[1:]), ", ".join(signature.parameters)
        raise JobDefinitionError(
            f"{line}: {name} is called with {f'({given})' if given else 'no arguments'}, which def "
            f"{method.__name__}({takes}) does not take: {error}",
            remedy=f"write it as def {method.__name__}({', '.join(arguments)})",
        ) from None


def is_uncalled(function: object) -> bool:
    """True for what is made by `async def`."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def check_gives(function: object, what: str, remedy: str = "") -> None:
    """Refuses a function that is called for what it gives, and whose code has no `return` with a value."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType) or code.co_name == "<lambda>" or not _gives_nothing(code):
        return
    raise JobDefinitionError(
        f"{_at(code)}: {what} is called for what it gives, and {code.co_name} gives nothing: it has no `return` with a "
        "value",
        remedy=f"write `return ...` at its end{remedy}",
    )


def _gives_nothing(code: CodeType) -> bool:
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return False
    ends, before = 0, None
    for step in dis.get_instructions(code):
        if step.opname in ("RETURN_VALUE", "RETURN_CONST"):
            loaded = step if step.opname == "RETURN_CONST" else before
            if loaded is None or loaded.opname not in ("LOAD_CONST", "RETURN_CONST") or loaded.argval is not None:
                return False
            ends += 1
        before = step
    return ends > 0


def _lacks(owner: type, name: str, method: FunctionType, line: str) -> JobDefinitionError:
    near = sorted(one for one in vars(owner) if callable(vars(owner)[one]) and not one.startswith("__"))
    return JobDefinitionError(
        f"{line}: {owner.__name__} has no method {name}" + (f" (it has {', '.join(near)})" if near else ""),
        remedy=f"define {name}({', '.join(inspect.signature(method).parameters)})",
    )


def check_process_function(function: object, methods: tuple[str, ...], line: str) -> None:
    """Refuses a process function that lacks a method, whose methods are asynchronous, that declares a state where it is
    not found, or assigns to one. `line` is the job's."""
    owner = type(function)
    states = declared_states(function)
    declared_tables(function)  # refuses one that hides a method
    for name, value in getattr(function, "__dict__", {}).items():
        if isinstance(value, Descriptor):
            raise JobDefinitionError(
                f"{line}: {owner.__name__} makes the state {name!r} in a method, where it is not found",
                remedy=f"declare it in the body of the class: {name} = {type(value).__name__}(...)",
            )
    for method in methods:
        made = getattr(owner, method)
        if made.__module__ == "streamlet.operators.process_function":
            raise _lacks(owner, method, made, line)
    _check_overrides(owner)
    for name, made in _methods(owner):
        if is_uncalled(made):
            raise JobDefinitionError(
                f"{_at(made.__code__)}: {owner.__name__}.{name} is asynchronous, and nobody would await it",
                remedy="write it as a plain function; call asynchronous services by map_async before it",
            )
        for at, state in _assignments(made.__code__, set(states)):
            raise JobDefinitionError(
                f"{made.__code__.co_filename}:{at} in {name}: self.{state} = ... takes the place of the state "
                f"{state!r} of {owner.__name__}, and nothing is remembered",
                remedy=_remedy(state, states[state]),
            )


def begin_side(sides: dict[OutputTag[Any], tuple[list[Any], list[int]]], tag: OutputTag[Any]) -> Any:
    """Makes the lists of what is put out under a tag: values and rows.  Refuses what is no tag."""
    if not isinstance(tag, OutputTag):
        raise JobDefinitionError(
            f"output() takes an OutputTag and a value, not {tag!r:.80} as a tag",
            remedy='declare it once, LATE = OutputTag[dict]("late"), and give it here and to side_output',
        )
    side = sides[tag] = ([], [])
    return side


def assigned(function: object, handles: Mapping[str, Any], line: str) -> None:
    """Raises `JobDefinitionError` where a function has put something else in the place of one of its states."""
    for name, handle in handles.items():
        if getattr(function, name, None) is not handle:
            raise JobDefinitionError(
                f"{line}: {type(function).__name__} has put {a_kind(getattr(function, name, None))} in the "
                f"place of its state {name!r}, and nothing is remembered",
                remedy=_remedy(name, declared_states(function)[name]),
            )


def tags_of(function: object) -> list[OutputTag[Any]]:
    """The output tags that the methods of a function speak of by a global name."""
    found: dict[str, OutputTag[Any]] = {}
    for _, made in _methods(type(function)):
        for name in made.__code__.co_names:
            if isinstance(tag := made.__globals__.get(name), OutputTag):
                found[tag.name] = tag
    return list(found.values())


def _remedy(state: str, descriptor: Descriptor) -> str:
    kind = type(descriptor).__name__
    ways = {
        "ValueState": f"write self.{state}.update(value), and read it by self.{state}.value()",
        "ListState": f"write self.{state}.update(values) or self.{state}.add(value)",
        "MapState": f"write self.{state}.put(key, value)",
    }
    return ways.get(kind, f"write self.{state}.add(value), and read it by self.{state}.value()")


def _methods(owner: type) -> Iterator[tuple[str, FunctionType]]:
    for part in owner.__mro__:
        if not part.__module__.startswith("streamlet."):
            yield from ((name, one) for name, one in vars(part).items() if isinstance(one, FunctionType))


def _assignments(code: CodeType, states: set[str]) -> Iterator[tuple[int, str]]:
    """Where a method assigns to one of these attributes of its first argument: line and name."""
    if not states or not code.co_argcount:
        return
    own, line, loaded = code.co_varnames[0], code.co_firstlineno, ""
    for step in dis.get_instructions(code):
        line = _line_of(step) or line
        if step.opname == "STORE_ATTR" and step.argval in states and loaded == own:
            yield line, step.argval
        loaded = step.argval[-1] if isinstance(step.argval, tuple) and step.argval else step.argval


def _line_of(step: dis.Instruction) -> int | None:
    return getattr(step, "line_number", None) or (step.positions.lineno if step.positions is not None else None)


def _at(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_firstlineno}"
