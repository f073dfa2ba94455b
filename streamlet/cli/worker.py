"""What a worker process of `streamlet run --processes` runs. Not for people: it needs what its parent gave it."""

from __future__ import annotations

import asyncio
import logging
import struct
import sys

from streamlet.cli.loading import load_job
from streamlet.dsl.job import Job
from streamlet.errors import JobDefinitionError, StreamletError
from streamlet.graph.describe import describe_plan
from streamlet.graph.plan import ExecutionPlan
from streamlet.machine.hosts import Inherited, inherited
from streamlet.machine.local import local_ports
from streamlet.runtime.job.garbage import collected_at_chosen_times
from streamlet.runtime.processes.failures import failure_of
from streamlet.runtime.processes.link import Link
from streamlet.runtime.processes.messages import JobFile, encoded, job_file_of
from streamlet.runtime.processes.worker import ToldLog, Worker
from streamlet.runtime.run.job_run import uvloop_runner, watched
from streamlet.runtime.run.signals import Ears, heard_apart
from streamlet.runtime.run.stopping import WorkerStopping
from streamlet.runtime.task.placement import Placement

_BLOCKED_SHARE = 0.75
"""The coordinator's own patience goes on in the parent meanwhile: before it ends, the function is to be named."""


def main(arguments: list[str]) -> int:
    """Hosts a part of a job until the parent ends it; gives the exit code."""
    links = inherited(arguments)
    stopping = WorkerStopping(lambda text: print(text, file=sys.stderr, flush=True))
    # What stops a whole group of processes stops the job by its parent, which still needs the workers for the last
    # checkpoint.
    with heard_apart(stopping.heard) as ears:
        first = _first_frame(links)
        with uvloop_runner() as runner:
            try:
                given = job_file_of(first)
                job, plan = _same_job(given)
            except StreamletError as error:
                return runner.run(_refused(links, error))
            return 0 if runner.run(_hosted(links, given, job, plan, stopping, ears)) else 1


def _first_frame(links: Inherited) -> bytes:
    """Read before there is an event loop, for a job file may do what it likes while it is imported."""
    data = b""
    size = 4
    while len(data) < size:
        more = links.control.recv(size - len(data))
        if not more:
            sys.exit(1)
        data += more
        if len(data) == 4:
            size += struct.unpack(">I", data)[0]
    return data[4:]


def _same_job(given: JobFile) -> tuple[Job, ExecutionPlan]:
    job = load_job(given.target, given.arguments)
    plan = job.plan(given.config)
    if describe_plan(plan) != given.plan:
        raise JobDefinitionError(
            f"{given.target} has built another job in a worker process than in the one that was started",
            remedy="let the graph and its uids depend on the file and its arguments alone, not on time or chance",
        )
    return job, plan


async def _refused(links: Inherited, error: StreamletError) -> int:
    parent = await Link.over(links.control)
    parent.send(encoded(failure_of(error)))
    await parent.finish()
    return 1


async def _hosted(
    links: Inherited, given: JobFile, job: Job, plan: ExecutionPlan, stopping: WorkerStopping, ears: Ears | None
) -> bool:
    ports = local_ports()
    if ears is not None:
        ears.take_from_loop()
        stopping.is_for(asyncio.get_running_loop())
    parent = await Link.over(links.control)
    peers = {number: await Link.over(peer) for number, peer in links.peers.items()}
    if not logging.getLogger().handlers:
        directly = logging.StreamHandler()
        directly.setFormatter(logging.Formatter("warning: %(message)s"))
        for name in ("streamlet", "streamlet_connectors"):
            logging.getLogger(name).addHandler(ToldLog(parent, directly))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    placement = Placement(given.processes, given.here)
    async with watched(plan.config, ports.clock, _BLOCKED_SHARE) as watch:
        worker = Worker(job.name, plan, placement, parent, peers, ports, watch.lateness_seconds)
        async with collected_at_chosen_times(worker.keys_in_memory):
            return await worker.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
