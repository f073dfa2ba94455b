"""Runs `streamlet`, and kills it right before the k-th call that puts something on disk for good.

`KILL_AT=fsync@7 python -m tests.recovery.kill_at_each run job.py`: `fsync`, `rename` (`os.replace` counts too) or
`link`, counted over all threads of this process, wherever in streamlet or in a connector the call stands; also `look`,
before a call that looks at a file.  With `KILL_FROM=path` calls count from the moment on when there is such a file.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

from streamlet.cli.main import main

_CALLS = {"fsync": ("fsync",), "rename": ("rename", "replace"), "link": ("link",)}
_CALLS |= {"look": ("open", "pread", "fstat", "scandir", "listdir")}


def kill_at(wanted: str) -> None:
    """Puts the trap into `os`, for the rest of this process."""
    name, _, hit = wanted.partition("@")
    passes = itertools.count(1)
    begin = os.environ.get("KILL_FROM", "/")
    for call in _CALLS[name]:
        setattr(os, call, _trapped(getattr(os, call), passes, int(hit), begin))


def _trapped(call: Callable[..., Any], passes: itertools.count[int], hit: int, begin: str) -> Callable[..., Any]:
    def trapped(*args: Any, **kwargs: Any) -> Any:
        if os.access(begin, os.F_OK) and next(passes) == hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)

    return trapped


if __name__ == "__main__":
    kill_at(os.environ["KILL_AT"])
    main()
