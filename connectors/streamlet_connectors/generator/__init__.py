"""A source that makes its own records, for examples, tests and load."""

from streamlet_connectors.generator.source import Generator

__all__ = ["Generator"]
