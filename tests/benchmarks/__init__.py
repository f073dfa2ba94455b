"""Measured, never asserted in time: `python -m tests.benchmarks` lists what there is."""
