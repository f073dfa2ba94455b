"""The three products that sold best in each minute: `streamlet run examples/top_products.py`, no server needed.

Sales are counted per product and minute; results have the end of their minute as event time, so a second window of the
same minute has all products of it.
"""

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from streamlet import Count, Job, TumblingWindows, WatermarkStrategy, Window
from streamlet.windows import WindowContext, WindowProcessFunction
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

MINUTE = timedelta(minutes=1)


class Sale(msgspec.Struct, frozen=True):
    product: int
    at: int


class Sold(msgspec.Struct, frozen=True):
    product: int
    minute: int
    count: int


class Top(msgspec.Struct, frozen=True):
    minute: int
    products: tuple[tuple[int, int], ...]


class Three(WindowProcessFunction[int, Sold, Top]):
    def process(self, key: int, window: Window, values: list[Sold], ctx: WindowContext[int]) -> Iterator[Top]:
        best = sorted(values, key=lambda sold: (-sold.count, sold.product))[:3]
        yield Top(key, tuple((sold.product, sold.count) for sold in best))


def sale(number: int) -> Sale:
    return Sale(number * number % 97, 1_700_000_040_000 + 20 * number - number * 7919 % 2000)


bounded = WatermarkStrategy.bounded_out_of_orderness(timedelta(seconds=2))
job = Job("top-products")
(
    job.source(Generator(sale, count=30_000), uid="sales", watermarks=bounded.with_timestamps(lambda one: one.at))
    .key_by(lambda one: one.product)
    .window(TumblingWindows(MINUTE))
    .aggregate(Count(), result=lambda product, window, count: Sold(product, window.start, count), uid="sold")
    .key_by(lambda sold: sold.minute)
    .window(TumblingWindows(MINUTE))
    .process(Three(), type=Sold, uid="top")
    .sink(FileSink("out"), uid="out")
)

if __name__ == "__main__":
    raise SystemExit(job.run())
