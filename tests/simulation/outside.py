"""The world outside the job: it survives every crash, answers late or not at all, and forgets nobody's output.

Two kinds of sink keep the contract in different ways:

- `pooled`, as Kafka does: a unit is written under one of a few ids of its subtask, each use with its own epoch.  Taking
  an id again ends what it had open, shuts out who wrote under its last epoch, and makes the fate of older epochs
  unknowable.  A unit may have a deadline, after which the outside aborts it by itself.
- `named`, as files do: each unit has a name that never comes again, and waits for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streamlet.connect import Outcome
from streamlet.errors import OutputLostError, SinkError


@dataclass
class Unit:
    """One transaction, or one file."""

    sink: str
    id: str
    epoch: int
    deadline: float
    state: Outcome = Outcome.OPEN
    values: list[Any] = field(default_factory=list)
    is_late: bool = False
    """Taken by a zombie, whose attempt was fenced before: it ends by itself, or by the outside's time-out."""


class Outside:
    """All sinks' systems. Its methods are what happens when a request arrives."""

    def __init__(self) -> None:
        self.units: dict[tuple[str, int], Unit] = {}
        self.epochs: dict[str, int] = {}
        self.log: dict[str, list[Any]] = {}
        """Sink -> everything that a reader sees, in the order in which it became visible."""
        self.now: Callable[[], float] = lambda: 0.0
        self.chance: Callable[[], float] = lambda: 0.5
        self.deadline_seconds: dict[str, float | None] = {}
        self.kinds: dict[str, str] = {}
        self.shut_out: dict[str, int] = {}
        self.names = 0
        self.timed_out = 0

    # --- writing ------------------------------------------------------------------------------------------------

    def take(self, sink: str, id: str) -> int:
        """A writer takes an id: gives the epoch. What it had open is aborted."""
        if self.kinds[sink] == "named":
            self.names += 1
            epoch = self.names
        else:
            self._expire()
            epoch = self.epochs[id] = self.epochs.get(id, 0) + 1
            self._abort_below(id, epoch)
        seconds = self.deadline_seconds[sink]
        # When exactly the outside looks at its deadlines is its own affair.
        deadline = math.inf if seconds is None else self.now() + seconds * (0.6 + 0.8 * self.chance())
        is_late = f"{id.rpartition('.')[0]}." in self.shut_out
        self.units[id, epoch] = Unit(sink, id, epoch, deadline, is_late=is_late)
        return epoch

    def write(self, id: str, epoch: int, first: int, values: list[Any]) -> None:
        """Adds to a unit that is open and whose writer was not shut out; `first` values must be there already."""
        self._expire()
        unit = self.units.get((id, epoch))
        if unit is None or unit.state is not Outcome.OPEN or self._is_shut_out(unit):
            raise SinkError(f"{id} of epoch {epoch} may not write any more")
        if first != len(unit.values):
            raise SinkError(f"{id} of epoch {epoch} is out of sequence")
        unit.values.extend(values)

    # --- deciding -----------------------------------------------------------------------------------------------

    def outcome(self, id: str, epoch: int) -> Outcome:
        """What became of a unit."""
        self._expire()
        unit = self.units.get((id, epoch))
        if unit is None or (self.kinds[unit.sink] == "pooled" and self.epochs[id] != epoch):
            return Outcome.UNKNOWN
        return unit.state

    def commit(self, id: str, epoch: int) -> None:
        """Makes a unit visible."""
        outcome = self.outcome(id, epoch)
        if outcome is Outcome.COMMITTED:
            return
        if outcome is not Outcome.OPEN:
            raise OutputLostError(f"{id} of epoch {epoch} is {outcome.value}")
        unit = self.units[id, epoch]
        unit.state = Outcome.COMMITTED
        self.log.setdefault(unit.sink, []).extend(unit.values)

    def abort(self, id: str, epoch: int) -> None:
        """Makes sure that a unit never becomes visible."""
        outcome = self.outcome(id, epoch)
        if outcome is Outcome.COMMITTED:
            raise OutputLostError(f"{id} of epoch {epoch} is committed and cannot be aborted")
        if outcome is Outcome.OPEN:
            self.units[id, epoch].state = Outcome.ABORTED

    def fence(self, sink: str, prefix: str, parallelism: int, spare: set[tuple[str, int]]) -> None:
        """Ends what earlier writers left, but for `spare`, and shuts those writers out."""
        self._expire()
        spared = {id for id, _ in spare}
        for subtask in range(parallelism):
            head = f"{prefix}.{subtask}."
            self.shut_out[head] = self.names
            for id in sorted({unit.id for unit in self.units.values() if unit.id.startswith(head)}):
                if self.kinds[sink] == "pooled":
                    if id not in spared:
                        self.epochs[id] += 1
                        self._abort_below(id, self.epochs[id])
                    continue
                for unit in self.units.values():
                    if unit.id == id and unit.state is Outcome.OPEN and (id, unit.epoch) not in spare:
                        unit.state = Outcome.ABORTED

    # --- looking ------------------------------------------------------------------------------------------------

    def open_units(self) -> list[Unit]:
        """Units with records whose fate nobody has decided, but for those of zombies.  One that was only taken holds
        nobody up."""
        self._expire()
        return [unit for unit in self.units.values() if unit.state is Outcome.OPEN and unit.values and not unit.is_late]

    def _is_shut_out(self, unit: Unit) -> bool:
        if self.kinds[unit.sink] == "pooled":
            return self.epochs[unit.id] != unit.epoch
        head = unit.id.rpartition(".")[0] + "."
        return unit.epoch <= self.shut_out.get(head, 0)

    def _abort_below(self, id: str, epoch: int) -> None:
        for unit in self.units.values():
            if unit.id == id and unit.epoch < epoch and unit.state is Outcome.OPEN:
                unit.state = Outcome.ABORTED

    def _expire(self) -> None:
        for unit in self.units.values():
            if unit.state is Outcome.OPEN and self.now() > unit.deadline:
                unit.state = Outcome.ABORTED
                self.timed_out += 1
