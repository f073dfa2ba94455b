"""Settling: learn everything, then act; stop rather than guess."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlet.checkpoint.manifest import ListedCommittable, Manifest
from streamlet.checkpoint.recovery import NOTHING, RecoveryPlan
from streamlet.checkpoint.retention import CheckpointInfo
from streamlet.checkpoint.settling import Settlement, commit_ordered, settle
from streamlet.errors import CheckpointDamagedError, ConfigError, OutputLostError, SinkError
from streamlet.sink import Committable, Outcome

OPEN, COMMITTED, ABORTED, UNKNOWN = Outcome.OPEN, Outcome.COMMITTED, Outcome.ABORTED, Outcome.UNKNOWN
LOST = Outcome.LOST


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Outside:
    """A sink's system and its committer: says what became of each unit, and notes what is done to it."""

    def __init__(self, units: dict[str, Outcome], *, can_lose: bool = True, log: list[str] | None = None) -> None:
        self.units = units
        self.can_lose = can_lose
        self.log: list[str] = [] if log is None else log
        self.errors: list[Exception] = []
        """Raised by the next calls, one each."""
        self.lose_at_commit: set[str] = set()
        self.gone: set[str] = set()
        """Open, as it says, but what they were written to is gone."""
        self.committed_meanwhile: set[str] = set()
        """By another process, between the question and the abort."""
        self.appears: dict[str, Outcome] = {}
        """What an unknown unit turns out to be when it is asked for again."""

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        self._fail()
        found = [self.units[one.id] for one in committables]
        self.units |= self.appears
        return found

    async def commit(self, committable: Committable) -> None:
        self._fail()
        if committable.id in self.lose_at_commit:
            self.units[committable.id] = ABORTED
        if committable.id in self.gone:
            raise OutputLostError(f"topic {committable.id} was deleted")
        if self.units[committable.id] is not OPEN and self.units[committable.id] is not COMMITTED:
            raise OutputLostError(f"{committable.id} is gone")
        self.units[committable.id] = COMMITTED
        self.log.append(f"commit {committable.id}")

    async def abort(self, committable: Committable) -> None:
        self._fail()
        if committable.id in self.committed_meanwhile:
            self.units[committable.id] = COMMITTED
            raise OutputLostError(f"{committable.id} is committed")
        self.units[committable.id] = ABORTED
        self.log.append(f"abort {committable.id}")

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None: ...

    async def close(self) -> None: ...

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


def unit(name: str, *, sink: str = "out", deadline: int | None = None) -> ListedCommittable:
    """`7a` is a unit of checkpoint 7."""
    return ListedCommittable(sink, 0, int(name[:-1]), Committable(name, {}, 10, f"topic {name}", deadline))


def info(number: int) -> CheckpointInfo:
    manifest = Manifest(job="j", checkpoint_id=number, attempt=1, kind="periodic", key_groups=8)
    return CheckpointInfo(id=number, path=Path("/x"), manifest=manifest, problem=None, is_marked=False)


def a_plan(units: Iterable[str], candidates: tuple[int, ...], **more: Any) -> RecoveryPlan:
    fields: dict[str, Any] = {"marked": frozenset({candidates[-1]}), "newest": candidates[0]}
    return RecoveryPlan(
        restore=info(max(candidates[0], 0)),
        candidates=candidates,
        unsettled=tuple(unit(name) for name in units),
        **fields | more,
    )


class Run:
    """Settles once and keeps what was said."""

    def __init__(self, outside: Outside, damaged: Iterable[int] = ()) -> None:
        self.outside = outside
        self.time = Time()
        self.warnings: list[str] = []
        self.verified: list[int] = []
        self.damaged = set(damaged)

    def settle(self, plan: RecoveryPlan, **more: Any) -> Settlement:
        async def verify(number: int) -> None:
            self.verified.append(number)
            if number in self.damaged:
                raise CheckpointDamagedError(f"files of {number} are gone")

        return asyncio.run(
            settle(
                plan,
                {"out": self.outside},
                verify=verify,
                warn=self.warnings.append,
                sleep=self.time.sleep,
                clock=self.time,
                **more,
            )
        )


def test_when_nothing_was_aborted_everything_open_is_committed() -> None:
    run = Run(Outside({"5a": COMMITTED, "6a": OPEN, "7a": OPEN}))
    found = run.settle(a_plan(["5a", "6a", "7a"], (7, 6, 4)))
    assert run.outside.log == ["commit 6a", "commit 7a"]
    assert (found.restore_id, found.needs_marker, found.needs_start) == (7, True, False)
    assert [one.committable.id for one in found.committed] == ["5a", "6a", "7a"]
    assert run.warnings == [] and run.verified == []


def test_when_the_newest_was_aborted_the_restore_point_lies_before_it() -> None:
    run = Run(Outside({"5a": OPEN, "6a": OPEN, "6b": ABORTED, "7a": OPEN}))
    found = run.settle(a_plan(["5a", "6a", "6b", "7a"], (7, 6, 5, 4)))
    assert run.outside.log == ["abort 6a", "abort 7a", "commit 5a"]
    assert (found.restore_id, found.needs_marker, found.needs_start) == (5, True, True)
    assert run.verified == [5]
    assert len(run.warnings) == 1 and "from checkpoint 7 to 5" in run.warnings[0]


def test_when_everything_was_aborted_the_marked_checkpoint_is_restored() -> None:
    run = Run(Outside({"5a": ABORTED, "6a": OPEN}))
    found = run.settle(a_plan(["5a", "6a"], (6, 5, 4)))
    assert run.outside.log == ["abort 6a"]
    assert (found.restore_id, found.needs_marker, found.needs_start) == (4, False, True)


def test_without_a_restore_point_nothing_is_touched_and_the_message_has_it_all() -> None:
    run = Run(Outside({"5a": ABORTED, "5b": COMMITTED, "6a": OPEN}))
    with pytest.raises(OutputLostError) as caught:
        run.settle(a_plan(["5a", "5b", "6a"], (6, 5, 4)))
    assert run.outside.log == []
    text = str(caught.value)
    for words in (
        "checkpoint 6 cannot be restored",
        "of 3 prepared units, 1 open, 1 committed, 1 aborted",
        "checkpoint 5, sink out[0], topic 5a, 10 records: aborted",
        "`--accept-lost-output` goes on from checkpoint 6 and loses 10 records in 1 units of out",
        "`--from 4` loses nothing and writes again 10 records in 1 units of out",
    ):
        assert words in text
    assert "--from 5" not in text and "--from 6" not in text


def test_the_message_names_which_older_checkpoints_work_and_what_each_writes_again() -> None:
    units = {"5a": COMMITTED, "6a": ABORTED, "6b": COMMITTED, "7a": COMMITTED}
    with pytest.raises(OutputLostError) as caught:
        Run(Outside(units)).settle(a_plan(units, (7, 6, 5, 4), older=(3, 2, 1)))
    ways = str(caught.value).partition("->")[2].splitlines()
    assert [way.strip() for way in ways] == [
        "`--accept-lost-output` goes on from checkpoint 7 and loses 10 records in 1 units of out",
        "`--from 5` loses nothing and writes again 20 records in 2 units of out",
        "`--from 4` loses nothing and writes again 30 records in 3 units of out",
        "`--from 3` loses nothing and writes again 30 records in 3 units of out and all that was committed from there "
        "to checkpoint 4",
    ]


def test_where_no_older_checkpoint_helps_the_message_says_so() -> None:
    units = {"5a": ABORTED, "6a": COMMITTED}
    with pytest.raises(OutputLostError, match="none that is kept lies before what is missing"):
        Run(Outside(units)).settle(a_plan(units, (6, 5), marked=frozenset()))


def test_accepted_loss_is_the_least_there_is() -> None:
    """The newest would lose what can be written anew from the one before it."""
    run = Run(Outside({"5a": ABORTED, "5b": COMMITTED, "6a": ABORTED, "6b": OPEN, "7a": ABORTED}))
    units = ["5a", "5b", "6a", "6b", "7a"]
    found = run.settle(a_plan(units, (7, 6, 5, 4)), accept_lost_output=True)
    assert (found.restore_id, found.needs_marker, found.needs_start) == (5, True, True)
    assert [one.committable.id for one in found.lost] == ["5a"] and found.doubled == ()
    assert run.outside.log == ["abort 6b"]
    assert run.warnings == ["output is lost, as accepted: 10 records in 1 units of out, by going back to checkpoint 5"]


def test_less_loss_is_no_reason_to_write_anything_twice() -> None:
    run = Run(Outside({"5a": ABORTED, "5b": COMMITTED, "6a": ABORTED, "6b": COMMITTED}))
    found = run.settle(a_plan(["5a", "5b", "6a", "6b"], (6, 5, 4)), accept_lost_output=True)
    assert found.restore_id == 6 and found.doubled == ()
    assert [one.committable.id for one in found.lost] == ["5a", "6a"]


def test_an_unknown_outcome_is_asked_for_again_and_then_stops_the_start() -> None:
    run = Run(Outside({"5a": UNKNOWN, "6a": OPEN}))
    with pytest.raises(OutputLostError, match="1 unknown"):
        run.settle(a_plan(["5a", "6a"], (6, 4)))
    assert run.outside.log == [] and 20 < run.time.now <= 30
    run = Run(Outside({"5a": UNKNOWN, "6a": OPEN}))
    run.outside.appears = {"5a": COMMITTED}
    assert run.settle(a_plan(["5a", "6a"], (6, 4))).restore_id == 6


def test_accepted_loss_restores_the_newest_and_commits_the_rest() -> None:
    run = Run(Outside({"5a": ABORTED, "5b": COMMITTED, "6a": OPEN, "6b": UNKNOWN}))
    found = run.settle(a_plan(["5a", "5b", "6a", "6b"], (6, 5, 4)), accept_lost_output=True)
    assert run.outside.log == ["commit 6a"]
    assert (found.restore_id, found.needs_start) == (6, True)
    assert [one.committable.id for one in found.lost] == ["5a", "6b"]
    assert "20 records in 2 units of out" in run.warnings[0]


def test_accepting_loss_loses_nothing_where_nothing_has_to_be_lost() -> None:
    run = Run(Outside({"5a": COMMITTED, "6a": ABORTED}))
    found = run.settle(a_plan(["5a", "6a"], (6, 5, 4)), accept_lost_output=True)
    assert found.restore_id == 5 and found.lost == ()


def test_a_unit_that_is_lost_at_its_commit_moves_the_restore_point() -> None:
    run = Run(Outside({"5a": OPEN, "6a": OPEN, "7a": OPEN}))
    run.outside.lose_at_commit = {"6a"}
    found = run.settle(a_plan(["5a", "6a", "7a"], (7, 6, 5, 4)))
    assert run.outside.log == ["commit 5a", "abort 7a"]
    assert found.restore_id == 5


@pytest.mark.parametrize("is_told", [False, True])
def test_open_output_whose_place_is_gone_stops_the_start_or_is_given_up_as_accepted(*, is_told: bool) -> None:
    units = {"6a": OPEN, "7a": LOST if is_told else OPEN, "7b": OPEN}
    run = Run(Outside(units))
    run.outside.gone = {"7a"}
    with pytest.raises(OutputLostError) as caught:
        run.settle(a_plan(units, (7, 6, 4)))
    text = str(caught.value)
    assert "topic 7a, 10 records: lost" in text
    assert is_told or "topic 7a was deleted" in text
    assert "--accept-lost-output" in text and "--from 6" in text and "10 records in 1 units of out" in text
    assert "abort" not in " ".join(run.outside.log)
    if is_told:
        assert run.outside.log == []  # what is known beforehand costs no commit beside it
    found = run.settle(a_plan(units, (7, 6, 4)), accept_lost_output=True)
    assert (found.restore_id, found.needs_marker, found.needs_start) == (7, True, True)
    assert [one.committable.id for one in found.lost] == ["7a"]
    assert run.outside.units["6a"] is COMMITTED and run.outside.units["7b"] is COMMITTED
    assert run.warnings == ["output is lost, as accepted: 10 records in 1 units of out"]


def test_an_older_checkpoint_may_be_chosen_over_output_whose_place_is_gone() -> None:
    run = Run(Outside({"6a": COMMITTED, "7a": LOST}))
    found = run.settle(a_plan(["6a", "7a"], (4,), newest=7, is_forced=True, needs_start=True))
    assert [one.committable.id for one in found.doubled] == ["6a"] and run.outside.log == []


def test_what_turns_out_to_be_committed_when_it_is_to_be_aborted_is_judged_anew() -> None:
    run = Run(Outside({"6a": ABORTED, "7a": OPEN}))
    run.outside.committed_meanwhile = {"7a"}
    with pytest.raises(OutputLostError, match="1 committed, 1 aborted"):
        run.settle(a_plan(["6a", "7a"], (7, 6, 4)))
    run = Run(Outside({"6a": OPEN, "7a": OPEN}), damaged=[7])
    run.outside.committed_meanwhile = {"7a"}
    with pytest.raises(CheckpointDamagedError, match="7 is damaged"):
        run.settle(a_plan(["6a", "7a"], (6, 5), newest=7, damage="7 is damaged", needs_start=True))
    assert run.outside.units["6a"] is OPEN, "nothing below may be decided once there is no way"


def test_what_a_dead_attempt_may_still_be_committing_is_aborted_first_and_when_that_fails_nothing_is() -> None:
    outside = Outside({"7a": OPEN, "7b": OPEN})
    outside.committed_meanwhile = {"7b"}
    plan = a_plan([], (6, 5), newest=7, damage="7 is damaged", needs_start=True)
    plan = msgspec.structs.replace(plan, unsettled=(unit("7a", deadline=9), unit("7b", deadline=5)))
    with pytest.raises(CheckpointDamagedError, match="7 is damaged"):
        Run(outside).settle(plan)
    assert outside.log == [] and outside.units["7a"] is OPEN, "checkpoint 7 can be restored once its file is back"


def test_a_candidate_that_is_damaged_is_passed_over_before_anything_is_done() -> None:
    run = Run(Outside({"5a": OPEN, "6a": OPEN, "7a": ABORTED}), damaged=[6])
    found = run.settle(a_plan(["5a", "6a", "7a"], (7, 6, 5, 4)))
    assert run.verified == [6, 5] and run.outside.log == ["abort 6a", "commit 5a"]
    assert found.restore_id == 5
    run = Run(Outside({"5a": OPEN, "6a": COMMITTED, "7a": ABORTED}), damaged=[6])
    with pytest.raises(CheckpointDamagedError, match="files of 6 are gone"):
        run.settle(a_plan(["5a", "6a", "7a"], (7, 6, 5, 4)))
    assert run.outside.log == []


def test_a_damaged_newest_checkpoint_whose_output_is_committed_stops_naming_the_file() -> None:
    run = Run(Outside({"6a": OPEN, "7a": COMMITTED}))
    with pytest.raises(CheckpointDamagedError, match="files/x is gone"):
        run.settle(a_plan(["6a", "7a"], (6, 5), newest=7, damage="files/x is gone", needs_start=True))
    run = Run(Outside({"6a": OPEN, "7a": OPEN}))
    found = run.settle(a_plan(["6a", "7a"], (6, 5), newest=7, damage="files/x is gone", needs_start=True))
    assert run.outside.log == ["abort 7a", "commit 6a"]
    assert (found.restore_id, found.needs_marker, found.needs_start) == (6, True, True)
    assert "files/x is gone" in run.warnings[0]


def test_a_chosen_older_checkpoint_leaves_what_it_gives_up_to_the_last_fence_and_says_what_comes_twice() -> None:
    run = Run(Outside({"5a": OPEN, "6a": COMMITTED, "7a": OPEN}))
    found = run.settle(a_plan(["5a", "6a", "7a"], (4,), newest=7, is_forced=True, needs_start=True))
    assert run.outside.log == []
    assert [one.committable.id for one in found.doubled] == ["6a"]
    assert found.restore_id == 4 and found.needs_start
    assert "second time" in run.warnings[0]


def test_an_empty_start_gives_up_everything() -> None:
    run = Run(Outside({"5a": OPEN}))
    found = run.settle(a_plan(["5a"], (NOTHING,), newest=5, is_forced=True, needs_start=True))
    assert run.outside.log == []
    assert (found.restore_id, found.needs_marker, found.needs_start) == (None, False, True)


def test_errors_that_may_pass_are_asked_again_and_in_the_end_are_retriable() -> None:
    run = Run(Outside({"5a": OPEN}))
    run.outside.errors = [ConnectionError("away"), TimeoutError(), ConnectionError("away")]
    assert run.settle(a_plan(["5a"], (5, 4))).restore_id == 5
    run = Run(Outside({"5a": OPEN}))
    run.outside.errors = [ConnectionError("away")] * 100
    with pytest.raises(SinkError, match="sink out for its outcomes failed for 60 seconds: away") as caught:
        run.settle(a_plan(["5a"], (5, 4)))
    assert not caught.value.final and run.time.now <= 60


def test_a_final_error_is_not_asked_again() -> None:
    run = Run(Outside({"5a": OPEN}))
    run.outside.errors = [ConfigError("no such cluster")]
    with pytest.raises(ConfigError):
        run.settle(a_plan(["5a"], (5, 4)))
    assert run.time.now == 0


def test_commits_go_oldest_checkpoint_first_then_nearest_deadline_and_files_last() -> None:
    log: list[str] = []
    names = ["1a", "1b", "1c", "2a", "2b"]
    kafka = Outside(dict.fromkeys(names, OPEN), log=log)
    files = Outside(dict.fromkeys(["1f", "2f"], OPEN), can_lose=False, log=log)
    listed = [
        unit("2f", sink="files"),
        unit("2a", deadline=5, sink="kafka"),
        unit("2b", deadline=4, sink="kafka"),
        unit("1f", sink="files", deadline=1),
        unit("1a", sink="kafka"),
        unit("1b", deadline=9, sink="kafka"),
        unit("1c", deadline=8, sink="kafka"),
    ]
    time = Time()
    asyncio.run(commit_ordered(listed, {"kafka": kafka, "files": files}, sleep=time.sleep, clock=time))
    assert log == [f"commit {name}" for name in ("1c", "1b", "1a", "1f", "2b", "2a", "2f")]


def test_a_commit_that_fails_for_good_stops_those_behind_it() -> None:
    outside = Outside({"1a": OPEN, "2a": ABORTED, "3a": OPEN})
    time = Time()
    with pytest.raises(OutputLostError, match="2a is gone"):
        asyncio.run(
            commit_ordered([unit("1a"), unit("2a"), unit("3a")], {"out": outside}, sleep=time.sleep, clock=time)
        )
    assert outside.log == ["commit 1a"]
