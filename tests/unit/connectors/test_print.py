"""The print sink."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from streamlet.connect import Batch, SinkContext, SystemClock
from streamlet.errors import SinkError
from streamlet_connectors.print import Print


def context() -> SinkContext:
    return SinkContext(
        job="job",
        instance="i",
        uid="out",
        subtask=0,
        parallelism=1,
        clock=SystemClock(),
        run_blocking=asyncio.to_thread,
    )


def write(sink: Print, values: list[Any]) -> None:
    async def scenario() -> None:
        writer = sink.writer(context())
        await writer.open()
        await writer.write(Batch(values))
        assert await writer.prepare_commit(1) == []
        await writer.close()

    asyncio.run(scenario())


def test_each_record_is_a_line_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write(Print(), [1, "two", {"n": 3}])
    assert capsys.readouterr().out == "1\ntwo\n{'n': 3}\n"


def test_a_batch_is_one_write_with_the_prefix_on_every_line() -> None:
    class Counting(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            return super().write(text)

    stream = Counting()
    write(Print("spend> ", stream), list(range(1000)))
    write(Print("spend> ", stream), [])
    assert stream.getvalue() == "".join(f"spend> {n}\n" for n in range(1000))
    assert stream.writes == 1


def test_it_says_that_it_is_at_least_once_and_has_nothing_to_commit() -> None:
    assert Print().delivery == "at_least_once"
    assert Print().committer(context()) is None


def test_a_closed_stream_is_an_error_of_the_sink() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(SinkError, match="cannot print"):
        write(Print(stream=stream), [1])
