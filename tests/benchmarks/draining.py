"""Watches one program drain a topic: when what became visible, and what it cost."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.meter import Meter
from tests.benchmarks.output_topic import Ends
from tests.benchmarks.programs import Program

_LOOK_SECONDS = 0.05
QUIET_SECONDS = 3.0
"""Offsets count the markers of transactions too: all is there when, with enough of them, nothing more comes."""
_GIVE_UP_SECONDS = 180.0
_SHORTEST_MIDDLE_SECONDS = 1.0
_MARKERS = 64
"""More offsets than the markers of what a killed process had open."""

Point = tuple[float, int]
"""Seconds since the first start, and the last stable offsets then."""


class Timeline:
    """How far the output was visible at which time."""

    def __init__(self, ends: Ends, quiet_seconds: float) -> None:
        self.began = time.monotonic()
        self.points: list[Point] = [(0.0, 0)]
        self._ends = ends
        self._quiet_seconds = quiet_seconds
        self._changed = 0.0

    def look(self) -> int:
        """Notes where the output ends now."""
        stable = self._ends.stable()
        now = time.monotonic() - self.began
        if stable != self.points[-1][1]:
            self.points.append((now, stable))
            self._changed = now
        elif now - self._changed > _GIVE_UP_SECONDS:
            raise TimeoutError(f"nothing new became visible for {_GIVE_UP_SECONDS:g} s, after {stable} offsets")
        return stable

    def is_done(self, records: int) -> bool:
        """True when everything was seen to be there."""
        quiet = time.monotonic() - self.began - self._changed
        return self.points[-1][1] >= records and quiet > self._quiet_seconds


def drain(
    program: Program,
    environment: dict[str, str],
    folder: Path,
    records: int,
    kill_every: float = 0.0,
    quiet_seconds: float = QUIET_SECONDS,
) -> dict[str, Any]:
    """Runs the program until so many records of output are visible; gives its figures, per record of output."""
    ends = Ends(environment["BOOTSTRAP"], environment["OUT_TOPIC"])
    line = Timeline(ends, quiet_seconds)
    cpu_seconds, peak_bytes, kills = 0.0, 0, 0
    restarts: list[float] = []
    written = -_MARKERS
    while not line.is_done(records):
        started = time.monotonic()
        with program.running(environment, folder) as process:
            meter = Meter(process.pid)
            seconds = _first_output(line, written + _MARKERS, process, started, records)
            starting_cpu_seconds = meter.cpu_seconds
            if kills and seconds is not None:
                restarts.append(round(seconds, 3))
            is_killed = _watch(line, process, records, kill_every, meter)
        meter.close()
        cpu_seconds += meter.noted_seconds
        peak_bytes = max(peak_bytes, meter.peak_bytes)
        if is_killed:
            kills += 1
            written = ends.written()
    return {
        **_rates(line.points, records),
        "cpu_seconds_per_million": round(cpu_seconds / records * 1e6, 3),
        **_running_cost(line.points, records, cpu_seconds - starting_cpu_seconds, kills),
        "peak_rss_mb": round(peak_bytes / (1 << 20), 1),
        "first_output_s": round(line.points[1][0], 3),
        **({"kills": kills, "restart_to_new_output_s": restarts} if kills else {}),
        **{f"late_{name}": value for name, value in program.lateness().items()},
    }


def _running_cost(points: Sequence[Point], records: int, cpu_seconds: float, kills: int) -> dict[str, float]:
    """CPU of what became visible after the first output: without imports and connecting."""
    left = records - points[1][1]
    if kills or left < records / 2:
        return {}
    return {"running_cpu_seconds_per_million": round(cpu_seconds / left * 1e6, 3)}


def _first_output(
    line: Timeline, beyond: int, process: subprocess.Popen[bytes], started: float, records: int
) -> float | None:
    """Seconds from the start until something is visible that no process before has written."""
    while line.look() <= beyond:
        if line.is_done(records):
            return None
        _must_run(process)
        time.sleep(_LOOK_SECONDS / 5)
    return time.monotonic() - started


def _watch(line: Timeline, process: subprocess.Popen[bytes], records: int, kill_every: float, meter: Meter) -> bool:
    """Looks on until all is there, or it is time to kill; says whether it killed."""
    kill_at = time.monotonic() + kill_every
    changes = 0
    while True:
        line.look()
        if len(line.points) != changes:
            # What it costs to wait for more, when there is none, does not count.
            changes = len(line.points)
            meter.note()
        if line.is_done(records):
            return False
        _must_run(process)
        if kill_every and time.monotonic() >= kill_at and line.points[-1][1] < records:
            process.kill()
            process.wait()
            return True
        time.sleep(_LOOK_SECONDS)


def _must_run(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"the program has ended by itself, with {process.returncode}")


def _rates(points: Sequence[Point], records: int) -> dict[str, float]:
    """Of everything from the start on, and of the part between a tenth and nine tenths of the output."""
    end = points[-1][0]
    middle = [point for point in points if 0.1 * records <= point[1] <= 0.9 * records]
    rates = {"seconds": round(end, 3), "records_per_second": round(records / end)}
    (first, low), (last, high) = (middle[0], middle[-1]) if middle else ((0.0, 0), (0.0, 0))
    if last - first > _SHORTEST_MIDDLE_SECONDS:
        rates["middle_records_per_second"] = round((high - low) / (last - first))
    return rates
