"""Measured, never asserted in time: `python -m tests.benchmarks.spend` and `python -m tests.benchmarks.large_state`."""
