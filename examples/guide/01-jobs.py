"""Jobs: a job file, its steps, and the names by which state is found again.

A job file builds one `Job` and runs nothing.  `streamlet run job.py` finds it (`job.py:name` when there are several);
`job.run()` does the same from Python.  Everything that has state, positions or output has a `uid`: it is found again by
its uid after you change the file.  `renamed_from="old uid"` beside a new `uid` brings all of it along; a source that is
gone is refused until it is named.  A uid that nobody gave is made of the kind of the step, its key and what comes to
it, so steps may change places; two steps that nothing tells apart are refused when the job is built.  `streamlet plan
job.py` shows tasks, chains and channels, and warns of missing uids.

Steps of a stream:

    map(f), filter(f), flat_map(f)
        per value; `flat_map` takes functions that return any iterable, generators too; each may be `async def`
    map_async(f)
        per value, many calls at once; see `streamlet help async`
    union(other, ...)
        values of several streams
    inspect(f)
        calls `f(value)` and passes the value on
    split(f, "a", "b")
        a stream for each name, by the name that `f(value)` gives; dead letters are `side_output(tag)` of each
    sample(0.1, by=f, seed=1)
        about a tenth of the values, by a hash of `f(value)`: the same values in every run
    deduplicate(f, ttl=timedelta(hours=1))
        the first value of each id `f(value)`; ids are state until their `ttl` is over
    key_by(f), key_by("field", ...)
        a `KeyedStream`: all values of one key meet in one subtask; a key is a str, bytes, int, bool, or a tuple or
        frozen struct of these, of one type
    lookup_join(table, f, key=, table_key=, wait_for=)
        each value with what a broadcast table holds for its key now; see `streamlet help lookups`
    side_output(tag)
        what an operator emits under an `OutputTag`, such as late records; see `streamlet help event-time`
    sink(s)
        the end of a stream

Steps of a keyed stream:

    reduce(f, type=T)
        the running result per key
    aggregate(Count(), Sum(f), ..., result=g)
        running aggregates per key (`Sum Count Min Max Mean`; of `streamlet.aggregates` also `TopK Distinct
        ApproxDistinct Collect`, or your own `AggregateFunction`); emits their result, a tuple of several, or
        `g(key, *results)`
    aggregate(total=Sum(f), n=Count(), into=C)
        the same by name: emits `C(total=..., n=...)`, or a dict without `into`; `Composed(C, total=..., n=...)` is such
        a function on its own
    count(), sum(f), min(f), max(f), mean(f), top_k(n, by), distinct(f), collect()
        one running aggregate; with `result=g` what `g(key, value)` gives; `collect` keeps the first `limit=` values,
        by default 1000, and warns where there are more
    window(w)
        a `WindowedStream`: results per key and window; see `streamlet help windows`
    batch(n, within=t, type=T)
        lists of `n` values of a key, or of those there are when the first has waited for `t`
    process(fn)
        your own `KeyedProcessFunction`; see `streamlet help state` and `streamlet help timers`
    connect(other).process(fn)
        a `KeyedCoProcessFunction` over two keyed streams; see `streamlet help connected`
    connect_broadcast(rules).process(fn)
        a `KeyedBroadcastProcessFunction`: every subtask gets all of `rules`
    interval_join(other, fn, lower=, upper=)
        pairs of values of a key whose times are near each other; see `streamlet help joins`
    window_join(other, w, fn)
        pairs of values of a key that lie in one window
    as_of_join(versions, fn)
        each value with the version of its key that was the latest at its time

`parallelism=` sets the number of subtasks of one operator, `Job(parallelism=)` or `--parallelism` that of all others.
Types follow through the whole chain: `Stream[T]`, `KeyedStream[K, T]`.  `streamlet help NAME` prints the docstring of
each name, with an example.
"""

from datetime import timedelta

import msgspec

from streamlet import Count, Job, Max, Sum
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print


class Order(msgspec.Struct, frozen=True):
    id: int
    shop: str
    day: int
    cents: int


job = Job("shop")
web = job.source(Generator(lambda i: Order(i // 2, "web", i % 3, i % 70), count=99), uid="web")
till = job.source(Generator(lambda i: Order(-i, "till", i % 3, i), count=60), uid="till")

# Two streams become one, and an order that is delivered twice is counted once.  Each step has a uid.
orders = web.union(till, uid="all").deduplicate(lambda order: order.id, ttl=timedelta(hours=1), uid="once")
small, large = orders.split(lambda order: "large" if order.cents > 40 else "small", "small", "large", uid="size")
small.sample(0.1, by=lambda order: order.id, uid="tenth").sink(Print("sample: "), uid="some")

# A key of two fields.  The aggregates are given by name, so that each emitted value is a dict with these names.
by_shop_and_day = large.key_by("shop", "day")
by_shop_and_day.aggregate(
    total=Sum(lambda order: order.cents), largest=Max(lambda order: order.cents), n=Count(), uid="totals"
).sink(Print(), uid="out")
tens = by_shop_and_day.batch(10, within=timedelta(seconds=5), type=Order, uid="tens")
tens.sink(Print("batch: "), uid="batches")

if __name__ == "__main__":
    raise SystemExit(job.run())
