"""The events of Nexmark come in the shares, and with the hot keys, that its description gives."""

from __future__ import annotations

import random

import pytest

from tests.benchmarks.nexmark.generator import HOT_CHANNELS, Nexmark, events
from tests.benchmarks.nexmark.model import Auction, Bid, Person, time_of

COUNT = 50_000


@pytest.fixture(scope="module")
def bids() -> list[Bid]:
    return [event.bid for event in events(Nexmark(), COUNT) if event.bid is not None]


def _about(share: float) -> object:
    """Within four standard deviations of the smallest sample here."""
    return pytest.approx(share, abs=0.04)


def test_of_each_fifty_events_one_is_a_person_three_are_auctions_and_the_rest_bids() -> None:
    kinds = [event.event_type for event in events(Nexmark(), 500)]
    assert kinds == ([0] + [1] * 3 + [2] * 46) * 10


def test_ids_count_from_1000_without_a_gap() -> None:
    made = list(events(Nexmark(), 5000))
    assert [event.person.id for event in made if event.person] == list(range(1000, 1100))
    assert [event.auction.id for event in made if event.auction] == list(range(1000, 1300))


def test_an_event_depends_on_the_seed_and_its_number_alone() -> None:
    straight = list(events(Nexmark(seed=3), 1000))
    numbers = list(range(1000))
    random.Random(1).shuffle(numbers)
    other = Nexmark(seed=3)
    assert {number: other.event(number) for number in numbers} == dict(enumerate(straight))
    assert list(events(Nexmark(seed=4), 1000)) != straight


def test_a_group_is_out_of_order_among_itself_and_nothing_else_changes() -> None:
    ordered, shuffled = list(events(Nexmark(), 900)), list(events(Nexmark(group=30), 900))
    for first in range(0, 900, 30):
        one, other = ordered[first : first + 30], shuffled[first : first + 30]
        assert one != other
        assert sorted(one, key=repr) == sorted(other, key=repr)


def test_times_follow_the_rate() -> None:
    site = Nexmark(events_per_second=100)
    assert [time_of(site.event(number)) - site.start_ms for number in range(5)] == [0, 10, 20, 30, 40]


def test_half_of_the_bids_are_on_the_hot_auction_and_three_quarters_by_the_hot_bidder(bids: list[Bid]) -> None:
    # 100 of the auctions are asked for by the others, so a hundredth of them is hot by chance.
    assert sum(bid.auction % 100 == 0 for bid in bids) / len(bids) == _about(0.505)
    assert sum(bid.bidder % 100 == 1 for bid in bids) / len(bids) == _about(0.75)
    assert sum(bid.channel in HOT_CHANNELS for bid in bids) / len(bids) == _about(0.5)


def test_prices_are_spread_evenly_over_their_orders_of_magnitude(bids: list[Bid]) -> None:
    assert min(bid.price for bid in bids) >= 100 and max(bid.price for bid in bids) <= 100_000_000
    for low, high in ((100, 10_000), (10_000, 1_000_000), (1_000_000, 100_000_001)):
        assert sum(low <= bid.price < high for bid in bids) / len(bids) == _about(1 / 3)


def test_auctions_last_for_about_a_hundred_others() -> None:
    lasting = [one.expires - one.date_time for one in _auctions(events_per_second=10_000)]
    assert min(lasting) >= 1 and max(lasting) <= 334
    assert sum(lasting) / len(lasting) == pytest.approx(167, rel=0.05)


def test_hot_sellers_and_categories() -> None:
    auctions = _auctions()
    assert sum(one.seller % 100 == 0 for one in auctions) / len(auctions) == _about(0.75)
    for category in range(10, 15):
        assert sum(one.category == category for one in auctions) / len(auctions) == _about(0.2)
    assert all(one.reserve > one.initial_bid for one in auctions)


def test_records_are_about_as_large_as_they_should_be() -> None:
    people = [event.person for event in events(Nexmark(), COUNT) if event.person]
    auctions = _auctions()
    assert sum(map(_person_size, people)) / len(people) == pytest.approx(200, rel=0.05)
    assert sum(map(_auction_size, auctions)) / len(auctions) == pytest.approx(500, rel=0.05)


def test_a_channel_has_one_url(bids: list[Bid]) -> None:
    urls: dict[str, str] = {}
    assert all(urls.setdefault(bid.channel, bid.url) == bid.url for bid in bids)
    known = sum("&channel_id=" in url for channel, url in urls.items() if channel not in HOT_CHANNELS)
    assert known / len(urls) == _about(0.9)


def _auctions(events_per_second: int = 10_000) -> list[Auction]:
    return [event.auction for event in events(Nexmark(events_per_second), COUNT) if event.auction]


def _person_size(one: Person) -> int:
    return 8 + sum(map(len, (one.name, one.email_address, one.credit_card, one.city, one.state, one.extra)))


def _auction_size(one: Auction) -> int:
    return 56 + len(one.item_name) + len(one.description) + len(one.extra)
