"""How many records a second go through an asynchronous function: `python -m tests.benchmarks.asynchronous`.

The function only sleeps, so this is what the engine and the event loop cost.  One process, one subtask, checkpoints
every second, output to files.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import tempfile
import time
from collections.abc import Awaitable, Callable

from streamlet import Job
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator


def sleeping(seconds: float) -> Callable[[int], Awaitable[int]]:
    """A function that takes so long and does nothing."""

    async def asked(number: int) -> int:
        await asyncio.sleep(seconds)
        return number

    return asked


def records_per_second(count: int, seconds: float, capacity: int, *, ordered: bool) -> tuple[float, float]:
    """Runs a job to its end; gives records per second and microseconds of CPU per record, start and end included."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job("asynchronous", state_dir=f"{folder}/state")
        (
            job.source(Generator(int, count=count), uid="numbers")
            .map_async(sleeping(seconds), capacity=capacity, ordered=ordered, uid="ask")
            .sink(FileSink(f"{folder}/out"), uid="out")
        )
        began, cpu = time.monotonic(), time.process_time()
        code = job.run(stream=io.StringIO())
        assert code == 0, f"the job ended with {code}"
        return count / (time.monotonic() - began), (time.process_time() - cpu) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cases = [(ms, capacity, ordered) for ms in (0, 1) for capacity in (100, 1000) for ordered in (True, False)]
    found: dict[tuple[int, int, bool], list[tuple[float, float]]] = {case: [] for case in cases}
    for _ in range(options.rounds):
        for ms, capacity, ordered in cases:
            one = records_per_second(options.records, ms / 1000, capacity, ordered=ordered)
            found[ms, capacity, ordered].append(one)
    for (ms, capacity, ordered), rounds in found.items():
        rates = sorted(rate for rate, _ in rounds)
        middle = rates[len(rates) // 2]
        cpu = sorted(spent for _, spent in rounds)[len(rounds) // 2]
        print(
            f"sleep {ms} ms, capacity {capacity:4}, {'ordered' if ordered else 'unordered':9}: "
            f"{middle:9,.0f} records/s ({rates[0]:,.0f}-{rates[-1]:,.0f}), {cpu:.1f} us of CPU per record"
        )


if __name__ == "__main__":
    main()
