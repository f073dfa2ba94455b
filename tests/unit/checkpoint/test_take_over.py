"""A process that was paused while it began an attempt, and taken over meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import AttemptSupersededError
from streamlet.machine.disk import LocalDisk


def _answers(*answers: bool, meanwhile: Callable[[], object]) -> Callable[[], bool]:
    """Says whether the job is still this process's; before it says no for the first time, the other one begins."""
    rest = list(answers)

    def is_mine() -> bool:
        answer = rest.pop(0)
        if not answer:
            meanwhile()
        return answer

    return is_mine


@pytest.mark.parametrize("answers", [(False,), (True, False)], ids=["before it acts", "after it acted"])
def test_one_that_was_taken_over_while_it_began_neither_shuts_out_its_successor_nor_runs_beside_it(
    tmp_path: Path, answers: tuple[bool, ...]
) -> None:
    successor, sleeper = (
        CheckpointStorage(tmp_path, "job", LocalDisk()),
        CheckpointStorage(tmp_path, "job", LocalDisk()),
    )
    began: list[int] = []
    is_mine = _answers(*answers, meanwhile=lambda: began.append(successor.begin_attempt()))
    with pytest.raises(AttemptSupersededError, match="taken this job over"):
        sleeper.begin_attempt(is_mine)
    assert successor.release() == []  # it may still write
    assert [path.name for path in successor.folder.glob("attempt-*")] == [f"attempt-{began[0]}"]


def test_working_folders_of_a_later_attempt_are_left_alone(tmp_path: Path) -> None:
    later, earlier = CheckpointStorage(tmp_path, "job", LocalDisk()), CheckpointStorage(tmp_path, "job", LocalDisk())
    later.begin_attempt()
    number = later.begin_attempt()
    theirs = later.attempt.work_folder()
    earlier._clean(number - 1)
    assert theirs.is_dir()
