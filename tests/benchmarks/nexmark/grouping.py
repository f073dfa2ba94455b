"""Queries over all of a key so far, whose results are updated: 15 to 19."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TypeVar

import msgspec

from streamlet import Count, KeyedProcessFunction, MapState, Max, Mean, Min, ProcessContext, Stream, Sum, ValueState
from streamlet.aggregates import TopK
from tests.benchmarks.nexmark.model import DAY, MINUTE, Bid
from tests.benchmarks.nexmark.query import Query, Site, last_of_each

K = TypeVar("K", bound=Hashable)

CHEAP, DEAR = 10_000, 1_000_000
"""Prices below the one, up to the other, and from there on."""


Ranked = tuple[int, int, int, int]
"""How many in all, and of each rank of price."""


class Counts(msgspec.Struct, frozen=True):
    latest: int
    """The time of the latest bid."""
    bids: Ranked
    bidders: Ranked
    auctions: Ranked


_NONE = Counts(0, *[(0, 0, 0, 0)] * 3)


class Counting(KeyedProcessFunction[K, Bid, tuple[K, Counts]]):
    """Counts bids, and different bidders and auctions: of each it is kept in which ranks it was seen."""

    counts = ValueState(Counts)
    bidders = MapState(int, int)
    auctions = MapState(int, int)

    def process_element(self, value: Bid, ctx: ProcessContext[K]) -> Iterator[tuple[K, Counts]]:
        rank = 1 if value.price < CHEAP else 2 if value.price < DEAR else 3
        seen = 1 | 1 << rank
        bidder = self.bidders.get(value.bidder) or 0
        auction = self.auctions.get(value.auction) or 0
        if bidder | seen != bidder:
            self.bidders.put(value.bidder, bidder | seen)
        if auction | seen != auction:
            self.auctions.put(value.auction, auction | seen)
        before = self.counts.value() or _NONE
        counts = Counts(
            max(before.latest, value.date_time),
            _added(before.bids, seen),
            _added(before.bidders, seen & ~bidder),
            _added(before.auctions, seen & ~auction),
        )
        self.counts.update(counts)
        yield ctx.key, counts


def _added(counts: Ranked, bits: int) -> Ranked:
    every, cheap, middle, dear = counts
    return every + (bits & 1), cheap + (bits >> 1 & 1), middle + (bits >> 2 & 1), dear + (bits >> 3 & 1)


class OfDay(msgspec.Struct, frozen=True):
    day: int
    bids: Ranked
    bidders: Ranked
    auctions: Ranked


def q15(site: Site) -> Stream[OfDay]:
    """Per day the number of bids, bidders and auctions, in all and by rank of price; updated with each bid."""
    counts = site.bids.key_by(lambda b: b.date_time // DAY, uid="q15-day").process(Counting[int](), uid="q15-counts")
    return counts.map(lambda one: OfDay(one[0], one[1].bids, one[1].bidders, one[1].auctions), uid="q15")


class OfChannel(msgspec.Struct, frozen=True):
    channel: str
    day: int
    minute: int
    """The latest minute of the day with a bid."""
    bids: Ranked
    bidders: Ranked
    auctions: Ranked


def of_channel(found: tuple[tuple[str, int], Counts]) -> OfChannel:
    (channel, day), counts = found
    return OfChannel(channel, day, counts.latest % DAY // MINUTE, counts.bids, counts.bidders, counts.auctions)


def q16(site: Site) -> Stream[OfChannel]:
    """The same per channel and day; updated with each bid."""
    channels = site.bids.key_by(lambda b: (b.channel, b.date_time // DAY), uid="q16-channel")
    return channels.process(Counting[tuple[str, int]](), uid="q16-counts").map(of_channel, uid="q16")


class Bidding(msgspec.Struct, frozen=True):
    """What was bid on an auction on a day."""

    auction: int
    day: int
    bids: int
    cheap: int
    middle: int
    dear: int
    least: int
    most: int
    average: float
    total: int


def q17(site: Site) -> Stream[Bidding]:
    """Per auction and day numbers and figures of its bids; updated with each bid."""
    return site.bids.key_by(lambda b: (b.auction, b.date_time // DAY), uid="q17-auction").aggregate(
        Count(),
        Sum(lambda b: int(b.price < CHEAP)),
        Sum(lambda b: int(CHEAP <= b.price < DEAR)),
        Sum(lambda b: int(b.price >= DEAR)),
        Min(lambda b: b.price),
        Max(lambda b: b.price),
        Mean(lambda b: b.price),
        Sum(lambda b: b.price),
        result=lambda key, *figures: Bidding(*key, *figures),
        uid="q17",
    )


def q18(site: Site) -> Stream[Bid]:
    """The last bid of each bidder on each auction, of those of one moment the highest; updated with each bid."""
    bids = site.bids.key_by(lambda b: (b.bidder, b.auction), uid="q18-bidder")
    return bids.reduce(lambda last, bid: max(last, bid, key=_recency), type=Bid, uid="q18")


def _recency(bid: Bid) -> tuple[int, int, str]:
    return bid.date_time, bid.price, bid.extra


class Top(msgspec.Struct, frozen=True):
    """Price, bidder and time of the highest bids on an auction."""

    auction: int
    bids: list[tuple[int, int, int]]


def q19(site: Site) -> Stream[Top]:
    """The ten highest bids on each auction, of equal prices the first ones; updated with each bid."""
    return site.bids.key_by(lambda b: b.auction, uid="q19-auction").aggregate(
        TopK(10, by=_worth, type=Bid),
        result=lambda auction, bids: Top(auction, [(b.price, b.bidder, b.date_time) for b in bids]),
        uid="q19",
    )


def _worth(bid: Bid) -> tuple[int, int, int]:
    return bid.price, -bid.date_time, -bid.bidder


def _ranks(what: str) -> str:
    """Four columns' worth of a count, as a list."""
    ranks = (f"price < {CHEAP}", f"price >= {CHEAP} AND price < {DEAR}", f"price >= {DEAR}")
    return f"[count({what}), " + ", ".join(f"count({what}) FILTER ({rank})" for rank in ranks) + "]"


QUERIES = (
    Query(
        q15,
        f"""
        SELECT dateTime // {DAY} AS day,
            {_ranks("*")}, {_ranks("DISTINCT bidder")}, {_ranks("DISTINCT auction")}
        FROM bid GROUP BY day
        """,
        last_of_each(1),
    ),
    Query(
        q16,
        f"""
        SELECT channel, dateTime // {DAY} AS day, max(dateTime) % {DAY} // {MINUTE},
            {_ranks("*")}, {_ranks("DISTINCT bidder")}, {_ranks("DISTINCT auction")}
        FROM bid GROUP BY channel, day
        """,
        last_of_each(2),
    ),
    Query(
        q17,
        f"""
        SELECT auction, dateTime // {DAY} AS day, count(*), count(*) FILTER (price < {CHEAP}),
            count(*) FILTER (price >= {CHEAP} AND price < {DEAR}), count(*) FILTER (price >= {DEAR}),
            min(price), max(price), sum(price)::DOUBLE / count(*), sum(price)
        FROM bid GROUP BY auction, day
        """,
        last_of_each(2),
    ),
    Query(
        q18,
        """
        SELECT auction, bidder, price, channel, url, dateTime, extra FROM bid
        QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC, price DESC, extra DESC) = 1
        """,
        last_of_each(2),
    ),
    Query(
        q19,
        """
        SELECT auction, list([price, bidder, dateTime] ORDER BY price DESC, dateTime, bidder)
        FROM (SELECT * FROM bid QUALIFY
            row_number() OVER (PARTITION BY auction ORDER BY price DESC, dateTime, bidder) <= 10)
        GROUP BY auction
        """,
        last_of_each(1),
    ),
)
