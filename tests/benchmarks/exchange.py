"""What a record costs on its way to another process: `python -m tests.benchmarks exchange`.

Two processes and the link between them, as workers have it: one packs and sends batches, the other receives, unpacks
and gives credit.  CPU nanoseconds per record on each side, for some kinds of records.  Figures only: no time is
asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import uvloop

from streamlet.connect import Batch
from streamlet.elements import EndOfInput
from streamlet.operators.user_code.place import Place
from streamlet.runtime.processes.link import Link
from streamlet.runtime.processes.socket_channel import SocketExchange
from streamlet.runtime.task.backlog import Backlog
from streamlet.runtime.task.input_gate import InputGate
from streamlet.runtime.task.placement import ChannelAddress, Placement
from tests.benchmarks.reporting import Report, with_common_options

ADDRESS = ChannelAddress(1, 0, 0, 1)
BOUND_RECORDS = 4000


class Payment(msgspec.Struct, frozen=True, gc=False):
    user: str
    amount: int


def _columns(kind: str, rows: int) -> list[Any]:
    users = [f"user-{number}" for number in range(rows)]
    made: dict[str, list[Any]] = {
        "int": list(range(rows)),
        "str": users,
        "struct": [Payment(user, number) for number, user in enumerate(users)],
        "dict": [{"user": user, "amount": number} for number, user in enumerate(users)],
        "tuple": [(user, number) for number, user in enumerate(users)],
    }
    return made[kind]


KINDS = ("int", "str", "struct", "dict", "tuple")


async def send(end: socket.socket, kind: str, rows: int, records: int) -> None:
    """The sending worker."""
    exchange = SocketExchange(Placement(2, 0), {1: await Link.over(end)})
    sender = exchange.sender(ADDRESS, BOUND_RECORDS, Place("exchange.py", 1, "sink", "out"))
    carrying = asyncio.create_task(exchange.run())
    values, keys, times = (
        _columns(kind, rows),
        _columns("str", rows),
        list(range(1_700_000_000_000, 1_700_000_000_000 + rows)),
    )
    roomy = asyncio.Event()
    for _ in range(records // rows):
        while not sender.backlog.has_room(0):
            roomy.clear()
            sender.backlog.wake_when_roomy(0, roomy.set)
            await roomy.wait()
        sender.send(Batch(values, times, keys))
    sender.send(EndOfInput())
    await carrying


async def receive(end: socket.socket) -> int:
    """The receiving worker; gives how many records came."""
    exchange = SocketExchange(Placement(2, 1), {0: await Link.over(end)})
    gate = InputGate(Backlog(BOUND_RECORDS), ["in"])
    exchange.receiver(ADDRESS, gate)
    carrying = asyncio.create_task(exchange.run())
    count = 0
    gate.backlog.begin(0.0)
    gate.backlog.done(1e-6, 1, 1e-6)
    while not isinstance(element := await gate.next(), EndOfInput):
        count += len(element) if isinstance(element, Batch) else 0
        await asyncio.sleep(0)
    carrying.cancel()
    await asyncio.wait([carrying])
    await exchange.close()
    return count


def one_run(kind: str, rows: int, records: int) -> tuple[float, float, float]:
    """CPU ns per record of sender and receiver, and records per second over the link."""
    mine, theirs = socket.socketpair()
    began = time.monotonic()
    child = os.fork()  # before any event loop
    if child == 0:
        theirs.close()
        uvloop.run(send(mine, kind, rows, records))
        os._exit(0)
    mine.close()
    before = time.process_time()
    count = uvloop.run(receive(theirs))
    receiving = time.process_time() - before
    _, status, usage = os.wait4(child, 0)
    assert status == 0, f"the sender ended with {status}"
    seconds = time.monotonic() - began
    return (usage.ru_utime + usage.ru_stime) / count * 1e9, receiving / count * 1e9, count / seconds


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks exchange", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, nargs="*", default=[100, 250, 500, 1000], help="records of a batch")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    options = with_common_options(parser, rounds=1).parse_args(arguments)
    report = Report("exchange", options.json)
    for number in range(options.rounds):
        for kind in options.kinds:
            for rows in options.rows:
                sending, receiving, rate = one_run(kind, rows, options.records)
                figures = {
                    "sender_ns": round(sending),
                    "receiver_ns": round(receiving),
                    "records_per_second": round(rate),
                }
                report.add(f"{kind}, {rows} in a batch", number, figures)
    print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
