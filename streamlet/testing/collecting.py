"""`collect` runs a job of yours on lists: its sources are replaced by their uids, and its sinks are collected."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamlet.config import JobConfig, Restart
from streamlet.dsl.job import Job
from streamlet.errors import ConfigError, StreamletError
from streamlet.graph.job_graph import JobGraph
from streamlet.graph.plan import ExecutionPlan, plan
from streamlet.runtime.run.job_run import RunnableJob, run_job
from streamlet.source import Source
from streamlet.testing.lists import CollectSink, ListSource

Inputs = Mapping[str, Sequence[Any] | Source[Any]]
"""Source uid -> its records, or a source in its place, such as a `ListSource` with timestamps."""


class JobOnLists:
    """A job with other sources and sinks. The job itself is left as it is, and may be used any number of times."""

    def __init__(self, job: Job, inputs: Inputs, **settings: Any) -> None:
        nodes = job.graph.nodes
        sources = [node.uid for node in nodes if node.is_source]
        for uid in sorted({*inputs} ^ {*sources}, key=lambda uid: uid in sources):
            what = "has no records for its" if uid in sources else "names what the job has not,"
            raise ConfigError(
                f"the test of job {job.name} {what} source {uid!r}",
                remedy=f"give records for each of its sources by uid: {', '.join(map(repr, sources))}",
            )
        self.name = job.name
        self.config = replace(job.config, processes=1, **settings)
        self.sinks: dict[str, CollectSink[Any]] = {node.uid: CollectSink() for node in nodes if node.is_sink}
        made: dict[str, Any] = {uid: one if isinstance(one, Source) else ListSource(one) for uid, one in inputs.items()}
        made |= self.sinks
        self._graph = JobGraph([replace(node, made=made.get(node.uid, node.made)) for node in nodes])

    def plan(self, config: JobConfig | None = None) -> ExecutionPlan:
        """Validates the job and lays it out as tasks."""
        return plan(self._graph, config or self.config)

    def values(self) -> dict[str, list[Any]]:
        """What each sink has committed, by its uid."""
        return {uid: sink.values for uid, sink in self.sinks.items()}


def collect(job: Job, inputs: Inputs) -> dict[str, list[Any]]:
    """Runs a job until the records of its sources end, and gives what its sinks have committed, by uid.

    The engine is that of production, with its codecs, in this process and a state directory of its own, and the job is
    not changed.  The settings are the job's, but for one process, and no restart: what fails raises `StreamletError`
    with the text that `streamlet run` shows.  Call it from the main thread.

    >>> _ = payments.map(lambda one: one.amount, uid="amounts").sink(Print(), uid="out")
    >>> collect(job, {"payments": [Payment("eve", 3, 0)]})
    {'out': [3]}
    """
    on_lists = JobOnLists(job, inputs, restart=Restart.none())
    run_to_the_end(on_lists)
    return on_lists.values()


def run_to_the_end(job: RunnableJob) -> None:
    """Runs a bounded job in a state directory of its own; raises `StreamletError` when it does not finish."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="streamlet-test-") as folder:
        code = run_job(job, state_dir=folder, stream=said)
    if code != 0:
        raise StreamletError(f"job {job.name!r} ended with exit code {code}:\n{said.getvalue()}")
