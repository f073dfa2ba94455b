"""What aggregate takes, on a keyed stream and on its windows: functions by place, or by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamlet.errors import JobDefinitionError
from streamlet.operators.aggregates.functions import AggregateFunction, Composed
from streamlet.operators.functions import is_asynchronous
from streamlet.operators.user_code.misuse import check_methods

_METHODS = ("create_accumulator", "add", "result", "merge")


def checked_functions(
    functions: Sequence[Any],
    named: Mapping[str, Any],
    into: Callable[..., Any] | None,
    result: Callable[..., Any] | None,
    line: str,
) -> tuple[AggregateFunction[Any, Any, Any], ...]:
    """The functions that are given by place, or one `Composed` of those by name; refuses what is none."""
    if named or into is not None:
        if functions or result is not None:
            raise JobDefinitionError(
                f"{line}: aggregate takes functions by place with result=, or by name with into=",
                remedy="give all of them a name: aggregate(total=Sum(...), count=Count(), into=Spend)",
            )
        functions = (Composed(into, **named) if into is not None else Composed(**named),)
    if not functions:
        raise JobDefinitionError(f"{line}: aggregate needs a function", remedy="give Count(), Sum(...)")
    for function in functions:
        _check(function, line)
    return tuple(functions)


def kind_of(function: AggregateFunction[Any, Any, Any]) -> str:
    """The kind of a function, for messages that list arguments."""
    return type(function).__name__.lower()


def _check(function: Any, line: str) -> None:
    if not isinstance(function, AggregateFunction):
        raise JobDefinitionError(
            f"{line}: aggregate takes aggregate functions, not {function!r:.80}",
            remedy="give instances: Sum(...), Count(), Min(...), Max(...), Mean(...) or your AggregateFunction",
        )
    for part in function.parts.values() if isinstance(function, Composed) else (function,):
        for name in _METHODS:
            if is_asynchronous(getattr(part, name)):
                raise JobDefinitionError(
                    f"{line}: {name} of {type(part).__name__} is an async function, and nobody waits for it",
                    remedy="make it a plain one; call asynchronous services in a map_async before it",
                )
        check_methods(part, line)
