"""What a job's functions remember outside of declared state, put back as it was: a process that starts knows no more.

From the functions of the job everything is found that they reach: closures, instances, classes and globals of modules
that are neither Python's, nor installed, nor streamlet's.  Of each thing that can change, the contents are kept, and
put back in place.  What C code keeps to itself (`random`, iterators) is not put back.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

_ATOMS = (str, bytes, int, float, complex, type(None), CodeType)
_NOT_THE_USERS = {*sys.stdlib_module_names, "streamlet", "streamlet_connectors"} - {"__main__"}
_EMPTY = object()
"""In a slot that nothing was put into."""
_INSTALLED = ("site-packages", "dist-packages")


class ProcessMemory:
    """The memory of a process that has imported a job and run nothing of it yet."""

    def __init__(self, roots: Iterable[Any]) -> None:
        self._undo: list[Callable[[], object]] = []
        self._seen: dict[int, Any] = {}
        ahead = list(roots)
        while ahead:
            one = ahead.pop()
            if isinstance(one, _ATOMS) or id(one) in self._seen:
                continue
            self._seen[id(one)] = one
            ahead.extend(self._reached(one))

    def forget(self) -> None:
        """Puts everything back as it was."""
        for undo in self._undo:
            undo()

    def _reached(self, one: Any) -> Iterator[Any]:
        """Keeps what is in one thing, and gives what it leads to."""
        if isinstance(one, FunctionType):
            yield from self._of_function(one)
        elif isinstance(one, MethodType):
            yield from (one.__self__, one.__func__)
        elif isinstance(one, partial):
            yield from (one.func, *one.args, *one.keywords.values())
        elif isinstance(one, CellType):
            yield from self._of_cell(one)
        elif isinstance(one, staticmethod | classmethod):
            yield one.__func__
        elif isinstance(one, type):
            if _is_users(one.__module__):
                yield from one.__bases__
                yield from self._attributes(one)
        elif isinstance(one, ModuleType):
            if _is_users(one.__name__):
                yield from self._attributes(one)
        else:
            yield from self._of_instance(one)

    def _of_function(self, one: FunctionType) -> Iterator[Any]:
        yield from (one.__dict__, one.__defaults__, one.__kwdefaults__, *(one.__closure__ or ()))
        if _is_users(one.__globals__.get("__name__", "")):
            for name in _names(one.__code__):
                if name in one.__globals__:
                    value = one.__globals__[name]
                    self._undo.append(partial(one.__globals__.__setitem__, name, value))
                    yield value

    def _of_cell(self, one: CellType) -> Iterator[Any]:
        try:
            value = one.cell_contents
        except ValueError:
            return  # empty
        self._undo.append(partial(setattr, one, "cell_contents", value))
        yield value

    def _attributes(self, one: type | ModuleType) -> Iterator[Any]:
        for name, value in list(vars(one).items()):
            if not name.startswith("__"):
                self._undo.append(partial(_put_in_attribute, one, name, value))
                yield value
            elif isinstance(value, FunctionType):
                yield value

    def _of_instance(self, one: Any) -> Iterator[Any]:
        if isinstance(one, dict):
            yield from self._contents(dict, "update", one, dict(one))
            yield from one.values()
        elif isinstance(one, set):
            yield from self._contents(set, "update", one, set(one))
        elif isinstance(one, list | bytearray | deque):
            kind: Any = next(kind for kind in (list, bytearray, deque) if isinstance(one, kind))
            yield from self._contents(kind, "extend", one, kind(one))
        elif isinstance(one, tuple | frozenset):
            yield from one
        yield type(one)
        for kind in type(one).__mro__:
            for slot in vars(kind).values():
                if isinstance(slot, MemberDescriptorType):
                    value = _in_slot(slot, one)
                    self._undo.append(partial(_put_in_slot, slot, one, value))
                    yield value
        if isinstance(getattr(one, "__dict__", None), dict):
            yield one.__dict__

    def _contents(self, kind: Any, put: str, one: Any, before: Any) -> Iterator[Any]:
        def undo() -> None:
            kind.clear(one)
            getattr(kind, put)(one, before)

        self._undo.append(undo)
        yield from before


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function may find among its globals, those of functions inside it too."""
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _names(one)


def _in_slot(slot: MemberDescriptorType, one: Any) -> Any:
    try:
        return slot.__get__(one, None)
    except AttributeError:
        return _EMPTY


# Only what has changed is put back: of what cannot be set, such as the fields of a frozen struct, nothing has, unless
# its own C code has changed it.


def _put_in_slot(slot: MemberDescriptorType, one: Any, value: Any) -> None:
    if _in_slot(slot, one) is value:
        return
    with contextlib.suppress(AttributeError, TypeError):
        if value is _EMPTY:
            slot.__delete__(one)
        else:
            slot.__set__(one, value)


def _put_in_attribute(one: type | ModuleType, name: str, value: Any) -> None:
    if vars(one).get(name) is not value:
        setattr(one, name, value)


def _is_users(module: str | None) -> bool:
    if not module or module.partition(".")[0] in _NOT_THE_USERS:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not any(part in file for part in _INSTALLED)
