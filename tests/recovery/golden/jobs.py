"""The job whose checkpoints lie in this folder, each written by the release that its folder is named after.

`python -m tests.recovery.golden.jobs FOLDER` writes one: run it once for each format version, never again for an
old one.  What is declared here must not change: a later release goes on from these checkpoints.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from streamlet import (
    Count,
    Job,
    KeyedProcessFunction,
    ListState,
    MapState,
    ProcessContext,
    SessionWindows,
    SlidingWindows,
    Sum,
    TimerContext,
    TumblingWindows,
    ValueState,
    WatermarkStrategy,
)
from streamlet.aggregates import Composed
from streamlet.windows import EveryRecords
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, checkpoint_at, files, lines, make_job, run

TIMES: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda number: number * 1000)
SECOND = timedelta(seconds=1)
COUNT, CUT = 40, 20


class Visit(msgspec.Struct):
    at: int
    by: str = "nobody"


class Remembers(KeyedProcessFunction[int, int, list[Any]]):
    last = ValueState(Visit)
    seen = MapState(str, int)
    all = ListState(int)
    lately = ValueState(int, ttl=timedelta(days=36500))

    def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
        last = self.last.value()
        yield [value, last and last.at, self.seen.get("n"), len(list(self.all.get())), self.lately.value()]
        self.last.update(Visit(value))
        self.seen.put("n", value)
        self.all.add(value)
        self.lately.update(value)
        ctx.timers.register_event_time((ctx.timestamp or 0) + 7000)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Any:
        yield ["timer", timestamp, ctx.key]


def _ones(number: int) -> int:
    return 1


def build(folder: Path, backend: str, parallelism: int = 1) -> Job:
    """A job with state of most kinds; two of its steps have no uid."""
    job = make_job(folder, state_backend=backend, parallelism=parallelism)
    numbers = job.source(Waiting(COUNT, CUT // 2, CUT), uid="numbers", watermarks=TIMES, parallelism=1)
    keyed = numbers.key_by(lambda number: number % 5, uid="by")

    def written(stream: Any, name: str) -> None:
        stream.sink(FileSink(str(folder / "out" / name)), uid=name, parallelism=1)

    written(keyed.process(Remembers(), uid="remembers"), "process")
    written(keyed.aggregate(total=Sum(lambda number: number), ones=Sum(_ones), uid="named"), "named-out")
    written(keyed.aggregate(Count(), Sum(lambda number: number), uid="placed"), "placed-out")
    written(keyed.count(), "counted-out")
    written(keyed.reduce(max, type=int), "reduced-out")
    windows = {
        "tumbling": keyed.window(TumblingWindows(16 * SECOND)).allowed_lateness(SECOND),
        "sliding": keyed.window(SlidingWindows(12 * SECOND, 4 * SECOND)),
        "sessions": keyed.window(SessionWindows(6 * SECOND)),
        "triggered": keyed.window(TumblingWindows(16 * SECOND)).trigger(EveryRecords(2)),
    }
    for name, windowed in windows.items():
        made = windowed.aggregate(
            Composed(ones=Count(), total=Sum(lambda number: number)),
            uid=name,
            result=lambda key, window, values: [key, window.start, values],
        )
        written(made, f"{name}-out")
    joined = keyed.interval_join(
        keyed, lambda left, right: [left, right], lower=-6 * SECOND, upper=SECOND, uid="joined"
    )
    written(joined, "joined-out")
    return job


def write(into: Path, build: Callable[..., Job] = build) -> None:
    """Writes a checkpoint of each backend, at number `CUT`, and what was visible then, by output."""
    for backend in ("memory", "rocksdb"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            assert run(build(folder, backend)).code == 0
            gone: set[Path] = set()
            if backend == "rocksdb":
                # At another parallelism it has a base beside logs.
                half = checkpoint_at(folder, CUT // 2)
                gone = set(folder.glob("out/*/part-*")) - visible_at(folder, half)
                assert run(build(folder, backend, 2), from_checkpoint=str(half)).code == 0
            cut = checkpoint_at(folder, CUT)
            _keep(folder / "state" / "job", cut, into / backend)
            outs = {path.name: files(path) for path in sorted((folder / "out").iterdir())}
            seen = visible_at(folder, cut) - gone
            before = {name: lines(folder / "out" / name, but=[*{*files} - seen]) for name, files in outs.items()}
            (into / backend / "before.json").write_text(json.dumps(before))


def visible_at(folder: Path, checkpoint_id: int) -> set[Path]:
    """The files of all outputs that are of a checkpoint or of one before it."""
    return {path for path in folder.glob("out/*/part-*") if int(path.name.split("-")[1]) <= checkpoint_id}


def _keep(state: Path, checkpoint_id: int, into: Path) -> None:
    from streamlet.checkpoint.manifest import decode

    name = f"chk-{checkpoint_id:08d}"
    manifest = decode((state / name / "manifest").read_bytes(), name)
    shutil.copytree(state / name, into / name)
    (into / "files").mkdir()
    for file in manifest.files():
        shutil.copy(state / "files" / file.name, into / "files" / file.name)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
