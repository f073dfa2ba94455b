"""Operating: see what a job does, set it from outside, run it inside of your program.

`streamlet run job.py --http 127.0.0.1:9470` (`pip install "streamlet[http]"`) serves, on this machine only:

- `/metrics` for Prometheus: records in and out, busy and back-pressured time, late, skipped and dead letters of every
  step; lag and position of every split; checkpoints, state, restarts.  `streamlet help metrics` lists them
- `/healthz`: 200 while the event loop turns, else 503 with the line of the function that holds it
- `/readyz`: 200 while the job runs, reaches the outside and completes checkpoints, else 503 with the reason
- `/status`: all of it as JSON, as `streamlet status job.py --json` prints it

`--http 0.0.0.0:9470 --http-token-file FILE` serves other machines: they send `Authorization: Bearer TOKEN`.  The two
probes need no token, so that Kubernetes can ask them; they say no reason then.

Which step is slow?  The one whose `streamlet_operator_busy_seconds_total` grows by nearly a second per second; those
before it grow in `streamlet_operator_backpressured_seconds_total`.  What holds event time back?  The split with the
lowest time; after ten seconds `remark` of the status, and the progress line, name it.

Settings come from the job file, `streamlet.toml` beside it (`[job]`, then `parallelism = 4`), the environment
(`STREAMLET_PARALLELISM=4`) and the command line, each over those before it; `streamlet config job.py` prints every
setting with where it is from.  Passwords are no settings: read them from the environment or a file in the job file.

In a program with an event loop, such as a web server or a notebook, a job runs beside other work: `job.running()`.
Leaving the block stops the job with a last checkpoint.
"""

import asyncio

from streamlet import Job
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print

job = Job("operating")
job.source(Generator(lambda index: index, count=5), uid="numbers").sink(Print(), uid="out")


async def program() -> None:
    async with job.running() as run:
        ended = await run.finished()
        print(ended, run.status()["records"])


if __name__ == "__main__":
    asyncio.run(program())
    raise SystemExit(job.run())
