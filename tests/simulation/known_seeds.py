"""Seeds that once found something, run by every test run for ever.

They stand for other runs whenever the generator changes, so what one found in the engine also has a test that pins it.
"""

from __future__ import annotations

KNOWN_SEEDS = (
    16,
    82,
    118,
    178,
    214,
    340,
    3210,
    5524,
    6384,
    6819,
    8203,
    11679,
    14895,
    15399,
    20569,
    30542,
    32033,
    36155,
    65611,
)
