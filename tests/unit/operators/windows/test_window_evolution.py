"""Windows that the job file changes: open ones go on, end as they were, or the change is refused with its reason."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Count, Job, Max, Mean, SessionWindows, SlidingWindows, Sum, TumblingWindows, WatermarkStrategy
from streamlet.windows import AtEndOfInput, CountWindows, EveryDuration, EveryRecords
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Ran, Waiting, checkpoint_at, files, lines, make_job, run

S = timedelta(seconds=1)
TIMES: WatermarkStrategy[int] = WatermarkStrategy.monotonic().with_timestamps(lambda number: number * 1000)
COUNT, CUT = 40, 20


def _job(folder: Path, windowed: Any, *functions: Any, **named: Any) -> Job:
    job = make_job(folder, state_backend="memory", batch_records=1)
    keyed = job.source(Waiting(COUNT, CUT), uid="numbers", watermarks=TIMES).key_by(lambda n: 0, uid="by")
    windows = windowed(keyed) if callable(windowed) else keyed.window(windowed)
    made = windows.aggregate(*(functions or (() if named else (Count(),))), **named, uid="w")
    shown = made.map(lambda one: [one.window.start // 1000, one.window.end // 1000, one.value])
    shown.sink(FileSink(str(folder / "out")), uid="out")
    return job


def _edited(folder: Path, before: Job, after: Job, **options: Any) -> tuple[Ran, list[Any]]:
    """How the edited job ran from number 20 on, and what it put out."""
    assert run(before).code == 0
    old = files(folder / "out")
    ran = run(after, from_checkpoint=str(checkpoint_at(folder, CUT)), **options)
    return ran, lines(folder / "out", but=old)


GOES_ON: dict[str, tuple[Any, Any, list[list[int]]]] = {
    "shorter": (
        TumblingWindows(16 * S),
        TumblingWindows(8 * S),
        [[16, 24, 4], [16, 32, 4], [24, 32, 8], [32, 40, 8]],
    ),
    "longer": (TumblingWindows(8 * S), TumblingWindows(16 * S), [[16, 24, 4], [16, 32, 12], [32, 48, 8]]),
    "another offset": (
        TumblingWindows(16 * S),
        TumblingWindows(16 * S, offset=4 * S),
        [[16, 32, 4], [20, 36, 16], [36, 52, 4]],
    ),
    "sliding less often": (
        SlidingWindows(12 * S, 4 * S),
        SlidingWindows(12 * S, 8 * S),
        [[8, 20, 12], [16, 28, 12], [24, 36, 12], [32, 44, 8]],
    ),
    "a smaller size of sliding windows": (
        SlidingWindows(12 * S, 4 * S),
        SlidingWindows(8 * S, 4 * S),
        [[12, 20, 8], [16, 24, 8], [20, 28, 8], [24, 32, 8], [28, 36, 8], [32, 40, 8], [36, 44, 4]],
    ),
    "another gap": (SessionWindows(30 * S), SessionWindows(5 * S), [[0, 49, 40]]),
    "a trigger by more records": (
        lambda k: k.window(TumblingWindows(40 * S)).trigger(EveryRecords(15)),
        lambda k: k.window(TumblingWindows(40 * S)).trigger(EveryRecords(10)),
        [[0, 40, 25], [0, 40, 35], [0, 40, 40]],
    ),
    "larger count windows": (CountWindows(15), CountWindows(18), [[15, 32, 18], [33, 39, 7]]),
    "shorter lateness": (
        lambda k: k.window(TumblingWindows(16 * S)).allowed_lateness(9 * S),
        TumblingWindows(16 * S),
        [[16, 32, 16], [32, 48, 8]],
    ),
    "discarding where it means nothing": (
        TumblingWindows(16 * S),
        lambda k: k.window(TumblingWindows(16 * S)).discarding(),
        [[16, 32, 16], [32, 48, 8]],
    ),
}


@pytest.mark.parametrize("change", GOES_ON)
def test_open_windows_go_on_or_end_as_they_were(change: str, tmp_path: Path) -> None:
    before, after, expected = GOES_ON[change]
    ran, found = _edited(tmp_path, _job(tmp_path, before), _job(tmp_path, after))
    assert ran.code == 0, ran
    assert sorted(found) == sorted(expected)


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "a slide": (SlidingWindows(12 * S, 4 * S), SlidingWindows(12 * S, 6 * S), "slide_ms was 4000 and is 6000"),
    "a slide that is not wider": (SlidingWindows(12 * S, 6 * S), SlidingWindows(12 * S, 4 * S), "lack records"),
    "an offset": (SlidingWindows(12 * S, 4 * S), SlidingWindows(12 * S, 4 * S, offset=S), "offset_ms was 0"),
    "a larger size": (SlidingWindows(12 * S, 4 * S), SlidingWindows(16 * S, 4 * S), "size_ms was 12000"),
    "a kind": (SlidingWindows(12 * S, 4 * S), TumblingWindows(12 * S), "of sliding windows"),
    "a kind in one state": (TumblingWindows(12 * S), CountWindows(5), "were tumbling and are count"),
    "a trigger": (
        TumblingWindows(60 * S),
        lambda k: k.window(TumblingWindows(60 * S)).trigger(EveryRecords(10)),
        "was AtEnd() and is EveryRecords(count=10): what is kept of an open window with a trigger",
    ),
    "another end": (
        lambda k: k.window(TumblingWindows(60 * S)).trigger(AtEndOfInput()),
        lambda k: k.window(TumblingWindows(60 * S)).trigger(EveryRecords(10)),
        "at times that neither of them says",
    ),
    "a duration of sessions": (
        SessionWindows(30 * S),
        lambda k: k.window(SessionWindows(30 * S)).trigger(EveryDuration(S)),
        "was AtEnd() and is EveryDuration",
    ),
    "longer lateness": (
        TumblingWindows(16 * S),
        lambda k: k.window(TumblingWindows(16 * S)).allowed_lateness(S),
        "--allow-changed-state w.window.lateness_ms",
    ),
    "accumulating": (
        lambda k: k.window(TumblingWindows(16 * S)).allowed_lateness(S),
        lambda k: k.window(TumblingWindows(16 * S)).allowed_lateness(S).discarding(),
        "accumulating was True and is False",
    ),
    "smaller count windows": (CountWindows(15), CountWindows(4), "an open window may hold more already"),
    "time": (TumblingWindows(16 * S), TumblingWindows(16 * S, time="processing"), "was event and is processing"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_change_that_open_windows_cannot_follow_is_refused_and_the_remedy_works(change: str, tmp_path: Path) -> None:
    before, after, said = REFUSED[change]
    ran, found = _edited(tmp_path, _job(tmp_path, before), _job(tmp_path, after))
    assert ran.code == 2 and found == [] and said in ran.said, ran
    assert "--allow-dropped-state w" in ran.said and len(ran.said.splitlines()) <= 12
    ran = run(_job(tmp_path, after), from_checkpoint=str(checkpoint_at(tmp_path, CUT)), allow_dropped_state=["w"])
    assert ran.code == 0, ran


def test_a_change_goes_on_all_the_same_where_that_is_said(tmp_path: Path) -> None:
    before, after, _ = REFUSED["longer lateness"]
    jobs = _job(tmp_path, before), _job(tmp_path, after)
    ran, found = _edited(tmp_path, *jobs, allow_changed_state=["w.window.lateness_ms"])
    assert ran.code == 0, ran
    assert found == [[16, 32, 16], [32, 48, 8]]


KINDS = {
    "tumbling": TumblingWindows(60 * S),
    "sliding": SlidingWindows(60 * S, 60 * S),
    "sessions": SessionWindows(30 * S),
    "triggered": lambda k: k.window(TumblingWindows(60 * S)).trigger(EveryRecords(100)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_windows_are_found_again_and_new_ones_begin_empty(kind: str, tmp_path: Path) -> None:
    before = _job(tmp_path, KINDS[kind], ones=Count(), total=Sum(lambda n: n))
    functions = {"total": Sum(lambda n: n), "most": Max(lambda n: -n), "ones": Count(), "mean": Mean(lambda n: n)}
    ran, found = _edited(tmp_path, before, _job(tmp_path, KINDS[kind], **functions))
    assert ran.code == 0, ran
    assert [value for _, _, value in found] == [{"total": 780, "most": -20, "ones": 40, "mean": 29.5}]


def test_a_selector_that_changed_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    before = _job(tmp_path, TumblingWindows(60 * S), Sum(lambda n: n), Count())
    after = _job(tmp_path, TumblingWindows(60 * S), Count(), Sum(lambda n: n * 2))
    ran, _ = _edited(tmp_path, before, after)
    assert ran.code == 2 and " was of function " in ran.said, ran
    (option,) = {word.strip(",:") for word in ran.said.split() if word.startswith("w.window.sum-")}
    options: list[dict[str, Any]] = [{"allow_changed_state": [option]}, {"allow_dropped_state": [option]}]
    at = str(checkpoint_at(tmp_path, CUT))  # once: what goes on from it may have another there
    for allowed, expected in zip(options, (190 + 2 * 590, 2 * 590), strict=True):
        old = files(tmp_path / "out")
        ran = run(after, from_checkpoint=at, **allowed)
        assert ran.code == 0, ran
        assert [value for _, _, value in lines(tmp_path / "out", but=old)] == [[40, expected]]
