"""Event time from Kafka: the timestamps of records, asked for by a watermark strategy alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamlet import Json, KeyedProcessFunction, OutputTag, ProcessContext, WatermarkStrategy
from streamlet.testing.kafka import EmbeddedKafka
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka import KafkaSink, KafkaSource
from tests.unit.job_kit import lines, make_job, run

LATE = OutputTag[Any]("late")
TIMES = [*range(1000, 1100), 500, *range(1100, 1150)]
"""One record comes far behind the others of its split."""


class Sorting(KeyedProcessFunction[int, int, list[Any]]):
    def process_element(self, value: int, ctx: ProcessContext[int]) -> Iterator[list[Any]]:
        assert ctx.timestamp is not None
        if ctx.timestamp <= ctx.current_watermark:
            ctx.output(LATE, [value, ctx.timestamp])
        else:
            yield [value, ctx.timestamp]


def test_the_timestamps_of_kafka_are_event_times_where_a_strategy_says_nothing_else(tmp_path: Path) -> None:
    with EmbeddedKafka(topics={"t": 1}) as kafka:
        filling = make_job(tmp_path, "filling")
        sink = KafkaSink(kafka.bootstrap, "t", value=Json(int), timestamp=lambda number: TIMES[number])
        filling.source(Generator(int, count=len(TIMES)), uid="in").sink(sink, uid="out")
        assert run(filling).code == 0
        reading = make_job(tmp_path, "reading", batch_records=50)
        source = KafkaSource(kafka.bootstrap, "t", value=Json(int), stop="latest")
        numbers = reading.source(source, uid="in", watermarks=WatermarkStrategy.monotonic())
        on_time = numbers.key_by(lambda number: number % 3).process(Sorting(), uid="sort")
        on_time.sink(FileSink(str(tmp_path / "fine")), uid="fine")
        on_time.side_output(LATE).sink(FileSink(str(tmp_path / "late")), uid="late")
        assert run(reading).code == 0
    assert lines(tmp_path / "late") == [[100, 500]]
    assert lines(tmp_path / "fine") == [[number, at] for number, at in enumerate(TIMES) if at != 500]
