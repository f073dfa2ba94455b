"""The coordinator with a real state directory; the test plays the subtasks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamlet.checkpoint import patience
from streamlet.checkpoint.facts import CoordinatorSettings
from streamlet.checkpoint.messages import Busy, Ended, Pressed, Started, Trigger
from streamlet.errors import CheckpointFailedError, OutputLostError, SinkError
from streamlet.outages import is_outage
from tests.unit.coordinator_kit import LONG, SUBTASKS, Played, play
from tests.unit.state_kit import SteppingClock


def test_within_the_first_interval_a_checkpoint_begins_when_the_first_records_went_through(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        await played.turns()
        assert played.control.inbox(("in", 0)).empty()
        played.control.report(Started())
        assert await played.triggered() == Trigger(0)

    play(tmp_path, scenario, interval=LONG)


def test_a_job_that_reads_nothing_makes_checkpoints_too_for_its_timers_may_put_something_out(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        assert await played.triggered() == Trigger(0)

    play(tmp_path, scenario)


def test_a_checkpoint_that_all_acknowledge_is_decided_committed_and_marked(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.complete(0, units=[0])
        (info,) = played.storage.checkpoints()
        assert info.is_marked
        assert info.manifest is not None
        assert (info.manifest.kind, info.manifest.positions) == ("periodic", {"in": {"split": 0}})
        assert played.outside.committed == ["unit-0"]
        assert played.coordinator.figures.completed == 1

    play(tmp_path, scenario)


def test_nothing_is_decided_while_an_acknowledgement_is_missing(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.triggered()
        played.acknowledge(0, ("in", 0), ("agg", 1))
        played.acknowledge(0, ("agg", 0), attempt=played.attempt + 1)
        played.acknowledge(0, ("agg", 7))
        played.acknowledge(5, ("agg", 0))
        await played.until(played.control.reports.empty)
        assert played.storage.checkpoints() == []
        played.acknowledge(0, ("agg", 0))
        await played.marked(0)

    play(tmp_path, scenario)


def test_every_unit_is_committed_after_its_checkpoint_was_decided_and_once(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.complete(0, units=[0])
        await played.complete(1, units=[0, 1])
        await played.complete(2, units=[1, 2])
        assert played.outside.committed == ["unit-0", "unit-1", "unit-2"]
        assert all(played.outside.decided_first)

    play(tmp_path, scenario)


def test_a_marker_is_durable_before_anyone_is_told(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        for number in range(3):
            assert await played.triggered() == Trigger(number)
            played.acknowledge(number)
            await played.marked(number)
            assert played.storage.load(number).is_marked

    play(tmp_path, scenario)


def test_a_declined_checkpoint_is_abandoned_and_the_next_one_carries_its_units(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.triggered()
        played.acknowledge(0, ("in", 0), ("agg", 1), units=[0])
        played.decline(0)
        await played.complete(1, units=[0, 1])
        assert [info.id for info in played.storage.checkpoints()] == [1]
        assert played.outside.committed == ["unit-0", "unit-1"]
        assert (played.coordinator.figures.failed, played.coordinator.figures.completed) == (1, 1)

    play(tmp_path, scenario)


def test_what_is_said_late_about_an_abandoned_checkpoint_changes_nothing(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.triggered()
        played.decline(0)
        assert await played.triggered() == Trigger(1)
        played.decline(0)
        played.acknowledge(0)
        await played.until(played.control.reports.empty)
        await played.turns()
        assert played.coordinator.figures.failed == 1
        played.acknowledge(1)
        await played.marked(1)
        assert played.coordinator.figures.failed == 1

    play(tmp_path, scenario)


def test_a_checkpoint_that_takes_too_long_names_who_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.triggered()
        played.acknowledge(0, ("in", 0), ("agg", 0))
        played.control.report(Busy(0, "agg", 1, "packing state"))
        assert await played.triggered() == Trigger(1)
        assert "checkpoint 0 was abandoned: timed out waiting for agg[1] (packing state) (1 in a row)" in caplog.text

    play(tmp_path, scenario, timeout=0.05, stalled=10**6)


def test_a_checkpoint_that_waits_for_three_intervals_says_for_whom_and_what_each_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.triggered()
        played.acknowledge(0, ("in", 0))
        played.control.report(Busy(0, "agg", 0, "aligning"))
        await played.until(lambda: bool(played.coordinator.figures.trouble))
        said = "checkpoint 0 has waited 0.0 s for agg[0] (aligning), agg[1] (the barrier has not come)"
        assert played.coordinator.figures.trouble == said
        assert [record.getMessage() for record in caplog.records] == [said]
        played.acknowledge(0, ("agg", 0), ("agg", 1))
        await played.marked(0)
        assert not played.coordinator.figures.trouble

    play(tmp_path, scenario, interval=0.01)


def test_what_a_subtask_does_for_another_checkpoint_is_not_told_of_this_one(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.triggered()
        played.acknowledge(0, ("in", 0), ("agg", 0))
        played.control.report(Busy(7, "agg", 1, "aligning"))
        await played.until(lambda: bool(played.coordinator.figures.trouble))
        assert "agg[1] (the barrier has not come)" in played.coordinator.figures.trouble

    play(tmp_path, scenario)


@pytest.mark.parametrize("is_full", [False, True])
def test_an_attempt_without_a_complete_checkpoint_for_as_long_as_allowed_fails(is_full: bool, tmp_path: Path) -> None:
    clock = SteppingClock()

    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.complete(0)
        for number in range(1, 5):
            assert await played.triggered() == Trigger(number)
            clock.seconds += 15
            played.decline(number, is_outage=is_full)
        with pytest.raises(ExceptionGroup) as caught:
            await played.running
        error = caught.value.exceptions[0]
        assert isinstance(error, CheckpointFailedError)
        assert "no checkpoint was completed for 60.0 s, 4 in a row were abandoned" in str(error)
        assert "agg[0] declined: the disk is full" in str(error)
        assert is_outage(error) is is_full, "a full disk is waited for, wherever it was full"

    play(tmp_path, scenario, timeout=60, clock=clock)


def test_a_job_may_go_without_a_checkpoint_for_its_intervals_and_at_least_for_the_time_out() -> None:
    assert CoordinatorSettings(1, 60, 10, 1).stalled_seconds == 60
    assert CoordinatorSettings(30, 60, 10, 1).stalled_seconds == 300


def test_of_many_abandoned_checkpoints_in_a_row_only_some_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        for number in range(100):
            assert await played.triggered() == Trigger(number)
            played.decline(number)
        await played.complete(100)
        said = [record.getMessage() for record in caplog.records if "has waited" not in record.getMessage()]
        assert len(said) == 8
        assert "(64 in a row)" in said[-2]
        assert said[-1] == "checkpoint 100 is complete, after 100 abandoned"

    play(tmp_path, scenario)


def test_a_complete_checkpoint_forgives_those_abandoned_before_it(tmp_path: Path) -> None:
    clock = SteppingClock()

    async def scenario(played: Played) -> None:
        played.control.report(Started())
        for number in range(6):
            assert await played.triggered() == Trigger(number)
            if number % 2:
                played.acknowledge(number)
                await played.marked(number)
            else:
                clock.seconds += 59
                played.decline(number)
        assert (played.coordinator.figures.failed, played.coordinator.figures.completed) == (3, 3)

    play(tmp_path, scenario, timeout=60, clock=clock)


def test_when_every_subtask_has_ended_a_last_checkpoint_finishes_the_job(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.complete(0)
        for task, subtask in SUBTASKS:
            played.control.report(Ended(task, subtask))
        assert await played.triggered() == Trigger(1, is_last=True)
        played.acknowledge(1, units=[1], finished=True)
        assert await played.running == "final"
        info = played.storage.load(1)
        assert info.manifest is not None
        assert (info.manifest.kind, info.is_marked, info.manifest.finished) == ("final", True, ["agg", "in"])
        assert played.outside.committed == ["unit-1"]

    play(tmp_path, scenario, interval=LONG)


def test_a_last_checkpoint_that_is_declined_is_tried_again(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        for task, subtask in SUBTASKS:
            played.control.report(Ended(task, subtask))
        assert await played.triggered() == Trigger(0, is_last=True)
        played.decline(0)
        assert await played.triggered() == Trigger(1, is_last=True)
        played.acknowledge(1)
        assert await played.running == "final"

    play(tmp_path, scenario)


@pytest.mark.parametrize("has_started", [True, False])
def test_a_stop_makes_a_last_checkpoint_at_once(has_started: bool, tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        number = 0
        if has_started:
            played.control.report(Started())
            await played.complete(0)
            number = 1
        played.coordinator.stop()
        assert await played.triggered() == Trigger(number, is_last=True)
        played.acknowledge(number)
        assert await played.running == "stop"
        manifest = played.storage.load(number).manifest
        assert manifest is not None
        assert manifest.kind == "stop"

    play(tmp_path, scenario, interval=LONG)


def test_a_stop_whose_barriers_do_not_come_through_ends_without_a_checkpoint_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_LOOK_SECONDS", 0.0)

    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.complete(0)
        played.coordinator.stop()
        assert await played.triggered() == Trigger(1, is_last=True)
        played.acknowledge(1, ("in", 0), ("agg", 1))
        assert await played.running == "stop"
        assert [info.id for info in played.storage.checkpoints() if info.manifest] == [0]
        assert played.coordinator.figures.last_id == 0

    play(tmp_path, scenario, interval=LONG, clock=SteppingClock(0.1))
    assert (
        "the stop waits no longer, so it has no checkpoint of its own: agg[0] (the barrier has not come)" in caplog.text
    )


def test_a_stop_waits_for_what_is_done_behind_barriers_that_came_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_LOOK_SECONDS", 0.0)

    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.complete(0)
        played.coordinator.stop()
        assert await played.triggered() == Trigger(1, is_last=True)
        for subtask in SUBTASKS:
            played.control.report(Busy(1, *subtask, "writing state"))
        for _ in range(10):
            await played.turns()
        assert not played.running.done()
        played.acknowledge(1)
        assert await played.running == "stop"
        assert played.coordinator.figures.last_id == 1

    play(tmp_path, scenario, interval=LONG, clock=SteppingClock(0.1))


def test_a_stop_while_a_checkpoint_is_pending_waits_for_it_and_makes_another(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        assert await played.triggered() == Trigger(0)
        played.coordinator.stop()
        played.acknowledge(0)
        assert await played.triggered() == Trigger(1, is_last=True)
        played.acknowledge(1)
        assert await played.running == "stop"

    play(tmp_path, scenario, interval=LONG)


def test_memory_pressure_triggers_before_the_interval_is_over(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.complete(0)
        played.control.report(Pressed())
        await played.complete(1)

    play(tmp_path, scenario, interval=LONG)


def test_triggering_waits_while_two_decided_checkpoints_are_not_committed(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.outside.go.clear()
        played.control.report(Started())
        for number in (0, 1):
            assert await played.triggered() == Trigger(number)
            played.acknowledge(number, units=[number])
        await played.until(lambda: played.coordinator.figures.completed == 2)
        third = asyncio.ensure_future(played.triggered())
        await played.turns()
        assert not third.done()
        assert not any(info.is_marked for info in played.storage.checkpoints())
        played.outside.go.set()
        assert await third == Trigger(2)
        assert played.outside.committed[0] == "unit-0"

    play(tmp_path, scenario)


def test_commits_that_hang_for_as_long_as_no_checkpoint_may_complete_fail_the_attempt(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.outside.go.clear()
        played.control.report(Started())
        for number in (0, 1):
            assert await played.triggered() == Trigger(number)
            played.acknowledge(number, units=[number])
        with pytest.raises(ExceptionGroup) as caught:
            await played.running
        said = "2 complete checkpoints wait for their output to be committed"
        assert caught.group_contains(CheckpointFailedError, match=said)
        assert said in played.coordinator.figures.trouble
        assert not any(info.is_marked for info in played.storage.checkpoints())

    play(tmp_path, scenario, timeout=0.2)


def test_a_manifest_that_cannot_be_written_abandons_its_checkpoint_only(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        await played.triggered()
        (played.folder / "chk-00000000.tmp" / "manifest").mkdir()  # in the way: a real error of the system
        played.acknowledge(0, units=[0])
        await played.complete(1, units=[0, 1])
        assert [info.id for info in played.storage.checkpoints()] == [1]
        assert played.outside.committed == ["unit-0", "unit-1"]

    play(tmp_path, scenario)


def test_a_number_that_cannot_be_reserved_triggers_nothing_and_the_next_one_is_tried(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        (played.folder / "chk-00000000.tmp").write_bytes(b"")
        played.control.report(Started())
        await played.complete(1)
        assert played.coordinator.figures.failed == 1

    play(tmp_path, scenario)


def test_a_marker_that_cannot_be_written_fails_the_attempt_and_nobody_is_told(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        (played.folder / "marker-00000000").mkdir()
        played.control.report(Started())
        await played.triggered()
        played.acknowledge(0, units=[0])
        with pytest.raises(ExceptionGroup) as caught:
            await played.running
        assert caught.group_contains(CheckpointFailedError, match="the marker of checkpoint 0 could not be written")
        assert played.outside.committed == ["unit-0"]
        assert played.control.inbox(("agg", 1)).empty()

    play(tmp_path, scenario, interval=LONG)


def test_output_that_is_lost_ends_the_attempt_without_a_marker_for_settling_to_judge(tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.outside.error = OutputLostError("unit-0 is gone")
        played.control.report(Started())
        await played.triggered()
        played.acknowledge(0, units=[0])
        with pytest.raises(ExceptionGroup) as caught:
            await played.running
        assert caught.group_contains(SinkError, match="unit-0 is gone")
        assert not SinkError.final
        assert not played.storage.load(0).is_marked

    play(tmp_path, scenario, interval=LONG)


@pytest.mark.parametrize("retain", [0, 1, 3])
def test_older_checkpoints_are_released_behind_a_newer_marker(retain: int, tmp_path: Path) -> None:
    async def scenario(played: Played) -> None:
        played.control.report(Started())
        for number in range(5):
            await played.complete(number)
        last = await played.stopped()
        assert [info.id for info in played.storage.checkpoints()] == list(range(last - retain, last + 1))

    play(tmp_path, scenario, retain=retain)
