"""Asynchronous functions: a function that waits for something outside is an `async def`, and many calls run at once.

Options of `map_async`:

    ordered (True)
        results in the order of the values; else as they are there, but never over a watermark
    capacity (100)
        calls at once in each subtask; while so many values are in flight no further batch is taken
    timeout, on_timeout (none)
        for each call; a call that takes longer fails, or gives `on_timeout(value)`
    retry (none)
        `Retry(attempts, delay, max_delay, multiplier, on)`; what fails in the end fails the job, or goes as `on_error`
        says
    type (the function's annotation)
        of the values: those in flight are in the checkpoint; without a type None, bool, int, float, str, bytes, lists
        and dicts of these

Barriers do not wait for calls; watermarks and the end of the input do.  After a restart a value that was in flight is
asked for again, and its result comes once.  With another `--parallelism`, or when splits were found since, what was in
flight of a key stays in order with what follows where the stream is keyed; elsewhere it may be overtaken.  `map`,
`filter` and `flat_map` call an `async def` with these defaults.  `examples/enrich_over_http.py` asks over HTTP.
"""

import asyncio
from datetime import timedelta

from streamlet import Job, Retry
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


async def with_country(address: str) -> tuple[str, str]:
    await asyncio.sleep(0.001)  # ask a service here
    return address, "nl" if address.endswith("1") else "de"


job = Job("countries")
(
    job.source(Generator(lambda i: f"10.0.0.{i}", count=50), uid="addresses")
    .map_async(with_country, capacity=20, timeout=timedelta(seconds=5), retry=Retry(attempts=3), uid="countries")
    .sink(Print(), uid="out")
)

if __name__ == "__main__":
    raise SystemExit(job.run())
