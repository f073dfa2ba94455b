"""Queries over several streams: 3, 4, 6, 9, 13, 20."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from streamlet import (
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ListState,
    Mean,
    ProcessContext,
    Stream,
    TimerContext,
    ValueState,
)
from streamlet_connectors.generator import Generator
from tests.benchmarks.nexmark.model import Auction, Bid, Person
from tests.benchmarks.nexmark.query import Query, Site, last_of_each


class Offer(msgspec.Struct, frozen=True):
    name: str
    city: str
    state: str
    auction: int


class LocalOffers(KeyedCoProcessFunction[int, Person, Auction, Offer]):
    """Joins for ever: a person is kept, and so are auctions whose seller has not registered yet."""

    seller = ValueState(Person)
    waiting = ListState(int)

    def process_element1(self, value: Person, ctx: ProcessContext[int]) -> Iterator[Offer]:
        self.seller.update(value)
        for auction in self.waiting.get():
            yield Offer(value.name, value.city, value.state, auction)
        self.waiting.clear()

    def process_element2(self, value: Auction, ctx: ProcessContext[int]) -> Iterator[Offer]:
        if (seller := self.seller.value()) is None:
            self.waiting.add(value.id)
        else:
            yield Offer(seller.name, seller.city, seller.state, value.id)


def q3(site: Site) -> Stream[Offer]:
    """What people of three states sell in one category."""
    sellers = site.persons.filter(lambda p: p.state in ("OR", "ID", "CA"), uid="q3-local")
    auctions = site.auctions.filter(lambda a: a.category == 10, uid="q3-category")
    sold = auctions.key_by(lambda a: a.seller, uid="q3-seller")
    return sellers.key_by(lambda p: p.id, uid="q3-id").connect(sold).process(LocalOffers(), uid="q3")


class Won(msgspec.Struct, frozen=True):
    """An auction, and the bid that won it."""

    auction: int
    seller: int
    category: int
    expires: int
    bidder: int
    price: int
    date_time: int
    extra: str


class Winners(KeyedCoProcessFunction[int, Auction, Bid, Won]):
    """Finds the highest bid of each auction when it expires; of equal prices the first one.

    A bid that comes before its auction is kept until the watermark says that an auction which was open at its time
    cannot come any more; an auction and its best bid until it expires.
    """

    auction = ValueState(Auction)
    best = ValueState(Bid)
    early = ListState(Bid)

    def process_element1(self, value: Auction, ctx: ProcessContext[int]) -> None:
        self.auction.update(value)
        ctx.timers.register_event_time(value.expires)
        for bid in self.early.get():
            self._consider(value, bid)
        self.early.clear()

    def process_element2(self, value: Bid, ctx: ProcessContext[int]) -> None:
        if (auction := self.auction.value()) is not None:
            self._consider(auction, value)
        else:
            self.early.add(value)
            ctx.timers.register_event_time(value.date_time)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterator[Won]:
        auction, best = self.auction.value(), self.best.value()
        if auction is None:
            self.early.update([bid for bid in self.early.get() if bid.date_time > timestamp])
        elif timestamp == auction.expires:
            if best is not None:
                yield Won(
                    ctx.key, auction.seller, auction.category, timestamp,
                    best.bidder, best.price, best.date_time, best.extra,
                )  # fmt: skip
            self.auction.clear()
            self.best.clear()

    def _consider(self, auction: Auction, bid: Bid) -> None:
        if auction.date_time <= bid.date_time <= auction.expires:
            best = self.best.value()
            if best is None or _rank(bid) < _rank(best):
                self.best.update(bid)


def _rank(bid: Bid) -> tuple[int, int, int, str]:
    return -bid.price, bid.date_time, bid.bidder, bid.extra


def winners(site: Site, name: str) -> Stream[Won]:
    """The winning bids, each when its auction expires."""
    bids = site.bids.key_by(lambda b: b.auction, uid=f"{name}-bids")
    return site.auctions.key_by(lambda a: a.id, uid=f"{name}-auctions").connect(bids).process(Winners(), uid=name)


class Average(msgspec.Struct, frozen=True):
    category: int
    price: float


def q4(site: Site) -> Stream[Average]:
    """The average winning price of each category, put out anew with each auction that expires."""
    categories = winners(site, "q4-winners").key_by(lambda won: won.category, uid="q4-category")
    return categories.aggregate(Mean(lambda won: won.price), result=Average, uid="q4")


class SellerAverage(msgspec.Struct, frozen=True):
    seller: int
    auction: int
    price: float


class LastTen(KeyedProcessFunction[int, Won, SellerAverage]):
    """The mean price of a seller's last auctions, in the order in which they expired."""

    expired = ListState(Won)
    prices = ValueState(list[int])

    def process_element(self, value: Won, ctx: ProcessContext[int]) -> None:
        self.expired.add(value)
        ctx.timers.register_event_time(value.expires)

    def on_timer(self, timestamp: int, ctx: TimerContext[int]) -> Iterator[SellerAverage]:
        waiting = self.expired.get()
        self.expired.update([won for won in waiting if won.expires > timestamp])
        prices = self.prices.value() or []
        for won in sorted((one for one in waiting if one.expires <= timestamp), key=lambda one: one.auction):
            prices = [*prices, won.price][-10:]
            yield SellerAverage(ctx.key, won.auction, sum(prices) / len(prices))
        self.prices.update(prices)


def q6(site: Site) -> Stream[SellerAverage]:
    """The average winning price of each seller's last ten auctions, with each that expires."""
    return winners(site, "q6-winners").key_by(lambda won: won.seller, uid="q6-seller").process(LastTen(), uid="q6")


def q9(site: Site) -> Stream[Won]:
    """The winning bid of each auction."""
    return winners(site, "q9")


class SideInput(msgspec.Struct, frozen=True):
    key: int
    value: str


class Enriched(msgspec.Struct, frozen=True):
    auction: int
    bidder: int
    price: int
    date_time: int
    value: str


SIDE_ROWS = 10_000


def q13(site: Site) -> Stream[Enriched]:
    """Bids with a value from a bounded table."""
    rows = Generator(lambda i: SideInput(i, f"value {i * i % 997}"), count=SIDE_ROWS)
    return site.bids.lookup_join(
        site.job.source(rows, uid="q13-rows", parallelism=1),
        lambda bid, row: Enriched(bid.auction, bid.bidder, bid.price, bid.date_time, row.value),
        key=lambda bid: bid.auction % SIDE_ROWS,
        table_key=lambda row: row.key,
        wait_for="end",
        key_type=int,
        table_type=SideInput,
        type=Bid,
        uid="q13",
    )


class Filled(msgspec.Struct, frozen=True):
    """A bid, and the auction that it is for."""

    auction: int
    bidder: int
    price: int
    date_time: int
    extra: str
    item_name: str
    initial_bid: int
    seller: int
    expires: int


class BidsOfCategory(KeyedCoProcessFunction[int, Auction, Bid, Filled]):
    """Joins for ever: an auction is kept, of another category as None; bids wait for it."""

    auction = ValueState(list[Auction])
    waiting = ListState(Bid)

    def process_element1(self, value: Auction, ctx: ProcessContext[int]) -> Iterator[Filled]:
        auctions = [value] if value.category == 10 else []
        self.auction.update(auctions)
        waiting = self.waiting.get()
        self.waiting.clear()
        return (_filled(bid, auction) for bid in waiting for auction in auctions)

    def process_element2(self, value: Bid, ctx: ProcessContext[int]) -> Iterator[Filled] | None:
        if (auctions := self.auction.value()) is None:
            self.waiting.add(value)
            return None
        return (_filled(value, auction) for auction in auctions)


def _filled(bid: Bid, auction: Auction) -> Filled:
    return Filled(
        bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra,
        auction.item_name, auction.initial_bid, auction.seller, auction.expires,
    )  # fmt: skip


def q20(site: Site) -> Stream[Filled]:
    """The bids on auctions of one category, with the auction."""
    bids = site.bids.key_by(lambda b: b.auction, uid="q20-bids")
    return site.auctions.key_by(lambda a: a.id, uid="q20-auctions").connect(bids).process(BidsOfCategory(), uid="q20")


_WINNERS = """
    SELECT a.id, a.seller, a.category, a.expires, b.bidder, b.price, b.dateTime, b.extra
    FROM auction a JOIN bid b ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires
    QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.dateTime, b.bidder, b.extra) = 1
"""

QUERIES = (
    Query(
        q3,
        """
        SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
        WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')
        """,
    ),
    Query(q4, f"SELECT category, sum(price)::DOUBLE / count(*) FROM ({_WINNERS}) GROUP BY category", last_of_each(1)),
    Query(
        q6,
        f"""
        SELECT seller, id, sum(price) OVER last_ten::DOUBLE / count(*) OVER last_ten FROM ({_WINNERS})
        WINDOW last_ten AS (PARTITION BY seller ORDER BY expires, id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)
        """,
    ),
    Query(q9, _WINNERS),
    Query(
        q13,
        f"""
        WITH side_input AS (SELECT i AS key, 'value ' || (i * i % 997) AS value FROM range({SIDE_ROWS}) AS rows(i))
        SELECT auction, bidder, price, dateTime, value FROM bid JOIN side_input ON auction % {SIDE_ROWS} = key
        """,
    ),
    Query(
        q20,
        """
        SELECT b.auction, b.bidder, b.price, b.dateTime, b.extra, a.itemName, a.initialBid, a.seller, a.expires
        FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10
        """,
    ),
)
