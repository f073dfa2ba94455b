"""What DuckDB says of the same events, and what a job wrote."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb

from tests.benchmarks.nexmark.query import Query, Row
from tests.recovery.part_files import part_files

_TABLES = {"person": "0", "auction": "1", "bid": "2"}


class WrongResult(AssertionError):
    """A query's result is not that of SQL."""


class Oracle:
    """The tables of SQL over the files that jobs read."""

    def __init__(self, inputs: Path) -> None:
        self._tables = duckdb.connect()
        columns = """{
            event_type: 'INT',
            person: 'STRUCT(id BIGINT, name VARCHAR, city VARCHAR, state VARCHAR, dateTime BIGINT)',
            auction: 'STRUCT(id BIGINT, itemName VARCHAR, initialBid BIGINT, dateTime BIGINT, expires BIGINT,
                seller BIGINT, category BIGINT)',
            bid: 'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, dateTime BIGINT,
                extra VARCHAR)'
        }""".replace("event_type", "eventType")
        source = f"read_json('{inputs}/events-*.jsonl', format='newline_delimited', columns={columns})"
        for name, kind in _TABLES.items():
            self._tables.execute(f"CREATE TABLE {name} AS SELECT unnest({name}) FROM {source} WHERE eventType = {kind}")

    def close(self) -> None:
        self._tables.close()

    def rows(self, query: Query) -> Counter[Row]:
        """The result of the query in SQL."""
        return Counter(_plain(row) for row in self._tables.execute(query.sql).fetchall())

    def check(self, query: Query, out: Path) -> int:
        """Compares what a job wrote into a folder; gives the number of rows of the result, and raises `WrongResult`."""
        wanted, found = self.rows(query), query.means(written(out))
        if wanted != found:
            lacks, has = wanted - found, found - wanted
            raise WrongResult(
                f"{query.name}: {lacks.total()} rows of {wanted.total()} are missing, such as {_some(lacks)}; "
                f"{has.total()} should not be there, such as {_some(has)}"
            )
        return wanted.total()


def written(out: Path) -> list[Row]:
    """The rows in a sink's folder, in the order of checkpoints."""
    lines = (line for path in part_files(out) for line in path.read_bytes().splitlines())
    return [_plain(json.loads(line).values()) for line in lines]


def _plain(row: Any) -> Any:
    """Tuples for lists, all the way down, so that rows can be counted."""
    return tuple(_plain(one) if isinstance(one, list | tuple) else one for one in row)


def _some(rows: Counter[Row]) -> str:
    return ", ".join(f"{row!r:.300}" for row in sorted(rows, key=repr)[:3]) or "none"
