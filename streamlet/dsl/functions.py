"""What a function must be that a step of the job is given."""

from __future__ import annotations

from streamlet.errors import JobDefinitionError
from streamlet.operators.functions import is_asynchronous
from streamlet.operators.user_code.misuse import check_arguments, check_gives, is_generator

_ARGUMENTS = {
    **dict.fromkeys(("map", "filter", "flat_map", "key_by", "inspect", "split", "sample"), ("value",)),
    "reduce": ("what there is", "value"),
}
_MAY_YIELD = ("flat_map", "process", "window_process")
"""Steps whose function may be a generator."""


def check_function(kind: str, function: object, line: str) -> None:
    """Refuses what a step of this kind cannot call."""
    if not callable(function):
        raise JobDefinitionError(
            f"{line}: {kind} takes a function, not {function!r:.80}",
            remedy="give a function or a lambda",
        )
    if is_asynchronous(function):
        raise JobDefinitionError(
            f"{line}: {kind} takes a plain function, not an async one",
            remedy="call asynchronous services in a map_async, filter or flat_map before it",
        )
    if kind in _ARGUMENTS:
        check_arguments(function, _ARGUMENTS[kind], kind, line)
        if kind != "inspect":
            check_gives(function, f"the function of {kind}", "; what only does something goes to inspect")
    if kind not in _MAY_YIELD and is_generator(function):
        raise JobDefinitionError(
            f"{line}: {kind} takes a function that gives one result, and this one yields",
            remedy="use flat_map for a function that yields, or give the result by return",
        )


def check_split(names: tuple[str, ...], letters: str | None, line: str) -> None:
    """Refuses names of streams that are none, come twice, or are that of the dead letters."""
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise JobDefinitionError(
            f"{line}: split takes different names, not {names!r:.80}",
            remedy='write cheap, dear = stream.split(size_of, "cheap", "dear")',
        )
    if letters in names:
        raise JobDefinitionError(
            f"{line}: split gives a stream {letters!r}, and dead letters of on_error have that name",
            remedy='give the tag of on_error another name: OutputTag[DeadLetter]("dead letters")',
        )
