"""Functions that only take something out of a value, as one pass over a column: it needs no calls, and takes a third of
the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_VARARGS, CO_VARKEYWORDS
from types import CodeType, FunctionType
from typing import Any

_KINDS = CO_VARARGS | CO_VARKEYWORDS | CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
"""The flags that say how a function is called; others say where it is defined, and under which `__future__` imports."""


def _shape(code: CodeType) -> tuple[object, ...]:
    """What two functions have in common that differ in names and constants only."""
    return (
        code.co_code,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & _KINDS,
        len(code.co_names),
        len(code.co_consts),
        code.co_exceptiontable,
    )


_attribute = (lambda value: value.attribute).__code__
_item = (lambda value: value["item"]).__code__
_ATTRIBUTE, _ITEM = _shape(_attribute), _shape(_item)
_WHICH = _item.co_consts.index("item")

Selector = Callable[[Sequence[Any]], list[Any]]
"""Gives the same of each value of a column."""


def _attributes(values: Sequence[Any]) -> list[Any]:
    return [value.attribute for value in values]


def _items(values: Sequence[Any]) -> list[Any]:
    return [value["item"] for value in values]


def selector(function: Callable[[Any], Any]) -> Selector | None:
    """Gives `[value.user for value in values]` for `lambda payment: payment.user`, as a function of `values`, and
    `[value["id"] for value in values]` for `lambda row: row["id"]`.

    None for any other function: it is told by the code, which must be that of such a function. Debuggers see no call.
    """
    if type(function) is not FunctionType:
        return None
    code, shape = function.__code__, _shape(function.__code__)
    if shape == _ATTRIBUTE:
        return FunctionType(_with_other(_attributes.__code__, "attribute", code.co_names[0]), {})
    if shape == _ITEM:
        return FunctionType(_with_other(_items.__code__, "item", code.co_consts[_WHICH]), {})
    return None


def taken(function: Callable[[Any], Any]) -> str | None:
    """What such a function takes: `field user`, `item 'id'`; None for any other function."""
    if type(function) is not FunctionType:
        return None
    code, shape = function.__code__, _shape(function.__code__)
    if shape == _ATTRIBUTE:
        return f"field {code.co_names[0]}"
    return f"item {code.co_consts[_WHICH]!r}" if shape == _ITEM else None


def _with_other(code: CodeType, old: str, new: Any) -> CodeType:
    """The same code with another name or constant; before Python 3.12 a comprehension has code of its own in it."""
    return code.replace(
        co_names=tuple(new if name == old else name for name in code.co_names),
        co_consts=tuple(
            _with_other(const, old, new) if isinstance(const, CodeType) else new if const == old else const
            for const in code.co_consts
        ),
    )
