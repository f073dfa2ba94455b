"""What the test kit raises on its own account."""

from __future__ import annotations


class ProcessDied(BaseException):
    """The simulated process is gone: whatever it still asks of the simulated world has no effect."""


class SimulationStuck(AssertionError):
    """Nothing can ever happen again, or nothing came to its end in the time that was given."""
