"""Queries over windows: 5, 7, 8, 11, 12."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

import msgspec

from streamlet import Count, SessionWindows, SlidingWindows, Stream, TumblingWindows, Window
from streamlet.aggregates import AggregateFunction
from streamlet.windows import WindowContext, WindowProcessFunction
from tests.benchmarks.nexmark.model import Bid, Person
from tests.benchmarks.nexmark.query import Query, Row, Site

TEN_SECONDS, TWO_SECONDS = timedelta(seconds=10), timedelta(seconds=2)


class HotItem(msgspec.Struct, frozen=True):
    start: int
    auction: int
    bids: int


class Hottest(WindowProcessFunction[int, HotItem, HotItem]):
    """All with the highest number of bids."""

    def process(self, key: int, window: Window, values: list[HotItem], ctx: WindowContext[int]) -> Iterator[HotItem]:
        most = max(item.bids for item in values)
        return (item for item in values if item.bids == most)


def q5(site: Site) -> Stream[HotItem]:
    """The auctions with the most bids in the last ten seconds, every two seconds."""
    counts = (
        site.bids.key_by(lambda b: b.auction, uid="q5-auction")
        .window(SlidingWindows(TEN_SECONDS, TWO_SECONDS))
        .aggregate(Count(), result=lambda auction, window, n: HotItem(window.start, auction, n), uid="q5-counts")
    )
    # A count has the last millisecond of its window as time: all of one window are in one of two seconds.
    by_window = counts.key_by(lambda item: item.start, uid="q5-window").window(TumblingWindows(TWO_SECONDS))
    return by_window.process(Hottest(), type=HotItem, uid="q5")


class Highest(AggregateFunction[Bid, tuple[Bid, ...], tuple[Bid, ...]]):
    """All bids of the highest price."""

    accumulator_type = tuple[Bid, ...]

    def create_accumulator(self) -> tuple[Bid, ...]:
        return ()

    def add(self, accumulator: tuple[Bid, ...], value: Bid) -> tuple[Bid, ...]:
        return self.merge(accumulator, (value,))

    def result(self, accumulator: tuple[Bid, ...]) -> tuple[Bid, ...]:
        return accumulator

    def merge(self, one: tuple[Bid, ...], other: tuple[Bid, ...]) -> tuple[Bid, ...]:
        if not one or not other:
            return one or other
        return one + other if one[0].price == other[0].price else max(one, other, key=lambda bids: bids[0].price)


class HighBid(msgspec.Struct, frozen=True):
    auction: int
    price: int
    bidder: int
    date_time: int
    extra: str


def q7(site: Site) -> Stream[HighBid]:
    """The highest bids of each ten seconds: of each of 32 shares of the bids, and of these."""
    shares = (
        site.bids.key_by(lambda b: b.auction % 32, uid="q7-share")
        .window(TumblingWindows(TEN_SECONDS))
        .aggregate(Highest(), result=lambda _, window, bids: bids, uid="q7-shares")
    )
    highest = (
        shares.flat_map(lambda bids: bids, uid="q7-bids")
        .key_by(lambda b: b.date_time // 10_000, uid="q7-window")
        .window(TumblingWindows(TEN_SECONDS))
        .aggregate(Highest(), result=lambda _, window, bids: bids, uid="q7-highest")
    )
    return highest.flat_map(
        lambda bids: [HighBid(b.auction, b.price, b.bidder, b.date_time, b.extra) for b in bids], uid="q7"
    )


class Newcomer(msgspec.Struct, frozen=True):
    id: int
    name: str
    start: int


def q8(site: Site) -> Stream[Newcomer]:
    """Who registered and opened an auction within the same ten seconds."""
    sellers = (
        site.auctions.key_by(lambda a: a.seller, uid="q8-seller")
        .window(TumblingWindows(TEN_SECONDS))
        .aggregate(Count(), result=lambda seller, _, auctions: seller, uid="q8-sellers")
    )
    return site.persons.key_by(lambda p: p.id, uid="q8-id").window_join(
        sellers.key_by(lambda seller: seller, uid="q8-seller-id"),
        TumblingWindows(TEN_SECONDS),
        lambda person, _, window: Newcomer(person.id, person.name, window.start),
        left_type=Person,
        uid="q8",
    )


class Session(msgspec.Struct, frozen=True):
    bidder: int
    bids: int
    start: int
    end: int


def session(bidder: int, window: Window, bids: int) -> Session:
    return Session(bidder, bids, window.start, window.end)


def q11(site: Site) -> Stream[Session]:
    """How many bids someone made in each session, which ends after ten seconds without one."""
    sessions = site.bids.key_by(lambda b: b.bidder, uid="q11-bidder").window(SessionWindows(TEN_SECONDS))
    return sessions.aggregate(Count(), result=session, uid="q11")


def q12(site: Site) -> Stream[Session]:
    """How many bids of someone were read in each ten seconds of the wall clock.

    These differ from run to run; what must hold is that no window comes twice and that all bids are in one.
    """
    windows = site.bids.key_by(lambda b: b.bidder, uid="q12-bidder").window(
        TumblingWindows(TEN_SECONDS, time="processing")
    )
    return windows.aggregate(Count(), result=session, uid="q12")


def summed(rows: Iterable[Row]) -> Counter[Row]:
    """All windows of a bidder together."""
    totals = Counter[int]()
    windows = set()
    for bidder, bids, start, end in rows:
        assert end == start + 10_000 and start % 10_000 == 0, f"no window: {start} to {end}"
        assert (bidder, start) not in windows, f"bidder {bidder} has two counts of {start}"
        windows.add((bidder, start))
        totals[bidder] += bids
    return Counter(totals.items())


QUERIES = (
    Query(
        q5,
        """
        WITH counts AS (
            SELECT start, auction, count(*) AS bids
            FROM (SELECT auction, dateTime // 2000 * 2000 - unnest([0, 2000, 4000, 6000, 8000]) AS start FROM bid)
            GROUP BY ALL
        )
        SELECT start, auction, bids FROM counts
        QUALIFY bids = max(bids) OVER (PARTITION BY start)
        """,
    ),
    Query(
        q7,
        """
        SELECT auction, price, bidder, dateTime, extra FROM bid
        QUALIFY price = max(price) OVER (PARTITION BY dateTime // 10000)
        """,
    ),
    Query(
        q8,
        """
        SELECT DISTINCT p.id, p.name, p.dateTime // 10000 * 10000
        FROM person p JOIN auction a ON p.id = a.seller AND p.dateTime // 10000 = a.dateTime // 10000
        """,
    ),
    Query(
        q11,
        """
        SELECT bidder, count(*), min(dateTime), max(dateTime) + 10000
        FROM (
            SELECT *, sum(CASE WHEN gap >= 10000 THEN 1 ELSE 0 END) OVER each AS session
            FROM (SELECT *, dateTime - lag(dateTime) OVER each AS gap FROM bid
                  WINDOW each AS (PARTITION BY bidder ORDER BY dateTime, extra))
            WINDOW each AS (PARTITION BY bidder ORDER BY dateTime, extra)
        )
        GROUP BY bidder, session
        """,
    ),
    Query(q12, "SELECT bidder, count(*) FROM bid GROUP BY bidder", summed),
)
