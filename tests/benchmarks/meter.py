"""What a process and its children cost, read from outside: CPU seconds, resident memory."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

_LOOK_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Looks at a process some fifty times a second until it has ended. Linux only."""

    def __init__(self, pid: int) -> None:
        self.cpu_seconds = 0.0
        """Of the process and its children, at the last look."""
        self.noted_seconds = 0.0
        """What `cpu_seconds` was when `note` was called last."""
        self.peak_bytes = 0
        """Resident memory of the process alone, as the kernel counted its peak."""
        self.peak_child_bytes = 0
        """The largest child that was seen."""
        self.children = 0
        """How many different children were seen."""
        self._seen: set[int] = set()
        self._folder = Path(f"/proc/{pid}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)
        self._thread.start()

    def note(self) -> None:
        """Keeps the CPU seconds of this moment."""
        self.noted_seconds = self.cpu_seconds

    def close(self) -> None:
        """Ends the looking; figures stay."""
        self._stop.set()
        self._thread.join()

    def resident_bytes(self) -> int:
        """What the process has in memory now; 0 when it has ended."""
        return _resident(self._folder)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            with contextlib.suppress(OSError, ValueError, IndexError):
                self._look()

    def _look(self) -> None:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            return
        seconds = _cpu_seconds(self._folder)
        self.peak_bytes = max(self.peak_bytes, _peak(self._folder))
        command = (self._folder / "cmdline").read_bytes()
        for task in (self._folder / "task").iterdir():
            for child in (task / "children").read_text().split():
                folder = Path(f"/proc/{child}")
                if (folder / "cmdline").read_bytes() == command:
                    continue  # Between fork and exec it seems to have what this process has.
                size = _peak(folder)
                seconds += _cpu_seconds(folder)
                if int(child) not in self._seen:
                    self._seen.add(int(child))
                    self.children += 1
                self.peak_child_bytes = max(self.peak_child_bytes, size)
        self.cpu_seconds = seconds


def resident_bytes(pid: int) -> int:
    """What a process has in memory now; 0 when it has ended."""
    return _resident(Path(f"/proc/{pid}"))


def _cpu_seconds(folder: Path) -> float:
    """Of a process, and of those children that it has waited for."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _peak(folder: Path) -> int:
    for line in (folder / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def _resident(folder: Path) -> int:
    try:
        return int((folder / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
