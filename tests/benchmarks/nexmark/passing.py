"""Queries that look at each bid alone: 0, 1, 2, 14."""

from __future__ import annotations

import msgspec

from streamlet import Stream
from tests.benchmarks.nexmark.model import Bid
from tests.benchmarks.nexmark.query import Query, Site


def q0(site: Site) -> Stream[Bid]:
    """Every bid as it came."""
    return site.bids


class Converted(msgspec.Struct, frozen=True):
    auction: int
    bidder: int
    price: float
    date_time: int
    extra: str


def q1(site: Site) -> Stream[Converted]:
    """Prices in another currency."""
    return site.bids.map(lambda b: Converted(b.auction, b.bidder, 0.908 * b.price, b.date_time, b.extra), uid="q1")


class Priced(msgspec.Struct, frozen=True):
    auction: int
    price: int


def q2(site: Site) -> Stream[Priced]:
    """The bids on some auctions."""
    chosen = site.bids.filter(lambda b: b.auction % 123 == 0, uid="q2-chosen")
    return chosen.map(lambda b: Priced(b.auction, b.price), uid="q2")


class Classified(msgspec.Struct, frozen=True):
    auction: int
    bidder: int
    price: float
    time: str
    date_time: int
    extra: str
    c_count: int


def classified(bid: Bid) -> Classified:
    hour = bid.date_time // 3_600_000 % 24
    time = "day" if 8 <= hour <= 18 else "night" if hour <= 6 or hour >= 20 else "other"
    return Classified(bid.auction, bid.bidder, 0.908 * bid.price, time, bid.date_time, bid.extra, bid.extra.count("c"))


def q14(site: Site) -> Stream[Classified]:
    """Bids of a middle price, with the time of day and a count of letters."""
    return site.bids.filter(lambda b: 1e6 < 0.908 * b.price < 5e7, uid="q14-middle").map(classified, uid="q14")


QUERIES = (
    Query(q0, "SELECT auction, bidder, price, channel, url, dateTime, extra FROM bid"),
    Query(q1, "SELECT auction, bidder, 0.908::DOUBLE * price, dateTime, extra FROM bid"),
    Query(q2, "SELECT auction, price FROM bid WHERE auction % 123 = 0"),
    Query(
        q14,
        """
        SELECT auction, bidder, 0.908::DOUBLE * price AS euros,
            CASE WHEN hour BETWEEN 8 AND 18 THEN 'day' WHEN hour <= 6 OR hour >= 20 THEN 'night' ELSE 'other' END,
            dateTime, extra, len(extra) - len(replace(extra, 'c', ''))
        FROM (SELECT *, dateTime // 3600000 % 24 AS hour FROM bid)
        WHERE euros > 1000000 AND euros < 50000000
        """,
    ),
)
