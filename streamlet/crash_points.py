"""Named places where a test may kill or stop the process, to show that it loses nothing there."""

from __future__ import annotations

import os
import signal

_wanted, _, _hit_text = os.environ.get("STREAMLET_FAULT", "").partition("@")
_hits_left = int(_hit_text) if _hit_text.isdigit() else 1
_is_stopping = os.environ.get("STREAMLET_FAULT_STOPS", "") == "1"


def fault_point(name: str) -> None:
    """Does nothing, unless the environment says `STREAMLET_FAULT=name` or `name@k`: then the first (k-th) pass kills
    this process as `kill -9` does, or with `STREAMLET_FAULT_STOPS=1` stops it until it gets a SIGCONT.  The variables
    are read once, when the module is imported."""
    global _hits_left
    if name != _wanted:
        return
    _hits_left -= 1
    if _hits_left == 0:
        os.kill(os.getpid(), signal.SIGSTOP if _is_stopping else signal.SIGKILL)
