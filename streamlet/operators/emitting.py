"""What a user's function emits for one record, as a list, and nothing of it cut off quietly."""

from __future__ import annotations

from collections.abc import Iterable
from types import GeneratorType
from typing import Any

from streamlet.operators.user_code.misuse import not_iterable

_WHOLE = (list, tuple, GeneratorType)
"""These cannot end early without an error: a generator turns a StopIteration inside it into one (PEP 479)."""


def whole(emitted: Iterable[Any], *, is_any: bool = False) -> Iterable[Any]:
    """Gives everything that `emitted` holds; raises `RecordError` for what is no iterable, and, unless any one will do
    (`is_any`), for text and mappings.

    A lazy iterable (`map`, `filter`, ...) whose function raises StopIteration looks as if it had ended, and the rest
    would be lost.  Only a `__next__` may say that it has ended: raised by any other function it is that one's error,
    a `RuntimeError` here.  What another iterator has taken in (`itertools.chain` over such a map) cannot be told apart.
    """
    if isinstance(emitted, _WHOLE):
        return emitted
    if (error := not_iterable(emitted, is_any=is_any)) is not None:
        raise error
    return _guarded(emitted)


def _guarded(emitted: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    following = iter(emitted).__next__
    try:
        while True:
            found.append(following())
    except StopIteration as end:
        below = end.__traceback__.tb_next if end.__traceback__ is not None else None
        if below is not None and below.tb_frame.f_code.co_name != "__next__":
            raise RuntimeError("the function raised StopIteration").with_traceback(below) from end
    return found
