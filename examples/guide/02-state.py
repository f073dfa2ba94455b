"""State: what a process function remembers per key is what it declares.

State is stored by declared type (`ValueState(list[int])`, a dataclass, a `msgspec.Struct`).  Without a type only None,
bool, int, float, str and bytes are kept.  Values of mutable types are stored when you call `update`: changing a value
in place without `update` has no effect.  Nothing is pickled.

    ValueState(T)
        one value: `value()`, `update(v)`, `clear()`
    ListState(T)
        `get()`, `add(v)`, `extend(vs)`, `update(vs)`, `clear()`; adding writes one entry
    MapState(K, T)
        `get(k)`, `put(k, v)`, `remove(k)`, `items()` ...; a change writes one entry
    ReducingState(f, T)
        what `f(so far, v)` made of all `add(v)`
    AggregatingState(Mean(...))
        the result of an aggregate function over all `add(v)`
    BroadcastState(K, T)
        a table that is not keyed, the same in every subtask; see `streamlet help connected`

Each state of a key takes a `ttl`: `ValueState(int, ttl=timedelta(hours=1))` is gone an hour by the wall clock after it
was written; so is an entry of a map and an element of a list.  `StateTtl(duration, time="event", refresh="read")`
counts by event time (from the time of the record to the watermark; the source needs a watermark strategy), or also from
each reading.  An expired value is never seen again, also not after a restart, and its memory is freed within another
1/32 of the duration.  A state with a `ttl` is stored in another form than a state without: give it a new name to add or
drop the `ttl`.

**When a type changes.**  A start compares what the checkpoint holds with what the job declares.  These go on by
themselves, and every value is written anew at the restore: a field that is new and has a default, a wider type (int to
float, T to `T | None`), and aggregates by name in another order.  These go on when the job says how:
`ValueState(Visit, renamed={"at": "since"})` for a field with another name (dotted where it lies in a field), and
`upgrade=f` where `f(old value)` gives a value of the new type.  `--allow-dropped-state UID.STATE.FIELD` lets a field or
a state go, `--allow-changed-state` keeps values that were made otherwise.  Anything else is refused with exit code 2
before anything is written, and the message says what does not fit and the edit or option with which it does.
"""

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from streamlet import (
    AggregatingState,
    Job,
    KeyedProcessFunction,
    ListState,
    MapState,
    Mean,
    ProcessContext,
    ReducingState,
    ValueState,
)
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Visit(msgspec.Struct, frozen=True):
    user: int
    page: str
    ms: int


# One value per key.  States are class attributes, and every subtask works on its own copy of the instance.
class Slower(KeyedProcessFunction[int, Visit, str]):
    last = ValueState(int)

    def process_element(self, value: Visit, ctx: ProcessContext[int]) -> Iterator[str]:
        if value.ms > (self.last.value() or 0):
            yield f"user {ctx.key} waited longer: {value.ms} ms"
        self.last.update(value.ms)


# All other kinds of state of a key.  The last ten minutes of pages are kept, and freed afterwards.
class Visits(KeyedProcessFunction[int, Visit, dict[str, object]]):
    lately = ListState(str, ttl=timedelta(minutes=10))
    pages = MapState(str, int)
    slowest = ReducingState(max, int)
    mean = AggregatingState(Mean[Visit](lambda visit: visit.ms))

    def process_element(self, value: Visit, ctx: ProcessContext[int]) -> Iterator[dict[str, object]]:
        self.lately.add(value.page)
        self.pages.put(value.page, (self.pages.get(value.page) or 0) + 1)
        self.slowest.add(value.ms)
        self.mean.add(value)
        if len(self.lately) % 5 == 0:
            yield {"user": ctx.key, "pages": dict(self.pages.items()), "ms": (self.mean.value(), self.slowest.value())}


job = Job("visits")
visits = job.source(Generator(lambda i: Visit(i % 3, f"/{i % 4}", i * i % 90), count=60), uid="in").key_by("user")
visits.process(Slower(), uid="slower").sink(Print("slower: "), uid="waits")
visits.process(Visits(), uid="visits").sink(Print(), uid="out")

if __name__ == "__main__":
    raise SystemExit(job.run())
