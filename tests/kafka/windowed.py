"""A job for tests: counts per user and 10 s of event time, Kafka to Kafka, and a topic for late records.

BOOTSTRAP, IN_TOPIC, OUT_TOPIC and LATE_TOPIC come from the environment.
"""

import os
from datetime import timedelta

import msgspec

from streamlet import Count, Job, Json, OutputTag, Sum, TumblingWindows, WatermarkStrategy, Window
from streamlet_connectors.kafka import KafkaSink, KafkaSource


class Visit(msgspec.Struct, frozen=True, gc=False):
    user: str
    number: int
    at: int


class Visits(msgspec.Struct, frozen=True, gc=False):
    user: str
    start: int
    count: int
    numbers: int


def visits(user: str, window: Window, count: int, numbers: int) -> Visits:
    return Visits(user, window.start, count, numbers)


LATE = OutputTag[Visit]("late")
bootstrap = os.environ["BOOTSTRAP"]

job = Job("windowed", checkpoint_interval=timedelta(milliseconds=200))
windows = (
    job.source(
        KafkaSource(bootstrap, os.environ["IN_TOPIC"], value=Json(Visit)),
        uid="visits",
        watermarks=WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=2)).with_timestamps(lambda one: one.at),
    )
    .key_by(lambda one: one.user)
    .window(TumblingWindows(timedelta(seconds=10)))
    .late_output(LATE)
    .aggregate(Count(), Sum(lambda one: one.number), result=visits, uid="windows")
)
windows.sink(KafkaSink(bootstrap, os.environ["OUT_TOPIC"], value=Json()), uid="out")
windows.side_output(LATE).sink(KafkaSink(bootstrap, os.environ["LATE_TOPIC"], value=Json()), uid="late")
