"""Lookups: each value with what a table holds for its key.

`lookup_join` gives each value of a stream, keyed or not, the last element of a table for its key.  The table is a
stream too, bounded or changing, that every subtask gets.

`wait_for=` says what becomes of values that come before the table is loaded:

    "nothing"
        they meet what is there
    "end"
        they wait until the table's stream has ended; it must be bounded
    "watermark"
        they wait for the first watermark of the table, or its end: the strategy of its source says when enough was
        read, for example `from_function`

Values that wait are kept in order in memory and in the checkpoint, without a bound: a table should load soon.  The
table is in the memory of every subtask, and in each checkpoint whole, once: a lookup is for what fits there.  It holds
the last element per key (`key_type=`, by default str) until an element comes for which `is_removed=` is true.  A value
whose key is None, or is not in the table, is left out, or with `how="left"` meets None.  Which version of a table that
goes on a value meets depends on which comes first; where it must not, use `as_of_join`.  Event time is that of the
stream alone, so a table without watermarks holds nothing back.
"""

import msgspec

from streamlet import Job
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Order(msgspec.Struct, frozen=True):
    item: str
    count: int


class Item(msgspec.Struct, frozen=True):
    name: str
    price: int


def priced(order: Order, item: Item | None) -> dict[str, str | int | None]:
    return {"item": order.item, "count": order.count, "cost": None if item is None else order.count * item.price}


job = Job("priced")
orders = job.source(Generator(lambda i: Order(f"i{i % 4}", i), count=100), uid="orders")
items = job.source(Generator(lambda i: Item(f"i{i}", 5 + i), count=3), uid="items")

# Orders wait until the table of items was read to its end.  Item i3 is not in it, so its orders have no cost.
orders.lookup_join(
    items,
    priced,
    key=lambda order: order.item,
    table_key=lambda item: item.name,
    wait_for="end",
    how="left",
    table_type=Item,
    type=Order,
    uid="priced",
).sink(Print(), uid="out")

if __name__ == "__main__":
    raise SystemExit(job.run())
