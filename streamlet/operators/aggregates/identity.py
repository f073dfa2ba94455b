"""What a function takes from a value, in words that stay the same for as long as the function does.

A function that only takes a field or an item is known by that.  Any other one is known by a hash of its code, its
constants and the names in it, of what its closure holds as far as that is plain, never by its line: a function that
moved in the file is the same.  The code of one function differs from Python to Python, so the hash says which one it is
of.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from streamlet.operators.selectors import taken
from streamlet.state.evolution.schema import WHOLE_VALUE

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))
_DEEPEST = 20
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def identity_of(function: Callable[..., Any] | None) -> str:
    """`field cents`, `item 'cents'`, `function 3.11:9f1c...`; `the value` for none."""
    if function is None:
        return WHOLE_VALUE
    named = getattr(function, "identity", None) or taken(function)
    if named is not None:
        return named
    if isinstance(function, operator.itemgetter | operator.attrgetter):
        what = "item" if isinstance(function, operator.itemgetter) else "field"
        names = function.__reduce__()[1]
        shown = [name if what == "field" else repr(name) for name in names]
        return f"{what} {', '.join(map(str, shown))}"
    if isinstance(function, type) or not _has_code(function):
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        return name.removeprefix("builtins.")
    digest = hashlib.blake2b("\0".join(_pieces(function, 0)).encode(), digest_size=8)
    return f"function {_PYTHON}:{digest.hexdigest()}"


def outline_of(function: Callable[..., Any]) -> str:
    """What a function takes, told by nothing that differs from Python to Python: of code by its names and constants."""
    known = identity_of(function)
    if not known.startswith("function "):
        return known
    inner = function.func if isinstance(function, functools.partial) else function
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    return " ".join(sorted(_outline(code, 0)))


def _outline(code: Any, depth: int) -> Iterator[str]:
    if not isinstance(code, CodeType) or depth > _DEEPEST:
        return
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _outline(const, depth + 1)
        elif isinstance(const, _PLAIN) and const is not None:
            yield repr(const)


def _has_code(function: Any) -> bool:
    return isinstance(function, FunctionType | MethodType | functools.partial) or hasattr(
        type(function).__call__, "__code__"
    )


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """What tells a value from another one of its kind."""
    if depth > _DEEPEST:
        return
    inner = depth + 1
    if isinstance(value, _PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, tuple | list | frozenset | set):
        pieces = ["\1".join(_pieces(one, inner)) for one in value]
        yield f"{type(value).__name__} {len(pieces)}"
        yield from sorted(pieces) if isinstance(value, frozenset | set) else pieces
    elif isinstance(value, CodeType):
        yield from _of_code(value, inner)
    elif isinstance(value, FunctionType):
        yield from _of_code(value.__code__, inner)
        cells = [_content(cell) for cell in value.__closure__ or ()]
        for held in (value.__defaults__, tuple((value.__kwdefaults__ or {}).items()), tuple(cells)):
            yield from _pieces(held, inner)
    elif isinstance(value, MethodType):
        yield from _pieces(value.__func__, inner)
        yield from _pieces(value.__self__, inner)
    elif isinstance(value, functools.partial):
        yield from _pieces((value.func, value.args, sorted(value.keywords.items())), inner)
    else:
        yield from _of_object(value, inner)


def _of_code(code: CodeType, depth: int) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join((*code.co_names, *code.co_freevars, str(code.co_argcount), str(code.co_flags)))
    # A docstring says nothing of what is taken; it stands first, where there is one.
    yield from _pieces(code.co_consts, depth)


def _of_object(value: Any, depth: int) -> Iterator[str]:
    """A class or an instance: by its name, and for what can be called by its method and its plain attributes."""
    kind = value if isinstance(value, type) else type(value)
    yield kind.__qualname__
    if value is not kind and _has_code(value):
        yield from _pieces(getattr(kind.__call__, "__code__", None), depth)
        yield from _pieces(sorted((name, one) for name, one in vars(value).items() if isinstance(one, _PLAIN)), depth)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
