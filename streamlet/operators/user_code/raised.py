"""What is said of an exception: where the user's line is, what it was raised from, and what to do about some kinds."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from streamlet.calling import is_user_file
from streamlet.errors import UserFunctionError

RAISED = BaseException
"""What a function of the job may end by.  Everything: the engine itself cancels and closes coroutines alone, and hears
signals elsewhere, so `SystemExit`, `GeneratorExit`, `CancelledError` or `KeyboardInterrupt` out of a call are raised by
the function, and would else end the process or a task of the engine unheard."""

ENDS = (SystemExit, KeyboardInterrupt)
"""By these a function means to end the whole job, not to leave a record out; asyncio passes them by its tasks."""

ENDING = "raise an error to have the job fail; it ends well when its input ends, or by Ctrl-C or SIGTERM"
"""The remedy for them."""

_CAUSES = 2
_LINES, _CHARACTERS = 4, 2000
"""So much of what an exception says is shown: the whole message of an error has at most 15 lines."""


def spot_of(error: BaseException) -> tuple[str, str | None] | None:
    """The user's line that raised it and what it says; None where no line of theirs did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_file(frame.filename)]
    return (f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}", frames[-1].line) if frames else None


def words_of(error: BaseException) -> str:
    """What an exception says; one of the job may fail at that, too."""
    try:
        return str(error)
    except Exception as other:
        return f"(its __str__ raised {type(other).__name__})"


def shown_of(error: BaseException) -> str:
    """What an exception says, cut where it is too long to be shown."""
    words = words_of(error)
    lines = words[:_CHARACTERS].split("\n")
    if len(lines) > _LINES:
        more = words.count("\n") + 1 - _LINES
        return "\n".join(lines[:_LINES]) + f"\n    ... and {more} more lines"
    return words if len(words) <= _CHARACTERS else f"{words[:_CHARACTERS]} ... and {len(words) - _CHARACTERS} more"


def causes_of(error: BaseException) -> Iterable[str]:
    """Lines for what it was raised from, or while that was handled, the nearest first."""
    seen = {id(error)}
    for _ in range(_CAUSES):
        if isinstance(error, BaseExceptionGroup):
            cause: BaseException | None = error.exceptions[0]
        else:
            cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None or id(cause) in seen or isinstance(cause, UserFunctionError):
            return
        seen.add(id(cause))
        spot = spot_of(cause)
        if spot is None and cause is error.__context__ and error.__cause__ is None:
            return  # something that the engine went through
        where = "" if spot is None else f"{spot[0]}: "
        yield f"  caused by {where}{type(cause).__name__}: {words_of(cause).partition(chr(10))[0]:.300}"
        if spot is not None and spot[1]:
            yield f"    {spot[1]}"
        error = cause


def missing_method(error: BaseException) -> str:
    """What the bare NotImplementedError of a class to derive from means: which class lacks which method."""
    last = error.__traceback__
    if type(error) is not NotImplementedError or error.args or last is None:
        return ""
    while last.tb_next is not None:
        last = last.tb_next
    owner, name = last.tb_frame.f_locals.get("self"), last.tb_frame.f_code.co_name
    return "" if owner is None else f"{type(owner).__name__} has no method {name}"


def exit_error(error: BaseException, where: str) -> UserFunctionError:
    """Makes the error of one of `ENDS` in code of the job that no operator calls, such as a source's."""
    spot, text = spot_of(error) or (where, None)
    lines = [f"{spot}: {type(error).__name__}: {shown_of(error)}", *([f"    {text}"] if text else []), f"  in {where}"]
    made = UserFunctionError("\n".join(lines), place=f"{where}|{spot}", remedy=ENDING, line=spot)
    made.final = True
    return made
