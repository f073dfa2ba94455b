"""The choice of a restore point over arbitrary histories, against rules written down a second time."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streamlet.checkpoint.manifest import ListedCommittable, Manifest
from streamlet.checkpoint.recovery import JobFacts, RecoveryPlan, choose, plan_start
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.errors import CheckpointDamagedError, CheckpointError, ConfigError
from streamlet.sink import Committable

JOB = JobFacts(key_groups=8, sinks=frozenset({"out"}))


@st.composite
def histories(draw: st.DrawFn) -> list[CheckpointInfo]:
    """Checkpoints with gaps, any parent before them, any markers, any of them unreadable; each lists units of its own
    and of earlier ones."""
    infos: list[CheckpointInfo] = []
    for number in draw(st.lists(st.integers(0, 12), unique=True, max_size=7).map(sorted)):
        parent = draw(st.none() | st.integers(0, number - 1)) if number else None
        numbers = draw(st.frozensets(st.integers(max(0, number - 2), number)))
        units = [ListedCommittable("out", 0, one, Committable(f"u{one}", {}, 1, "unit")) for one in sorted(numbers)]
        is_readable = draw(st.integers(0, 9)) > 0
        manifest = Manifest(
            job="j",
            checkpoint_id=number,
            attempt=1,
            kind="periodic",
            parent=parent,
            key_groups=8,
            committables=units,
        )
        infos.append(
            CheckpointInfo(
                id=number,
                path=Path(f"/{number}"),
                manifest=manifest if is_readable else None,
                problem=None if is_readable else "damaged",
                is_marked=draw(st.booleans()),
            )
        )
    return infos


def way_back(infos: list[CheckpointInfo]) -> list[int]:
    """From the newest by parents to the first marked one, as far as manifests can be read."""
    by_id = {info.id: info for info in infos}
    number: int | None = max(by_id)
    found = []
    while number in by_id:
        info = by_id[number]
        if info.manifest is None:
            break
        found.append(info.id)
        if info.is_marked:
            break
        number = info.manifest.parent
    return found


def owed(infos: list[CheckpointInfo]) -> set[int]:
    """Units whose fate is open: listed on the way back by an unmarked one, and younger than the marker below it."""
    by_id = {info.id: info for info in infos}
    listed: set[int] = set()
    number: int | None = max(by_id)
    while number in by_id:
        info = by_id[number]
        if info.is_marked:
            return {one for one in listed if one > number}
        if info.manifest is None:
            break
        listed |= {one.checkpoint_id for one in info.manifest.committables}
        number = info.manifest.parent
    return listed


def numbers(plan: RecoveryPlan) -> list[int]:
    return [one.checkpoint_id for one in plan.unsettled]


@given(histories(), st.booleans(), st.frozensets(st.integers(0, 12)))
def test_the_newest_is_restored_or_its_way_back_or_nothing_at_all(
    infos: list[CheckpointInfo], has_history: bool, damaged: frozenset[int]
) -> None:
    verified: list[int] = []

    def verify(info: CheckpointInfo) -> None:
        verified.append(info.id)
        if info.id in damaged:
            raise CheckpointDamagedError(f"a file of {info.id} is gone")

    has_history = has_history or bool(infos)
    back = way_back(infos) if infos else []
    usable = [number for number in back if number not in damaged]
    # Only those that were looked at are known to be damaged, so older damaged ones may still be candidates.
    try:
        plan = plan_start(infos, "latest", JOB, has_history=has_history, verify=verify)
    except CheckpointDamagedError:
        assert infos and not usable
        return
    except CheckpointError:
        assert not infos and has_history
        return
    if not infos:
        assert plan.restore is None and plan.needs_start and not has_history
        return
    assert plan.restore is not None and plan.restore.id == usable[0]
    assert verified == back[: back.index(usable[0]) + 1]
    assert list(plan.candidates) == back[back.index(usable[0]) :]
    assert set(numbers(plan)) == owed(infos) and len(numbers(plan)) == len(owed(infos))
    assert numbers(plan) == sorted(numbers(plan))
    assert plan.needs_start == (usable[0] != back[0])
    assert (plan.damage is not None) == (usable[0] != back[0])


@given(histories(), st.integers(0, 12))
def test_a_chosen_checkpoint_is_the_one_that_is_restored_and_nothing_newer_is_forgotten(
    infos: list[CheckpointInfo], wanted: int
) -> None:
    by_id = {info.id: info for info in infos}
    try:
        plan = choose(infos, wanted, JOB, has_history=True)
    except ConfigError:
        assert wanted not in by_id
        return
    except CheckpointError:
        assert by_id[wanted].manifest is None
        return
    assert plan.restore is by_id[wanted] and plan.candidates[0] == wanted
    assert plan.needs_start == plan.is_forced == (wanted != max(by_id))
    if by_id[max(by_id)].manifest is not None:
        assert owed(infos) <= set(numbers(plan))


@given(histories())
def test_starting_empty_is_always_possible_when_asked_for(infos: list[CheckpointInfo]) -> None:
    plan = choose(infos, "none", JOB, has_history=True)
    assert plan.restore is None and plan.is_forced and plan.needs_start
    if infos and infos[-1].manifest is not None:
        assert set(numbers(plan)) == owed(infos)
