"""`FunctionHarness`: a process function in a test, record by record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamlet import KeyedProcessFunction, OutputTag, ProcessContext, TimerContext, ValueState
from streamlet.errors import StreamletError
from streamlet.testing import FunctionHarness

ODD = OutputTag[int]("odd")


class Watched(KeyedProcessFunction[str, int, str]):
    total = ValueState(int)

    def __init__(self) -> None:
        self.records = 0

    def process_element(self, value: int, ctx: ProcessContext[str]) -> Iterator[str]:
        self.records += 1
        self.total.update((self.total.value() or 0) + 10 // value)
        ctx.timers.register_event_time((ctx.timestamp or 0) + 60_000)
        ctx.timers.register_processing_time(ctx.now_ms() + 5_000)
        if value % 2:
            ctx.output(ODD, value)
        yield f"{ctx.key} {self.total.value()} {self.records}"

    def on_timer(self, timestamp: int, ctx: TimerContext[str]) -> Iterator[str]:
        yield f"{ctx.key} {ctx.domain} {self.total.value()}"


def test_each_key_has_its_own_state_which_a_test_may_read() -> None:
    with FunctionHarness(Watched()) as h:
        assert [*h.push("ann", 2, at=0), *h.push("bob", 5, at=0), *h.push("ann", 1, at=0)] == [
            "ann 5 1",
            "bob 2 2",
            "ann 15 3",
        ]
        assert (h.state("total", "ann").value(), h.state("total", "eve").value()) == (15, None)
        assert h.side_output(ODD) == [5, 1]


def test_timers_fire_when_event_time_or_the_clock_has_come_to_them() -> None:
    with FunctionHarness(Watched()) as h:
        h.push("ann", 2, at=1_000)
        assert (h.watermark(60_999), h.watermark(61_000), h.watermark(61_000)) == ([], ["ann event 5"], [])
        assert (h.advance(4.9), h.advance(0.1), h.advance(60)) == ([], ["ann processing 5"], [])


def test_a_restart_keeps_state_and_timers_and_nothing_else() -> None:
    with FunctionHarness(Watched()) as h:
        h.push("ann", 2, at=1_000)
        for _ in range(2):
            h.restart()
        assert h.push("ann", 2, at=1_000) == ["ann 10 1"]
        assert h.watermark(61_000) == ["ann event 10"]
        assert h.advance(5) == ["ann processing 10"]


def test_what_the_function_raises_names_its_line() -> None:
    with (
        FunctionHarness(Watched()) as h,
        pytest.raises(StreamletError, match=r"function_harness\.py:\d+ in process_element: ZeroDivisionError"),
    ):
        h.push("ann", 0)
