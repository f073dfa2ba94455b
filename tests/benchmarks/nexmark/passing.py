"""Queries that look at each bid alone: 0, 1, 2, 14, 21, 22."""

from __future__ import annotations

import re
from collections.abc import Iterator

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


class OfChannel(msgspec.Struct, frozen=True):
    auction: int
    bidder: int
    price: int
    channel: str
    channel_id: str


_KNOWN = {"apple": "0", "google": "1", "facebook": "2", "baidu": "3"}
_CHANNEL_ID = re.compile("(?:&|^)channel_id=([^&]*)")


def with_channel_id(bid: Bid) -> Iterator[OfChannel]:
    known = _KNOWN.get(bid.channel.lower())
    if known is None and (found := _CHANNEL_ID.search(bid.url)):
        known = found[1]
    if known is not None:
        yield OfChannel(bid.auction, bid.bidder, bid.price, bid.channel, known)


def q21(site: Site) -> Stream[OfChannel]:
    """Bids with the number of their channel, which most addresses hold."""
    return site.bids.flat_map(with_channel_id, uid="q21")


class Addressed(msgspec.Struct, frozen=True):
    auction: int
    bidder: int
    price: int
    channel: str
    folders: list[str]


def q22(site: Site) -> Stream[Addressed]:
    """Bids with the folders of their address."""
    return site.bids.map(lambda b: Addressed(b.auction, b.bidder, b.price, b.channel, b.url.split("/")[3:6]), uid="q22")


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
    Query(
        q21,
        """
        SELECT auction, bidder, price, channel, CASE lower(channel)
            WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
            ELSE regexp_extract(url, '(&|^)channel_id=([^&]*)', 2) END
        FROM bid
        WHERE regexp_matches(url, '(&|^)channel_id=([^&]*)')
            OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
        """,
    ),
    Query(
        q22,
        """
        SELECT auction, bidder, price, channel, [split_part(url, '/', 4), split_part(url, '/', 5),
            split_part(url, '/', 6)] FROM bid
        """,
    ),
)
