"""A soak: `python -m tests.soak --kills 200 --broker-kills 20 --zombies 20 --records 5000000 --seed 1`.

Runs `examples/spend_per_user.py` on a real broker of its own, in a phase for each kind of fault, each phase on new
topics and a new state directory, and then, with `--minutes`, under all kinds in turn as the seed draws them.  Each
phase ends with a check of every record by `tests.checker` and, with `--console`, by Kafka's console consumer.  The seed
fixes which faults come in which order; when they hit differs from run to run.  Filling the disk needs the right to
mount a tmpfs.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.kafka.broker import KafkaBroker
from tests.soak import outside_faults, process_faults
from tests.soak.field import Field, a_field
from tests.soak.ledger import Ledger

Fault = Callable[[Field], bool]

RECORDS_PER_FAULT = 5_000
_MIXED = (1, 1, 2, 3)
_SPARE = 0.8
"""Of the pace at which the input would end with the last fault: faults shall not meet a job without work."""
_FIRST_GUESS_SECONDS = 3.0
_TRIES_PER_FAULT = 3


class Phase(NamedTuple):
    """So many hits of faults on one job."""

    name: str
    faults: Sequence[Fault]
    hits: int
    records: int
    parallelism: Sequence[int] = _MIXED
    is_on_small_disk: bool = False
    is_behind_proxy: bool = False
    seconds: float = float("inf")
    """It also ends when so much time is over."""


PROCESS: Sequence[Fault] = (
    process_faults.kill,
    process_faults.kill_at_a_point,
    process_faults.kill_in_restore,
    process_faults.clean_stop,
    process_faults.stand_still,
    process_faults.zombie,
)
NETWORK: Sequence[Fault] = (
    outside_faults.lose_answers,
    outside_faults.cut_or_silence,
    outside_faults.deliver_late,
)
ALL: Sequence[Fault] = (*PROCESS, *NETWORK, outside_faults.kill_broker, outside_faults.fill_disk)


def phases(given: argparse.Namespace) -> list[Phase]:
    """What is asked for, as phases."""

    def phase(name: str, fault: Fault | Sequence[Fault], hits: int, **more: bool) -> Phase:
        faults = [fault] if callable(fault) else fault
        return Phase(name, faults, hits, hits * RECORDS_PER_FAULT, **more)  # type: ignore[arg-type]

    half = given.kills // 2
    asked = [
        Phase("kills, parallelism 1", [process_faults.kill], half, given.records // 2, (1,)),
        Phase("kills, parallelism 3", [process_faults.kill], given.kills - half, given.records // 2, (3,)),
        phase("kills at instants", process_faults.kill_at_a_point, given.instants),
        phase("broker kills", outside_faults.kill_broker, given.broker_kills),
        phase("zombies", process_faults.zombie, given.zombies),
        phase("kills during restore", process_faults.kill_in_restore, given.restore_kills),
        phase("disk full", outside_faults.fill_disk, given.disk_full, is_on_small_disk=True),
        phase("network", NETWORK, given.network, is_behind_proxy=True),
    ]
    return [one for one in asked if one.hits]


class Soak:
    """Runs phases on one broker, and keeps the ledger."""

    def __init__(self, broker: KafkaBroker, folder: Path, seed: int, *, console: bool) -> None:
        self.ledger = Ledger()
        self._broker, self._folder, self._seed, self._console = broker, folder, seed, console

    def run(self, phase: Phase) -> None:
        """Hits until every hit has come; fails when a fault misses its moment too often, or the output is wrong."""
        began = time.monotonic()
        randomness = random.Random(f"{self._seed} {phase.name}")
        with a_field(
            self._broker, self._folder, phase.records, phase.parallelism, self.ledger, randomness,
            is_on_small_disk=phase.is_on_small_disk, is_behind_proxy=phase.is_behind_proxy,
        ) as field:  # fmt: skip
            hits = tries = 0
            while hits < phase.hits and time.monotonic() - began < phase.seconds:
                self._pace(field, phase, hits, tries, time.monotonic() - began)
                assert tries < _TRIES_PER_FAULT * phase.hits, f"{phase.name}: {hits} hits in {tries} tries"
                fault = randomness.choice(phase.faults)
                has_hit = fault(field)
                self.ledger.count(f"{phase.name}: {fault.__name__.replace('_', ' ')}", has_hit)
                hits, tries = hits + has_hit, tries + 1
            under_fire = field.feeder.fed
            field.finish(phase.name, console=self._console)
        seconds = time.monotonic() - began
        print(
            f"{phase.name}: exact; {hits} hits in {tries} tries, {phase.records:,} records ({under_fire:,} before the "
            f"last hit), {len(field.home.runs)} processes, {seconds:.0f} s",
            flush=True,
        )

    def _pace(self, field: Field, phase: Phase, hits: int, tries: int, seconds: float) -> None:
        """Spreads the input over the faults to come."""
        to_come = max(1, phase.hits - hits)
        each = seconds / tries if tries else _FIRST_GUESS_SECONDS
        left = min(to_come * each, phase.seconds - seconds)
        field.feeder.pace(_SPARE * field.feeder.left / max(left, 1.0))


def main() -> int:
    """Runs the phases, then mixed rounds until the time is over; 1 at the first wrong one, with its seed."""
    given = _arguments()
    began = time.monotonic()
    broker = KafkaBroker(is_proxied=True)
    with tempfile.TemporaryDirectory(prefix="streamlet-soak-") as folder:
        soak = Soak(broker, Path(folder), given.seed, console=given.console)
        try:
            broker.start()
            for phase in phases(given):
                soak.run(phase)
            rounds = 0
            while time.monotonic() - began < given.minutes * 60:
                rounds += 1
                left = given.minutes * 60 - (time.monotonic() - began)
                soak.run(Phase(f"mixed round {rounds}", ALL, 30, 300_000, _MIXED, True, True, max(left, 20.0)))
        except BaseException:
            print(f"FAILED with --seed {given.seed}\n{soak.ledger.table()}", flush=True)
            raise
        finally:
            broker.close()
    print(f"{soak.ledger.table()}\nseed {given.seed}, {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return 0 if soak.ledger.is_exact and soak.ledger.checks else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=0.0, help="mixed rounds until so long after the start")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--records", type=int, default=200_000, help="of the two phases of kills together")
    parser.add_argument("--console", action="store_true", help="Kafka's console consumer checks too")
    for what in ("kills", "instants", "broker-kills", "zombies", "restore-kills", "disk-full", "network"):
        parser.add_argument(f"--{what}", type=int, default=0, metavar="HITS")
    given = parser.parse_args()
    if given.seed is None:
        given.seed = random.SystemRandom().randrange(1 << 30)
    return given


if __name__ == "__main__":
    sys.exit(main())
