"""The job of one query, or of several at once over the same input."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from streamlet import Job, WatermarkStrategy
from streamlet_connectors.files import FileSink, JsonLines
from tests.benchmarks.nexmark import grouping, joining, passing, windowing
from tests.benchmarks.nexmark.model import Event, time_of
from tests.benchmarks.nexmark.query import Query, Site

_ALL = (*passing.QUERIES, *joining.QUERIES, *windowing.QUERIES, *grouping.QUERIES)
QUERIES: dict[str, Query] = {query.name: query for query in sorted(_ALL, key=lambda one: int(one.name[1:]))}

TIMES = WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=4)).with_timestamps(time_of)


def job_of(names: Sequence[str], inputs: Path, out: Path, **settings: Any) -> Job:
    """Reads the files `events-*.jsonl`; each query writes into a folder of its name."""
    job = Job("nexmark", **settings)
    site = Site(job, job.source(JsonLines(f"{inputs}/events-*.jsonl", Event), uid="events", watermarks=TIMES))
    for name in names:
        QUERIES[name].build(site).sink(FileSink(out / name), uid=f"{name}-out")
    return job
