"""`streamlet run`, and what `job.run()` does: set up, supervise, say how it ended."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import uvloop

from streamlet.checkpoint.lock import JobLock
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.clock import Clock, SystemClock
from streamlet.config import JobConfig, parse_bytes, parse_duration
from streamlet.errors import (
    AttemptSupersededError,
    ConfigError,
    JobDefinitionError,
    JobLockedError,
    StateRefusedError,
    StreamletError,
)
from streamlet.graph.describe import warnings_of
from streamlet.graph.plan import ExecutionPlan
from streamlet.machine.local import local_ports
from streamlet.observe.facts import JobFacts
from streamlet.observe.progress import Progress
from streamlet.outages import Outages
from streamlet.ports import Ports
from streamlet.runtime.job.attempt import Attempt
from streamlet.runtime.job.garbage import collected_at_chosen_times
from streamlet.runtime.job.hosting import Host, LocalHost
from streamlet.runtime.job.job_state import JobState
from streamlet.runtime.job.loop_watch import LoopWatch, watched_loop
from streamlet.runtime.job.restoring import AttemptOptions
from streamlet.runtime.job.savepoints import SavepointDesk
from streamlet.runtime.job.supervisor import Outcome, Supervisor, describe
from streamlet.runtime.processes.worker_host import WorkerHost
from streamlet.runtime.run.control import Controlled, ControlSocket
from streamlet.runtime.run.importing import file_of, refuse_while_importing
from streamlet.runtime.run.limits import check_limits, raise_soft_limits
from streamlet.runtime.run.option_words import in_words_of_the_command_line, option_of
from streamlet.runtime.run.reading import Reading, status_of
from streamlet.runtime.run.serve import listening_of, served_on
from streamlet.runtime.run.signals import Ears, heard_apart
from streamlet.runtime.run.stopping import Stopping
from streamlet.state.evolution.findings import Allowed
from streamlet.tally import told

if TYPE_CHECKING:
    from streamlet.observe.serving.address import Listening

FINISHED, FAILED, WRONG, LOCKED = 0, 1, 2, 3
"""Exit codes, beside `INTERRUPTED`: done or stopped; suspended after a failure; wrong job file or option; held by
another."""

_SLOW_INTERVALS = 3
_SHORTEST_WARNING_SECONDS = 1.0


class RunnableJob(Protocol):
    """What a run needs of a job: its name, its settings, and its plan under other settings."""

    name: str
    config: JobConfig

    def plan(self, config: JobConfig | None = None) -> ExecutionPlan:
        """Validates the job and lays it out as tasks."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line may change about one run."""

    state_dir: str | None = None
    from_checkpoint: str = "latest"
    parallelism: int | None = None
    processes: int | None = None
    checkpoint_interval: timedelta | None = None
    state_memory: int | None = None
    check_mutation: bool | None = None
    take_over: bool = False
    accept_lost_output: bool = False
    allow_dropped_state: Sequence[str] = ()
    allow_changed_state: Sequence[str] = ()
    http: str | None = None
    """Where to serve metrics and probes, `127.0.0.1:9470`; None for nowhere."""
    http_token_file: str | None = None
    """File with the token that requests must carry."""
    command: str = ""
    """How to start the job again, for messages."""
    job_file: str = ""
    """Where the job is, `job.py[:name]`; empty for the one of the running program."""
    arguments: Sequence[str] = ()
    """What the job file sees as `sys.argv[1:]`."""


def run_job(job: RunnableJob, *, stream: TextIO | None = None, **options: Any) -> int:
    """Runs a job in this thread until it ends; gives the exit code. Never raises for what went wrong in the job."""
    out = stream or sys.stderr
    try:
        refuse_inside_a_loop(job.name)
        prepared = prepare(job, options)
    except StreamletError as error:
        print(f"streamlet: {describe(error)}", file=out)
        return WRONG
    stopping = Stopping()
    with heard_apart(stopping.heard) as ears:
        try:
            with uvloop_runner() as runner:
                return runner.run(_owned(prepared, out, stopping, ears))
        finally:
            stopping.ended()


@dataclass(frozen=True)
class Prepared:
    """A run that may begin: nothing of its options and its plan is wrong."""

    name: str
    plan: ExecutionPlan
    run: RunOptions
    warnings: Sequence[str]
    listening: Listening | None


def prepare(job: RunnableJob, options: dict[str, Any]) -> Prepared:
    """Checks all that can be checked before a run; raises `StreamletError`."""
    refuse_while_importing(job.name)
    run = options_of(options)
    plan = job.plan(configured(job.config, run))
    plan.allowed = Allowed.of(run.allow_dropped_state, run.allow_changed_state)
    raise_soft_limits()
    warnings = [*check_limits(plan), *warnings_of(plan)]
    if plan.config.processes > 1 and not run.job_file:
        run = replace(run, job_file=file_of(job, job.name), arguments=tuple(sys.argv[1:]))
    return Prepared(job.name, plan, run, warnings, listening_of(run))


def refuse_inside_a_loop(name: str) -> None:
    """Raises `JobDefinitionError` where an event loop runs already: a notebook, a web server."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise JobDefinitionError(
        f"job {name!r} is run inside of a running event loop",
        remedy="use `async with job.running() as run: await run.finished()` there",
    )


async def _owned(prepared: Prepared, out: TextIO, stopping: Stopping, ears: Ears | None) -> int:
    """Runs a job in a process that is its own: its signals, its log and its garbage collection."""
    plan = prepared.plan

    def begin(reading: Reading, progress: Progress) -> None:
        if ears is not None:
            ears.take_from_loop()
            stopping.is_for(
                reading.supervisor.stop, lambda: _waits_for(reading.facts()), progress.say, progress.__exit__
            )

    @asynccontextmanager
    async def around(reading: Reading) -> AsyncIterator[None]:
        def keys_here() -> int:
            attempt = reading.supervisor.attempt
            return attempt.work().keys if attempt is not None and plan.config.processes == 1 else 0

        async with collected_at_chosen_times(keys_here), watched(plan.config, SystemClock()) as watch:
            reading.lateness_seconds = watch.lateness_seconds
            yield

    with Progress(prepared.name, lambda: None, out, SystemClock()) as progress, _logging(progress):
        outcome, supervisor = await supervised(prepared, local_ports(), progress, begin, around)
    return _say_how_it_ended(prepared.name, outcome, supervisor, prepared.run, plan.config, out)


def uvloop_runner() -> asyncio.Runner:
    """The event loop of production."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def options_of(options: dict[str, Any]) -> RunOptions:
    """Reads the options of a run; raises `ConfigError` for one that is wrong."""
    interval = options.get("checkpoint_interval")
    if isinstance(interval, str):
        options["checkpoint_interval"] = parse_duration(interval, what=_named("checkpoint_interval", options))
    if "from_checkpoint" in options:
        options["from_checkpoint"] = str(options["from_checkpoint"])  # from Python an id may be an int, a path a Path
    memory = options.get("state_memory")
    if isinstance(memory, str):
        options["state_memory"] = parse_bytes(memory, what=_named("state_memory", options))
    try:
        return RunOptions(**options)
    except TypeError as error:
        raise ConfigError(
            f"run: {error}", remedy=f"options are {', '.join(RunOptions.__dataclass_fields__)}"
        ) from error


def _named(name: str, options: dict[str, Any]) -> str:
    return option_of(name) if options.get("command") else name


def configured(config: JobConfig, run: RunOptions) -> JobConfig:
    """Gives the settings of a job as a run changes them; raises `ConfigError` for one that is wrong."""
    for name in ("state_dir", "parallelism", "processes", "checkpoint_interval", "state_memory", "check_mutation"):
        value = getattr(run, name)
        if value is None:
            continue
        try:
            config = replace(config, **{name: value})
        except ConfigError as error:
            if not run.command:
                raise
            raise in_words_of_the_command_line(error, name) from error
    return config


async def supervised(
    prepared: Prepared,
    ports: Ports,
    progress: Progress,
    begin: Callable[[Reading, Progress], None],
    around: Callable[[Reading], AbstractAsyncContextManager[None]],
) -> tuple[Outcome, Supervisor]:
    """Runs a job in the running loop until it ends; `begin` is called before its first attempt, and all of it happens
    inside of `around`."""
    name, plan, run = prepared.name, prepared.plan, prepared.run
    config: JobConfig = plan.config
    clock = ports.clock
    state_dir = Path(config.state_dir)
    storage = CheckpointStorage(state_dir, name, ports.disk)
    lock, savepoints = JobLock(storage.folder, ports), SavepointDesk(ports.disk, storage)
    outages = Outages(clock)
    reading = Reading(name, config, clock, outages)
    progress.look = reading.facts

    def make(is_first: bool) -> Attempt:
        reading.attempt_over()
        return Attempt(
            name,
            plan,
            AttemptOptions(
                state_dir,
                run.from_checkpoint if is_first else "latest",
                take_over=run.take_over and is_first,
                accept_lost_output=run.accept_lost_output and is_first,
            ),
            lock,
            ports,
            progress.say,
            outages,
            lambda plan: _host(plan, run, ports, outages),
            savepoints,
            control.open,
        )

    for warning in prepared.warnings:
        progress.say(f"warning: {warning}")
    supervisor = reading.supervisor = Supervisor(make, config.restart, clock, ports.randomness)
    controlled = Controlled(lambda: status_of(reading.facts(), ports.processes.pid), savepoints.ask, supervisor.stop)
    control = ControlSocket(storage.folder, controlled, progress.say)
    showing = asyncio.create_task(_show(progress))
    begin(reading, progress)
    try:
        async with around(reading), AsyncExitStack() as more:
            if prepared.listening is not None:
                more.enter_context(served_on(prepared.listening, reading, ports))
                progress.say(f"{name}: metrics and probes are at {prepared.listening.url}")
            outcome = await supervisor.run()
    finally:
        lock.release()
        showing.cancel()
        await asyncio.wait([showing])
        await control.close(_ended(name, supervisor))
    return outcome, supervisor


def _host(plan: ExecutionPlan, run: RunOptions, ports: Ports, outages: Outages) -> Host:
    if plan.config.processes == 1:
        return LocalHost(plan)
    return WorkerHost(plan, target=run.job_file, arguments=run.arguments, ports=ports, outages=outages)


def watched(config: JobConfig, clock: Clock, share: float = 1.0) -> AbstractAsyncContextManager[LoopWatch]:
    """Watches the running loop for functions that hold it: one is interrupted after this share of the time that the job
    may go without a checkpoint."""
    stalled = max(config.stalled_intervals * config.checkpoint_interval, config.checkpoint_timeout)
    return watched_loop(
        clock,
        warn_seconds=max(_SLOW_INTERVALS * config.checkpoint_interval.total_seconds(), _SHORTEST_WARNING_SECONDS),
        interrupt_seconds=max(share * stalled.total_seconds(), _SHORTEST_WARNING_SECONDS),
    )


async def _show(progress: Progress) -> None:
    while True:
        await asyncio.sleep(progress.seconds_between)
        progress.show()


def _waits_for(facts: JobFacts) -> str:
    """When a run that was asked to stop will have."""
    why = f" ({facts.unhealthy})" if facts.unhealthy else ""
    if facts.state == JobState.RUNNING.value:
        return f"the last checkpoint is complete{why}"
    is_beginning = facts.state == JobState.RESTORING.value
    return f"what has begun has ended{why}" if is_beginning else "threads of the job have ended"


def _ended(name: str, supervisor: Supervisor) -> dict[str, Any]:
    """What `streamlet stop` says in the end, and its exit code."""
    state = supervisor.life.state
    last = supervisor.attempt.last_checkpoint() if supervisor.attempt is not None else None
    kept = "no checkpoint was made" if last is None else f"checkpoint {last} is kept"
    words = {JobState.SUSPENDED: "stopped", JobState.FINISHED: "finished"}
    return {"ended": f"{name}: {words.get(state, 'failed')}; {kept}", "code": FINISHED if state in words else FAILED}


class _logging:
    """Shows the engine's warnings above the progress line, unless the program has its own logging."""

    def __init__(self, progress: Progress) -> None:
        self._handler = _ProgressHandler(progress)

    def __enter__(self) -> None:
        if not logging.getLogger().handlers:
            for name in ("streamlet", "streamlet_connectors"):
                logging.getLogger(name).addHandler(self._handler)
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        for name in ("streamlet", "streamlet_connectors"):
            logging.getLogger(name).removeHandler(self._handler)


class _ProgressHandler(logging.Handler):
    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self._progress.say(f"{record.levelname.lower()}: {record.getMessage()}")


def _say_how_it_ended(
    name: str, outcome: Outcome, supervisor: Supervisor, run: RunOptions, config: JobConfig, out: TextIO
) -> int:
    error = outcome.error
    if outcome.state is JobState.FINISHED:
        print(f"{name}: finished{_totals(supervisor)}", file=out)
        return FINISHED
    if outcome.state is JobState.SUSPENDED:
        print(f"{name}: stopped{_totals(supervisor)}; {_resume(supervisor, run)}", file=out)
        return FINISHED
    assert error is not None
    print(f"{name}: {describe(error)}", file=out)
    if isinstance(error, JobLockedError):
        return LOCKED
    if isinstance(error, ConfigError | JobDefinitionError | StateRefusedError):
        return WRONG
    if isinstance(error, AttemptSupersededError):
        return FAILED  # it is not this process that goes on
    times = f" after {supervisor.restarts} restarts" if supervisor.restarts else ""
    print(f"{name}: suspended{times}; {_resume(supervisor, run)}", file=out)
    return FAILED


def _totals(supervisor: Supervisor) -> str:
    """What this run did, for its last line."""
    attempt = supervisor.attempt
    figures = attempt.figures() if attempt is not None else None
    if attempt is None or figures is None:
        return ""
    written = f", {figures.records_committed:,} written and committed" if figures.records_committed else ""
    work = attempt.work()
    return ", ".join([f": {work.records:,} records read{written}", *told(work.counts)])


def _resume(supervisor: Supervisor, run: RunOptions) -> str:
    attempt = supervisor.attempt
    last = attempt.last_checkpoint() if attempt is not None else None
    kept = "no checkpoint was made" if last is None else f"checkpoint {last} is kept"
    return f"{kept}; go on with: {run.command}" if run.command else f"{kept}; run the job again to go on"
