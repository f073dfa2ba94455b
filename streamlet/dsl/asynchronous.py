"""Steps with asynchronous functions: checks what the user gave, and says how the operator is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, get_type_hints

from msgspec import inspect as types
from msgspec.structs import replace

from streamlet.errors import JobDefinitionError, StateTypeError
from streamlet.operators.asynchronous.map_async import CallOptions, MapAsync, Results
from streamlet.operators.asynchronous.retry import Retry
from streamlet.operators.functions import is_asynchronous
from streamlet.operators.operator import Operator
from streamlet.operators.user_code.misuse import check_gives
from streamlet.state.encoding.types import holds_any, type_facts

_ASYNC_GENERATOR = "collect what it yields into a list and return that: flat_map(f) emits each of its items"


def asynchronous(
    kind: str, function: Callable[[Any], Any], results: Results, options: CallOptions, line: str
) -> Callable[[], Operator]:
    """What makes the operator of such a step; raises `JobDefinitionError` for what cannot work."""
    if not callable(function):
        raise JobDefinitionError(
            f"{line}: {kind} takes an async function, not {function!r:.80}", remedy="give a function made by async def"
        )
    if inspect.isasyncgenfunction(function):
        raise JobDefinitionError(f"{line}: {kind} takes no asynchronous generator", remedy=_ASYNC_GENERATOR)
    check_gives(function, f"the function of {kind}", "; what only does something returns its value behind it")
    _check(kind, options, line)
    if options.type is Any:
        options = replace(options, type=_type_of(kind, function, line))
    else:
        _facts(options.type, kind, line)
    return lambda: MapAsync(function, results, options)


def _check(kind: str, options: CallOptions, line: str) -> None:
    def refuse(what: str, remedy: str) -> None:
        raise JobDefinitionError(f"{line}: {kind}: {what}", remedy=remedy)

    if type(options.capacity) is not int or options.capacity < 1:
        refuse(f"capacity is {options.capacity!r}", "give the most calls that may run at once, from 1 on")
    timeout = options.timeout
    if timeout is not None and not (isinstance(timeout, timedelta) and timeout > timedelta(0)):
        refuse(f"timeout is {timeout!r}", "give a time that each call may take: timedelta(seconds=5)")
    if options.on_timeout is not None and (timeout is None or not callable(options.on_timeout)):
        refuse("on_timeout gives a result in place of one that came too late", "give timeout=... and a function")
    if is_asynchronous(options.on_timeout):
        refuse("on_timeout takes a plain function, not an async one", "return a value that is at hand")
    if options.retry is not None and not isinstance(options.retry, Retry):
        refuse(f"retry is {options.retry!r:.80}", "give Retry(attempts=3, delay=timedelta(milliseconds=100))")


def _facts(declared: Any, kind: str, line: str) -> types.Type:
    try:
        return type_facts(declared, where="what is in flight")
    except StateTypeError as error:
        raise JobDefinitionError(f"{line}: {kind}: {error.message}", remedy=error.remedy) from error


def _type_of(kind: str, function: Callable[[Any], Any], line: str) -> Any:
    """The type that the function says it takes, where it says one by which values come back as they were."""
    try:
        hints = get_type_hints(function)
        first = next(iter(inspect.signature(function).parameters))
    except (NameError, TypeError, ValueError, StopIteration, AttributeError):
        return Any
    declared = hints.get(first, Any)
    if declared is Any or declared is object or isinstance(declared, TypeVar):
        return Any
    facts = _facts(declared, kind, line)
    # Such values are kept exactly without a type.
    return Any if holds_any(facts) or isinstance(facts, types.TypedDictType) else declared
