"""How many records a second go through an asynchronous function: `python -m tests.benchmarks asynchronous`.

The function only sleeps, so this is what the engine and the event loop cost.  One process, one subtask, checkpoints
every second, output to files.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence

from streamlet import Job
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from tests.benchmarks.reporting import Report, with_common_options


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


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks asynchronous", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    options = with_common_options(parser).parse_args(arguments)
    report = Report("asynchronous", options.json)
    cases = [(ms, capacity, ordered) for ms in (0, 1) for capacity in (100, 1000) for ordered in (True, False)]
    for number in range(options.rounds):
        for ms, capacity, ordered in cases:
            rate, spent = records_per_second(options.records, ms / 1000, capacity, ordered=ordered)
            name = f"sleep {ms} ms, capacity {capacity}, {'ordered' if ordered else 'unordered'}"
            report.add(name, number, {"records_per_second": round(rate), "cpu_us_per_record": round(spent, 2)})
    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
