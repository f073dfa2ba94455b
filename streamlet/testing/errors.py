"""What the test kit raises on its own account."""

from __future__ import annotations


class ProcessDied(BaseException):
    """The simulated process is gone: whatever it still asks of the simulated world has no effect."""


class SimulationStuck(AssertionError):
    """Nothing can ever happen again, or nothing came to its end in the time that was given."""


class EngineBroke(AssertionError):
    """The engine met an error of its own, which no fault of the simulation explains."""


class OutputDiffers(AssertionError):
    """What a job has put out depends on when it was killed, or on what is another in each run."""
