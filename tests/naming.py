"""Names of parametrized tests."""

from __future__ import annotations


def shown(value: object) -> str | None:
    """The value as Python writes it, or no name of its own where that has an address: workers must agree on names."""
    text = repr(value)
    return None if " at 0x" in text else text
