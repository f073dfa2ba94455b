"""Named places where a test may kill the process, to show that being killed there loses nothing."""

from __future__ import annotations

import os
import signal

_wanted, _, _hit_text = os.environ.get("STREAMLET_FAULT", "").partition("@")
_hits_left = int(_hit_text) if _hit_text.isdigit() else 1


def fault_point(name: str) -> None:
    """Does nothing, unless the environment says `STREAMLET_FAULT=name` or `name@k`: then the first (k-th) pass kills
    this process as `kill -9` does.  The variable is read once, when the module is imported."""
    global _hits_left
    if name != _wanted:
        return
    _hits_left -= 1
    if _hits_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
