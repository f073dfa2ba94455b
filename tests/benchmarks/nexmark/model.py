"""What happens on the auction site: people register, open auctions, and bid. Times are epoch ms."""

from __future__ import annotations

import msgspec

MINUTE, DAY = 60_000, 86_400_000


class Person(msgspec.Struct, frozen=True, rename="camel"):
    id: int
    name: str
    email_address: str
    credit_card: str
    city: str
    state: str
    date_time: int
    extra: str


class Auction(msgspec.Struct, frozen=True, rename="camel"):
    id: int
    item_name: str
    description: str
    initial_bid: int
    reserve: int
    date_time: int
    expires: int
    seller: int
    category: int
    extra: str


class Bid(msgspec.Struct, frozen=True, rename="camel"):
    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    date_time: int
    extra: str


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One line of the input: one of the three, and which."""

    event_type: int
    person: Person | None = None
    auction: Auction | None = None
    bid: Bid | None = None


def time_of(event: Event) -> int:
    """When it happened."""
    happened = event.bid or event.auction or event.person
    assert happened is not None, "an event says what happened"
    return happened.date_time
