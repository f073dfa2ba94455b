"""Which line of the user's program called the engine."""

from __future__ import annotations

import os
import sys
import sysconfig
import typing
from pathlib import Path
from types import FrameType

_ROOT = Path(__file__).parent.parent
_ENGINE = tuple(
    f"{_ROOT / name}{os.sep}"
    for name in ("streamlet", "streamlet_connectors", f"connectors{os.sep}streamlet_connectors")
)
_BETWEEN = (*_ENGINE, typing.__file__)
"""What stands between the user's line and the engine: `Json[int]()` calls by way of typing."""
_FOREIGN = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def calling_line() -> tuple[str, int]:
    """Gives file and line of the innermost caller outside the engine and its connectors."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _file_of(frame).startswith(_BETWEEN):
        frame = frame.f_back
    return (frame.f_code.co_filename, frame.f_lineno) if frame is not None else ("<unknown>", 0)


def _file_of(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    # What dataclasses write, such as __init__, has no file of its own.
    return str(frame.f_globals.get("__file__", name)) if name == "<string>" else name


def is_engine_file(filename: str) -> bool:
    """True for code of the engine and its connectors."""
    return filename.startswith(_ENGINE)


def is_user_file(filename: str) -> bool:
    """True for code that is neither the engine's nor a library's."""
    return not filename.startswith((*_ENGINE, *_FOREIGN, "<frozen"))
