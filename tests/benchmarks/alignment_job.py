"""A job with a slow function behind a shuffle, run as `streamlet run` does, which tells how long checkpoints waited.

`python alignment_job.py TARGET ARGUMENT...` runs the command with these arguments and writes to TARGET, for each
checkpoint, the seconds from its trigger until its barriers had met in the slow function, and until all subtasks had
acknowledged it; one for which that never happened counts with its age.  The arguments end in `-- MILLISECONDS OUT`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamlet import Job, KeyedProcessFunction, ProcessContext, ValueState
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

MILLISECONDS = float(sys.argv[-2])


class Slow(KeyedProcessFunction[str, int, tuple[str, int]]):
    seen = ValueState(int)

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[tuple[str, int]]:
        time.sleep(MILLISECONDS / 1000)
        self.seen.update((self.seen.value() or 0) + 1)
        yield ctx.key, self.seen.value() or 0


job = Job("alignment")
(
    job.source(Generator(int, splits=8), uid="numbers")
    .key_by(lambda number: f"k{number % 500}")
    .process(Slow(), uid="slow")
    .sink(FileSink(sys.argv[-1]), uid="out")
)


def main(target: Path, arguments: list[str]) -> None:
    """The command."""
    from streamlet.checkpoint import coordinator, pending
    from streamlet.checkpoint.messages import Acknowledge, Busy, Trigger
    from streamlet.cli.main import main as streamlet
    from streamlet.runtime.job import attempt

    began: dict[int, float] = {}
    aligned: dict[int, float] = {}
    acknowledged: dict[int, float] = {}

    def write() -> None:
        now = time.monotonic()
        waits = [{one: of.get(one, now) - at for one, at in began.items()} for of in (aligned, acknowledged)]
        target.write_text(json.dumps([list(one.values()) for one in waits]))

    class Timed(pending.PendingCheckpoint):
        def note(self, message: Busy) -> None:
            if message.doing.startswith("sink"):  # what comes directly behind the barrier
                aligned[self.checkpoint_id] = time.monotonic()
            super().note(message)

        def acknowledge(self, message: Acknowledge) -> pending.Verdict:
            acknowledged[self.checkpoint_id] = time.monotonic()
            return super().acknowledge(message)

    class Stopped(coordinator.CheckpointCoordinator):
        def stop(self) -> None:
            write()  # it may never come to the end
            super().stop()

    def trigger(checkpoint_id: int, **options: Any) -> Trigger:
        began.setdefault(checkpoint_id, time.monotonic())
        return Trigger(checkpoint_id, **options)

    coordinator.__dict__.update(PendingCheckpoint=Timed, Trigger=trigger)
    attempt.__dict__.update(CheckpointCoordinator=Stopped)
    try:
        streamlet(arguments)
    finally:
        write()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
