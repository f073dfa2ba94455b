"""Settling against a model of the outside: whatever it says, and wherever settling is cut off, the output of the
restored run is whole; where it cannot be, nothing was touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from streamlet.checkpoint.manifest import ListedCommittable
from streamlet.checkpoint.recovery import RecoveryPlan
from streamlet.checkpoint.restore_point import restore_point
from streamlet.checkpoint.settling import Settlement, settle
from streamlet.errors import OutputLostError
from streamlet.sink import Committable, Outcome

OPEN, COMMITTED, ABORTED, UNKNOWN = Outcome.OPEN, Outcome.COMMITTED, Outcome.ABORTED, Outcome.UNKNOWN
MARKED = 4
NEWEST = 8


class Cut(BaseException):
    """The process died."""


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Outside:
    can_lose = True

    def __init__(self, units: Mapping[str, Outcome], cuts: Sequence[int], lost_at: Mapping[int, str]) -> None:
        self.units = dict(units)
        self.changed: list[str] = []
        self._cuts = set(cuts)
        self._lost_at = lost_at
        self._calls = 0

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        self._step()
        return [self.units[one.id] for one in committables]

    async def commit(self, committable: Committable) -> None:
        self._step()
        if self.units[committable.id] in (ABORTED, UNKNOWN):
            raise OutputLostError(committable.id)
        self._set(committable.id, COMMITTED)
        self._step()

    async def abort(self, committable: Committable) -> None:
        self._step()
        if self.units[committable.id] in (COMMITTED, UNKNOWN):
            raise OutputLostError(committable.id)
        self._set(committable.id, ABORTED)
        self._step()

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None: ...

    async def close(self) -> None: ...

    def _set(self, name: str, outcome: Outcome) -> None:
        if self.units[name] is not outcome:
            self.changed.append(name)
            self.units[name] = outcome

    def _step(self) -> None:
        """Between any two things that settling does, the outside may lose a unit and the process may die."""
        self._calls += 1
        lost = self._lost_at.get(self._calls)
        if lost is not None and self.units.get(lost) is OPEN:
            self.units[lost] = ABORTED
        if self._calls in self._cuts:
            raise Cut


def units_of(names: Mapping[str, Outcome]) -> tuple[ListedCommittable, ...]:
    return tuple(
        ListedCommittable("out", 0, int(name[0]), Committable(name, {}, 1, name, deadline_ms=len(name)))
        for name in names
    )


def settled(outside: Outside) -> Settlement | None:
    """Settles, begins again after each cut, and gives None when it stopped for good."""
    plan = RecoveryPlan(
        restore=None,
        candidates=tuple(range(NEWEST, MARKED - 1, -1)),
        unsettled=units_of(outside.units),
        marked=frozenset({MARKED}),
        newest=NEWEST,
    )
    time = Time()

    async def verify(_: int) -> None: ...

    while True:
        try:
            return asyncio.run(
                settle(
                    plan,
                    {"out": outside},
                    verify=verify,
                    warn=lambda _: None,
                    sleep=time.sleep,
                    clock=time,
                )
            )
        except Cut:
            continue
        except OutputLostError:
            return None


def whole(units: Mapping[str, Outcome], point: int) -> bool:
    return all(outcome is (COMMITTED if int(name[0]) <= point else ABORTED) for name, outcome in units.items())


def possible(units: Mapping[str, Outcome], point: int) -> bool:
    """Written down a second time, without looking at the code: could the outside be brought to a whole output?"""
    below = {outcome for name, outcome in units.items() if int(name[0]) <= point}
    above = {outcome for name, outcome in units.items() if int(name[0]) > point}
    return below <= {OPEN, COMMITTED} and above <= {OPEN, ABORTED}


names = st.builds(lambda number, tail: f"{number}{tail}", st.integers(MARKED + 1, NEWEST), st.sampled_from("abc"))
said = st.dictionaries(names, st.sampled_from([OPEN, OPEN, COMMITTED, ABORTED]), max_size=8)
said_or_not = st.dictionaries(names, st.sampled_from([OPEN, COMMITTED, ABORTED, UNKNOWN]), max_size=6)
cut_at = st.lists(st.integers(1, 40), max_size=4)


@given(said, cut_at)
def test_settling_reaches_the_newest_whole_output_or_touches_nothing(
    units: dict[str, Outcome], cuts: list[int]
) -> None:
    points = [point for point in range(MARKED, NEWEST + 1) if possible(units, point)]
    outside = Outside(units, cuts, {})
    found = settled(outside)
    if not points:
        assert found is None and outside.changed == []
        return
    assert found is not None and found.restore_id == max(points)
    assert whole(outside.units, max(points))
    assert found.needs_start == (max(points) != NEWEST)
    assert found.needs_marker == (max(points) != MARKED)


@given(said, cut_at, st.dictionaries(st.integers(1, 30), names, max_size=3))
def test_an_outside_that_loses_units_meanwhile_never_leads_to_half_an_output(
    units: dict[str, Outcome], cuts: list[int], lost_at: dict[int, str]
) -> None:
    outside = Outside(units, cuts, lost_at)
    found = settled(outside)
    if found is None:
        assert not any(possible(outside.units, point) for point in range(MARKED, NEWEST + 1))
    else:
        assert found.restore_id is not None and whole(outside.units, found.restore_id)


@given(said_or_not)
def test_an_unknown_outcome_is_never_guessed(units: dict[str, Outcome]) -> None:
    outside = Outside(units, [], {})
    found = settled(outside)
    if UNKNOWN in units.values():
        assert found is None and outside.changed == []


@given(said_or_not, st.booleans(), st.booleans())
def test_the_restore_point_is_the_newest_that_the_answers_allow_and_that_loses_least(
    units: dict[str, Outcome], is_forced: bool, accept_lost: bool
) -> None:
    answers = [(one, units[one.committable.id]) for one in units_of(units)]
    found = restore_point(answers, range(NEWEST, MARKED - 1, -1), is_forced=is_forced, accept_lost=accept_lost)
    allowed = [
        point
        for point in range(MARKED, NEWEST + 1)
        if all(
            outcome is OPEN
            or (accept_lost or outcome is COMMITTED if int(name[0]) <= point else is_forced or outcome is ABORTED)
            for name, outcome in units.items()
        )
    ]

    def lost(point: int) -> int:
        return sum(int(name[0]) <= point and outcome in (ABORTED, UNKNOWN) for name, outcome in units.items())

    # The newest, and where loss is accepted the newest of those that lose least.
    assert found == min(sorted(allowed, reverse=True), key=lost, default=None)
