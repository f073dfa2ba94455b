"""All ports as this machine has them."""

from __future__ import annotations

import random

from streamlet.clock import SystemClock
from streamlet.machine.disk import LocalDisk
from streamlet.machine.processes import LocalProcesses
from streamlet.machine.threads import LocalThreads
from streamlet.ports import Ports


def local_ports() -> Ports:
    """Gives the ports of production."""
    return Ports(SystemClock(), random.SystemRandom(), LocalDisk(), LocalThreads(), LocalProcesses())
