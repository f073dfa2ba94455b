"""What a query is here: a job's part in the DSL, and what its result must be, in SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

from streamlet import Job, Stream
from tests.benchmarks.nexmark.model import Auction, Bid, Event, Person

Row = tuple[Any, ...]
Meaning = Callable[[Iterable[Row]], Counter[Row]]
"""Which rows an output means."""


class Site:
    """The streams that queries begin with, each made when it is first asked for."""

    def __init__(self, job: Job, events: Stream[Event]) -> None:
        self.job = job
        self._of_kind = events.split(_kind, *_KINDS, uid="kinds")

    @cached_property
    def persons(self) -> Stream[Person]:
        return self._of_kind[0].map(attrgetter("person"), uid="persons")

    @cached_property
    def auctions(self) -> Stream[Auction]:
        return self._of_kind[1].map(attrgetter("auction"), uid="auctions")

    @cached_property
    def bids(self) -> Stream[Bid]:
        return self._of_kind[2].map(attrgetter("bid"), uid="bids")


_KINDS = ("person", "auction", "bid")


def _kind(event: Event) -> str:
    return _KINDS[event.event_type]


@dataclass(frozen=True)
class Query:
    """One query: `build` adds its operators to a job, with uids that begin with its name."""

    build: Callable[[Site], Stream[Any]]
    sql: str
    """Over the tables person, auction and bid; columns in the order of the fields of what the stream emits."""
    means: Meaning = Counter

    @property
    def name(self) -> str:
        return self.build.__name__


def last_of_each(columns: int) -> Meaning:
    """For results that are updated: of the rows with equal first columns the last one counts."""

    def means(rows: Iterable[Row]) -> Counter[Row]:
        return Counter({row[:columns]: row for row in rows}.values())

    return means
