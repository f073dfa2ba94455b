"""The events of Nexmark, each a function of the seed and its number alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.benchmarks.nexmark.model import Auction, Bid, Event, Person

PERSONS, AUCTIONS, BIDS = 1, 3, 46
EPOCH = PERSONS + AUCTIONS + BIDS
"""Of so many events in a row these many are of each kind, in this order."""
FIRST_ID, FIRST_CATEGORY, CATEGORIES = 1000, 10, 5
ACTIVE_PERSONS, PERSON_LEADS = 1000, 10
AUCTIONS_IN_FLIGHT, AUCTION_LEADS = 100, 10
"""Ids are drawn from the last so many, and from the next ones: what is referred to may come later."""
HOT = 100
"""Each so many-th person and auction is a hot one, the latest of them most asked for."""
CHANNELS = 10_000
SHUFFLE = 953
"""A prime, so that it reorders any group that is no multiple of it."""
START_MS = 1_436_918_400_000
TEXT_LENGTH = 1 << 16

FIRST_NAMES = ("Ada", "Bela", "Chen", "Dora", "Emil", "Fatma", "Goran", "Hana", "Ines", "Jan", "Kofi")
LAST_NAMES = ("Adler", "Bianchi", "Costa", "Dubois", "Eriksen", "Fischer", "Grant", "Haddad", "Ito")
CITIES = (
    "Phoenix", "Tucson", "Fresno", "Oakland", "Boise", "Eugene", "Salem", "Spokane", "Tacoma", "Laramie",
)  # fmt: skip
STATES = ("AZ", "CA", "ID", "OR", "WA", "WY")
HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")


@dataclass(frozen=True)
class Nexmark:
    """The site's history.

    `events_per_second` is the distance of the times in the events.  Events come in order; with a `group` above 1 those
    of each so many are out of order among themselves.
    """

    events_per_second: int = 10_000
    seed: int = 1
    group: int = 1
    start_ms: int = START_MS
    _random: random.Random = field(default_factory=random.Random, repr=False)
    _urls: dict[int, str] = field(default_factory=dict, repr=False)
    _texts: dict[str, str] = field(default_factory=dict, repr=False)

    def event(self, number: int) -> Event:
        """The event that comes at this place, from 0 on."""
        group = self.group
        number = number // group * group + number * SHUFFLE % group
        self._random.seed(self.seed << 48 | number)
        kind = number % EPOCH
        if kind < PERSONS:
            return Event(0, person=self._person(number))
        if kind < PERSONS + AUCTIONS:
            return Event(1, auction=self._auction(number))
        return Event(2, bid=self._bid(number))

    def time(self, number: int) -> int:
        """When event `number` happened, epoch ms."""
        return self.start_ms + number * 1000 // self.events_per_second

    def _person(self, number: int) -> Person:
        name = f"{self._one_of(FIRST_NAMES)} {self._one_of(LAST_NAMES)}"
        address = f"{self._word(7)}@{self._word(5)}.com"
        card = " ".join(f"{self._below(10_000):04}" for _ in range(4))
        city, state = self._one_of(CITIES), self._one_of(STATES)
        size = 8 + len(name) + len(address) + len(card) + len(city) + len(state)
        known = FIRST_ID + _last_person(number)
        return Person(known, name, address, card, city, state, self.time(number), self._padding(size, 200))

    def _auction(self, number: int) -> Auction:
        seller = self._a_person(number, hot=0)
        item, description = self._word(20), self._word(100)
        price = self._price()
        # As long as a hundred more auctions take to come, on the average.
        horizon = self.time(number + AUCTIONS_IN_FLIGHT * EPOCH // AUCTIONS) - self.time(number)
        at = self.time(number)
        return Auction(
            FIRST_ID + _last_auction(number),
            item,
            description,
            price,
            price + self._price(),
            at,
            at + 1 + self._below(max(2 * horizon, 1)),
            seller,
            FIRST_CATEGORY + self._below(CATEGORIES),
            self._padding(56 + len(item) + len(description), 500),
        )

    def _bid(self, number: int) -> Bid:
        last = _last_auction(number)
        if self._chance() < 1 / 2:
            auction = last // HOT * HOT
        else:
            least = max(last - AUCTIONS_IN_FLIGHT, 0)
            auction = least + self._below(last + AUCTION_LEADS + 1 - least)
        bidder, price = self._a_person(number, hot=1), self._price()
        if self._chance() < 1 / 2:
            channel = self._one_of(HOT_CHANNELS)
            url = self._url(-1 - HOT_CHANNELS.index(channel))
        else:
            one = self._below(CHANNELS)
            channel, url = f"channel-{one}", self._url(one)
        return Bid(FIRST_ID + auction, bidder, price, channel, url, self.time(number), self._padding(32, 100))

    def _a_person(self, number: int, *, hot: int) -> int:
        last = _last_person(number)
        if self._chance() < 3 / 4:
            return FIRST_ID + last // HOT * HOT + hot
        active = min(last + 1, ACTIVE_PERSONS)
        return FIRST_ID + last + 1 - active + self._below(active + PERSON_LEADS)

    def _price(self) -> int:
        return round(10 ** (6 * self._chance()) * 100)

    def _url(self, channel: int) -> str:
        """That of a channel, always the same one; hot channels have numbers below 0."""
        if channel not in self._urls:
            pick = random.Random(f"{self.seed} {channel}")
            text = self._text("_")
            starts = [pick.randrange(TEXT_LENGTH - 5) for _ in range(3)]
            path = "/".join(text[start : start + pick.randint(3, 4)] for start in starts)
            known = f"&channel_id={_reversed_bits(channel)}" if channel >= 0 and pick.random() < 0.9 else ""
            self._urls[channel] = f"https://www.nexmark.com/{path}/item.htm?query=1{known}"
        return self._urls[channel]

    def _padding(self, size: int, wanted: int) -> str:
        """What brings a record of this size to about the one wanted, 20 % more or less."""
        lacks = wanted - size
        return self._cut(int(lacks * (0.8 + 0.4 * self._chance()))) if lacks > 0 else ""

    def _word(self, most: int) -> str:
        return self._cut(3 + self._below(most - 3)).strip()

    def _cut(self, length: int) -> str:
        start = self._below(TEXT_LENGTH - length)
        return self._text(" ")[start : start + length]

    def _text(self, gap: str) -> str:
        """Random letters, one of 13 is a gap: all texts are cut out of it, which is much quicker than to make each."""
        if gap not in self._texts:
            letters = "abcdefghijklmnopqrstuvwxyz"
            pick = random.Random(f"{self.seed} {gap}")
            self._texts[gap] = "".join(
                gap if pick.random() < 1 / 13 else pick.choice(letters) for _ in range(TEXT_LENGTH)
            )
        return self._texts[gap]

    def _chance(self) -> float:
        return self._random.random()

    def _below(self, end: int) -> int:
        return int(self._random.random() * end)

    def _one_of(self, some: tuple[str, ...]) -> str:
        return some[self._below(len(some))]


def _last_person(number: int) -> int:
    """The newest person at an event, counted from 0."""
    return number // EPOCH * PERSONS


def _last_auction(number: int) -> int:
    """The newest auction at an event, counted from 0; before the first one -1."""
    epoch, kind = divmod(number, EPOCH)
    if kind < PERSONS:
        return epoch * AUCTIONS - 1
    return epoch * AUCTIONS + min(kind - PERSONS, AUCTIONS - 1)


def _reversed_bits(number: int) -> int:
    """The bits of a number of 32 in the other order, as a signed one without its sign."""
    turned = int(f"{number:032b}"[::-1], 2)
    return turned if turned < 1 << 31 else (1 << 32) - turned


def write(folder: Path, nexmark: Nexmark, count: int, splits: int = 4) -> None:
    """Writes the first `count` events as JSON lines, in turn to each of the files `events-0.jsonl`, ..."""
    encode = msgspec.json.Encoder().encode
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"events-{split}.jsonl").open("wb")) for split in range(splits)]
        for number in range(count):
            file = files[number % splits]
            file.write(encode(nexmark.event(number)) + b"\n")


def events(nexmark: Nexmark, count: int) -> Iterator[Event]:
    """The first `count` events."""
    return map(nexmark.event, range(count))
