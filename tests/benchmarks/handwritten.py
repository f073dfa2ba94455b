"""The work of each benchmark as a person writes it by hand, with dicts. WORK in the environment names one."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec
from aiokafka.partitioner import murmur2

from tests.benchmarks.output_topic import PARTITIONS
from tests.benchmarks.payments import LEAST_AMOUNT
from tests.benchmarks.wire_loop import Append, Work, run


class Payment(msgspec.Struct, gc=False):
    user: str
    amount: int


class Account:
    """What is known of one key."""

    __slots__ = ("count", "key", "partition", "total")

    def __init__(self, name: str) -> None:
        self.key = name.encode()
        self.partition = partition_of(self.key)
        self.count = 0
        self.total = 0


_decode = msgspec.json.Decoder(Payment).decode


def partition_of(key: bytes) -> int:
    """As every Java client chooses."""
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)


def now_ms() -> int:
    return int(time.time() * 1000)


def spend() -> Work:
    accounts: dict[str, Account] = {}

    def count(batch: Any, append: Append) -> None:
        decode, now = _decode, now_ms()
        for record in batch:
            payment = decode(record.value)
            account = accounts.get(payment.user)
            if account is None:
                account = accounts[payment.user] = Account(payment.user)
            account.count += 1
            account.total += payment.amount
            key = account.key
            value = b'{"user":"%b","count":%d,"sum":%d}' % (key, account.count, account.total)
            append(account.partition, now, key, value)

    return count


def pass_through() -> Work:
    turn = 0

    def copy(batch: Any, append: Append) -> None:
        nonlocal turn
        turn = (turn + 1) % PARTITIONS
        now, partition = now_ms(), turn
        for record in batch:
            append(partition, now, None, record.value)

    return copy


def parse_map_filter() -> Work:
    places: dict[str, tuple[int, bytes]] = {}

    def select(batch: Any, append: Append) -> None:
        decode, now = _decode, now_ms()
        for record in batch:
            payment = decode(record.value)
            if payment.amount < LEAST_AMOUNT:
                continue
            place = places.get(payment.user)
            if place is None:
                key = payment.user.encode()
                place = places[payment.user] = partition_of(key), key
            partition, key = place
            append(partition, now, key, b'{"user":"%b","cents":%d}' % (key, 100 * payment.amount))

    return select


def word_count() -> Work:
    accounts: dict[str, Account] = {}

    def count(batch: Any, append: Append) -> None:
        now = now_ms()
        for record in batch:
            for word in record.value.decode().split():
                account = accounts.get(word)
                if account is None:
                    account = accounts[word] = Account(word)
                account.count += 1
                key = account.key
                append(account.partition, now, key, b'{"word":"%b","count":%d}' % (key, account.count))

    return count


WORKS = {made.__name__: made for made in (spend, pass_through, parse_map_filter, word_count)}

if __name__ == "__main__":
    run(WORKS[os.environ["WORK"]]())
