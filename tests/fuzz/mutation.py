"""Bytes that are nearly right: far more of them get past the first check than of random ones."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

_TELLING = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff", b"\n", b'"', b"[", b"{")


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Changes a seed in one to eight places, or gives something that has nothing to do with it."""
    if random.random() < 0.05:
        return random.randbytes(random.randrange(200))
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(data) + 1)
        size = random.choice((1, 1, 2, 4, 8, 30))
        match random.randrange(6):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << random.randrange(8)
            case 1:
                data[at : at + size] = random.randbytes(size)
            case 2:
                data[at : at + size] = b""
            case 3:
                data[at:at] = data[at : at + size] * random.choice((1, 2, 50))
            case 4:
                telling = random.choice(_TELLING)
                data[at : at + len(telling)] = telling
            case _:
                other = random.choice(seeds)
                data[at:] = other[random.randrange(len(other) + 1) :]
    return bytes(data)
