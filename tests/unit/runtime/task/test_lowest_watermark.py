"""The watermark of several inputs: the lowest of those that speak, and never going back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlet.elements import Watermark
from streamlet.runtime.task.lowest_watermark import LowestWatermark
from streamlet.windows import MIN_TIMESTAMP


def _lowest(*inputs: str) -> LowestWatermark[str]:
    lowest: LowestWatermark[str] = LowestWatermark()
    for one in inputs:
        lowest.add(one)
    return lowest


def test_the_lowest_input_counts_and_only_a_change_is_told() -> None:
    lowest = _lowest("a", "b")
    assert not lowest.advance("a", 10)
    assert lowest.advance("b", 5)
    assert lowest.current == Watermark(5)
    assert not lowest.advance("a", 20)
    assert lowest.advance("b", 30)
    assert lowest.current == Watermark(20)


def test_an_input_of_which_nothing_is_known_holds_all_back() -> None:
    lowest = _lowest("a", "b")
    lowest.advance("a", 10)
    assert lowest.current == Watermark(MIN_TIMESTAMP)


def test_an_idle_input_holds_nobody_back_and_is_late_when_it_wakes_up_behind() -> None:
    lowest = _lowest("a", "b")
    lowest.advance("a", 10)
    assert lowest.advance("b", MIN_TIMESTAMP, is_idle=True)
    assert lowest.current == Watermark(10)
    assert not lowest.advance("b", 3)
    assert lowest.current == Watermark(10)
    assert not lowest.advance("a", 50)
    assert lowest.advance("b", 40)
    assert lowest.current == Watermark(40)


def test_when_all_are_idle_the_highest_counts_whoever_fell_silent_first() -> None:
    for order in (["a", "b"], ["b", "a"]):
        lowest = _lowest("a", "b")
        lowest.advance("a", 10)
        lowest.advance("b", 20)
        for one in order:
            lowest.advance(one, MIN_TIMESTAMP, is_idle=True)
        assert lowest.current == Watermark(20, is_idle=True)
        assert lowest.advance("a", 11)
        assert lowest.current == Watermark(20)


def test_an_ended_input_holds_nobody_back() -> None:
    lowest = _lowest("a", "b")
    lowest.advance("b", 7)
    assert lowest.end("a")
    assert lowest.current == Watermark(7)


def test_an_input_that_has_ended_ahead_does_not_make_an_idle_one_late() -> None:
    lowest = _lowest("plan", "live")
    lowest.advance("plan", 5_000)
    lowest.advance("live", 100)
    lowest.end("plan")
    lowest.advance("live", MIN_TIMESTAMP, is_idle=True)
    assert lowest.current == Watermark(100, is_idle=True)
    assert lowest.advance("live", 130)
    assert lowest.current == Watermark(130)
    lowest.end("live")
    assert lowest.current == Watermark(5_000, is_idle=True)


def test_an_input_that_is_idle_from_the_start_beside_an_ended_one_stops_event_time() -> None:
    lowest = _lowest("plan", "live")
    lowest.advance("plan", 5_000)
    lowest.end("plan")
    lowest.advance("live", MIN_TIMESTAMP, is_idle=True)
    assert lowest.current == Watermark(MIN_TIMESTAMP, is_idle=True)
    assert lowest.advance("live", 7)
    assert lowest.current == Watermark(7)


def test_nothing_to_follow_is_idle() -> None:
    lowest = _lowest()
    assert lowest.settle()
    assert lowest.current == Watermark(MIN_TIMESTAMP, is_idle=True)


_STEP = st.tuples(st.integers(0, 2), st.sampled_from(["advance", "idle", "end"]), st.integers(0, 50))


@given(st.lists(_STEP, max_size=40))
def test_it_never_goes_back_and_is_the_lowest_of_those_that_speak(steps: list[tuple[int, str, int]]) -> None:
    lowest: LowestWatermark[int] = LowestWatermark()
    known, speaks, ended, highest = dict.fromkeys(range(3), MIN_TIMESTAMP), {0, 1, 2}, set[int](), MIN_TIMESTAMP
    for one in known:
        lowest.add(one)
    for one, what, timestamp in steps:
        before = lowest.current
        if one in ended:
            continue
        if what == "end":
            has_changed = lowest.end(one)
            ended.add(one)
            speaks.discard(one)
        else:
            has_changed = lowest.advance(one, timestamp, is_idle=what == "idle")
            known[one] = max(known[one], timestamp)
            (speaks.discard if what == "idle" else speaks.add)(one)
        if speaks:
            expected = min(known[one] for one in speaks)
        else:
            expected = max([known[one] for one in known if one not in ended] or known.values())
        highest = max(highest, expected)
        assert lowest.current == Watermark(highest, is_idle=not speaks)
        assert has_changed == (lowest.current != before)
