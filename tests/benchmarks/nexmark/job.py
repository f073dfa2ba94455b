"""What the benchmark and the kill tests run: `streamlet run job.py`, told by the environment what to do."""

from __future__ import annotations

import os
from pathlib import Path

from tests.benchmarks.nexmark.jobs import job_of

given = os.environ
job = job_of(
    given["NEXMARK_QUERIES"].split(","),
    Path(given["NEXMARK_IN"]),
    Path(given["NEXMARK_OUT"]),
    batch_records=int(given.get("NEXMARK_BATCH", "500")),
)
