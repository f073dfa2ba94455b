"""Settings of a job, with their defaults.

`Job(name, checkpoint_interval=timedelta(seconds=5), parallelism=4)` sets them in the job file.  Over that go, from weak
to strong, `[job]` of `streamlet.toml` beside the job file, the environment (`STREAMLET_PARALLELISM=4`) and the command
line; `streamlet config job.py` prints each with where it is from.  Every setting is checked when the job is made; a
wrong value is named, with the remedy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import timedelta
from os import PathLike
from typing import Any, Literal

from streamlet.errors import ConfigError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str, *, what: str = "duration") -> timedelta:
    """Reads `500ms`, `1s`, `2.5m`, `1h`; a number alone is refused, for nobody knows its unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\s*", text)
    if match is None:
        raise ConfigError(f"{what} {text!r} is not a duration", remedy="write a number with a unit: 500ms, 1s, 5m, 1h")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError as error:
        raise ConfigError(f"{what} {text[:40]!r} is too long", remedy="write a shorter one, e.g. 1h") from error


def parse_bytes(text: str, *, what: str = "size") -> int:
    """Reads `64MB`, `1GiB`, `500k`; units are powers of 1024."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgG]?)(?:i?[bB])?\s*", text)
    if match is None:
        raise ConfigError(f"{what} {text!r} is not a size", remedy="write a number with a unit: 64MB, 1GB")
    size = float(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2].lower()]
    if size >= 1 << 60:
        raise ConfigError(f"{what} {text[:40]!r} is more than any machine has", remedy="write a smaller one, e.g. 1GB")
    return int(size)


@dataclass(frozen=True)
class Restart:
    """What happens after a failure that another attempt may cure. Build it with one of the four functions below.

    An attempt that ran healthy for `reset_after` clears the count.  Errors that restarting cannot cure suspend at once.

    >>> job = Job("spend", restart=Restart.fixed(timedelta(seconds=5), attempts=10))
    >>> job.config.restart.attempts
    10
    """

    kind: Literal["exponential", "fixed", "failure_rate", "none"]
    attempts: int | None = None
    delay: timedelta = timedelta(seconds=1)
    max_delay: timedelta = timedelta(minutes=1)
    multiplier: float = 2.0
    jitter: float = 0.1
    reset_after: timedelta = timedelta(minutes=1)
    window: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        if self.attempts is not None and (type(self.attempts) is not int or self.attempts < 0):
            raise ConfigError(f"restart attempts is {self.attempts!r}", remedy="use 0 or more, or None for no limit")
        for name in ("delay", "max_delay", "reset_after", "window"):
            if not isinstance(getattr(self, name), timedelta):
                raise ConfigError(f"restart {name} is {getattr(self, name)!r}", remedy="give a datetime.timedelta")
        for name in ("jitter", "multiplier"):
            if type(getattr(self, name)) not in (int, float):
                raise ConfigError(f"restart {name} is {getattr(self, name)!r}", remedy="give a number")
        if self.delay < timedelta(0) or self.max_delay < self.delay:
            raise ConfigError("restart delay must be 0 or more, and max_delay at least delay")
        if not 0 <= self.jitter < 1 or self.multiplier < 1:
            raise ConfigError("restart jitter must be in [0, 1) and multiplier at least 1")

    @staticmethod
    def exponential(
        delay: timedelta = timedelta(milliseconds=200),
        max_delay: timedelta = timedelta(minutes=1),
        *,
        attempts: int | None = 10,
        multiplier: float = 2.0,
        jitter: float = 0.1,
        reset_after: timedelta = timedelta(minutes=1),
    ) -> Restart:
        """Waits longer after each failure in a row, up to `max_delay`; gives up after `attempts` (None: never)."""
        return Restart("exponential", attempts, delay, max_delay, multiplier, jitter, reset_after)

    @staticmethod
    def fixed(delay: timedelta = timedelta(seconds=1), *, attempts: int | None = 3) -> Restart:
        """Waits the same time after each failure; gives up after `attempts` failures in a row."""
        return Restart("fixed", attempts, delay, delay, jitter=0.0)

    @staticmethod
    def failure_rate(attempts: int, window: timedelta, delay: timedelta = timedelta(seconds=1)) -> Restart:
        """Gives up when more than `attempts` failures fall within `window`."""
        return Restart("failure_rate", attempts, delay, delay, jitter=0.0, window=window)

    @staticmethod
    def none() -> Restart:
        """Suspends at the first failure."""
        return Restart("none", 0)


@dataclass(frozen=True)
class JobConfig:
    """All settings of a job; `Job(name, **settings)` takes the same names."""

    checkpoint_interval: timedelta = timedelta(seconds=1)
    """Time between two checkpoints; transactional output becomes visible with this delay."""
    checkpoint_timeout: timedelta = timedelta(seconds=60)
    """A checkpoint that takes longer is abandoned; its output and state changes go into the next one."""
    stalled_intervals: int = 10
    """An attempt that completes no checkpoint for so many intervals, and not less than `checkpoint_timeout`, fails."""
    parallelism: int = 1
    """Subtasks of each operator that does not say otherwise."""
    processes: int = 1
    """Processes that the subtasks are spread over: subtask i of every operator lies in process i mod `processes`.  With
    1 everything runs in the process that was started; with more, that one only coordinates."""
    key_groups: int = 128
    """Upper bound of parallelism for keyed state. Fixed for the life of a job's state."""
    state_dir: str = "streamlet-state"
    """Folder of all jobs' checkpoints; this job uses the folder of its name in it."""
    state_backend: Literal["rocksdb", "memory"] = "rocksdb"
    """`memory` keeps no RocksDB (for tests); its checkpoints restore the same."""
    state_memory: int = 256 << 20
    """Bytes that live keys may take in memory, all subtasks together; colder keys are in RocksDB, which a small state
    never needs, however much of it changes."""
    retain: int = 1
    """How many committed checkpoints are kept beside the newest."""
    batch_records: int = 2000
    """Records that are processed between two turns of the event loop at most; fewer when they take longer than 2 ms, or
    give the subtasks behind more than 50 ms to do."""
    channel_records: int = 4000
    """Records that may be on the way to one subtask before back-pressure begins: where they take it longer than 100 ms,
    only so many as that, so that a checkpoint's barrier never waits long behind them."""
    restart: Restart = field(default_factory=Restart.exponential)
    """What happens after a failure: `Restart.exponential()`, `fixed()`, `failure_rate()` or `none()`."""
    verify: Literal["default", "full"] = "default"
    """`full` hashes every file of a checkpoint at start, `default` everything but the SST files."""
    trace_origins: bool = False
    """Errors behind a shuffle name the record's origin too; costs memory in channels."""
    show_records: bool = False
    """Errors show the record's content. Off, because records may hold secrets: errors then name keys, places and types
    only; the text of your own exceptions is shown as it is."""
    check_mutation: bool = False
    """Stops at a step that changes in place a value which other steps get too: a value that goes several ways is one
    object, so such a step changes it for all.  Off, because every such value is packed to compare: for looking, when
    results differ from what the functions say."""

    def __post_init__(self) -> None:
        for name in ("checkpoint_interval", "checkpoint_timeout"):
            value = getattr(self, name)
            if not isinstance(value, timedelta) or value <= timedelta(0):
                raise ConfigError(f"{name} is {value!r}", remedy="give a positive datetime.timedelta")
        for name in ("stalled_intervals", "parallelism", "processes", "key_groups", "batch_records", "channel_records"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} is {value!r}", remedy="give a whole number from 1")
        if self.key_groups > 1 << 15:
            raise ConfigError(f"key_groups is {self.key_groups}", remedy="give at most 32768")
        if self.parallelism > self.key_groups:
            raise ConfigError(
                f"parallelism {self.parallelism} is above key_groups {self.key_groups}",
                remedy="a key group is the smallest piece of keyed state: raise key_groups on a new job",
            )
        if not isinstance(self.state_dir, str | PathLike) or "\0" in str(self.state_dir) or not str(self.state_dir):
            raise ConfigError(f"state_dir is {self.state_dir!r}", remedy='give the path of a folder: "streamlet-state"')
        if type(self.state_memory) is not int or self.state_memory < 1 << 20:
            raise ConfigError(f"state_memory is {self.state_memory!r}", remedy="give bytes, at least 1 MB: 64 << 20")
        if not isinstance(self.restart, Restart):
            raise ConfigError(
                f"restart is {self.restart!r}", remedy="use Restart.exponential(), fixed(), failure_rate() or none()"
            )
        if type(self.retain) is not int or self.retain < 0:
            raise ConfigError(f"retain is {self.retain!r}", remedy="give 0 or more")
        if self.state_backend not in ("rocksdb", "memory"):
            raise ConfigError(f"state_backend is {self.state_backend!r}", remedy='use "rocksdb" or "memory"')
        if self.verify not in ("default", "full"):
            raise ConfigError(f"verify is {self.verify!r}", remedy='use "default" or "full"')

    @staticmethod
    def of(settings: dict[str, Any]) -> JobConfig:
        """Makes a config of keyword settings; an unknown one is refused with the nearest name."""
        import difflib

        known = [entry.name for entry in fields(JobConfig)]
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known settings: {', '.join(known)}"
                raise ConfigError(f"a job has no setting {name!r}", remedy=hint)
        return JobConfig(**settings)
