"""Runs benchmarks: `python -m tests.benchmarks [NAME ...] [OPTION ...]`; without a name it lists them.

Options are handed on to each of them (`python -m tests.benchmarks spend --help` shows what there is).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

BENCHMARKS: dict[str, tuple[str, list[str], str]] = {
    "spend": ("throughput", ["spend"], "keyed count and sum, Kafka to Kafka, beside a loop written by hand"),
    "pass_through": ("throughput", ["pass_through"], "records as they are, Kafka to Kafka, beside a loop"),
    "parse_map_filter": ("throughput", ["parse_map_filter"], "stateless work on JSON, Kafka to Kafka, beside a loop"),
    "word_count": ("throughput", ["word_count"], "a fan-out of eight before a keyed count, beside a loop"),
    "checkpoints": ("checkpoints", [], "the keyed count at several checkpoint intervals"),
    "latency": ("latency", [], "from when a record was due to its result, at a fixed rate"),
    "stages": ("stages", [], "CPU of each stage of the keyed count, without Kafka, beside the hand-written work"),
    "stalls": ("stalls", [], "lateness of the event loop while a million keys change"),
    "startup": ("startup", [], "seconds and memory to the first record"),
    "recovery": ("recovery", [], "from kill -9 to new output"),
    "large_state": ("large_state", [], "many more keys than memory"),
    "windows": ("windows", [], "windows and joins beside the running count, without Kafka"),
    "window_keys": ("window_keys", [], "tumbling windows from few to a million keys, beside a loop, without Kafka"),
    "nexmark": (
        "nexmark.__main__",
        [],
        "the queries of Nexmark over an auction site's events, checked against SQL, without Kafka",
    ),
    "asynchronous": ("asynchronous", [], "what an asynchronous call costs"),
    "alignment": ("alignment", [], "how long checkpoints wait for slow functions behind a shuffle"),
    "exchange": ("exchange", [], "what a record costs on its way to another process"),
}
"""Name -> module, its first arguments, what it measures."""


def main(arguments: Sequence[str]) -> int:
    """The command."""
    names = [one for one in arguments if one in BENCHMARKS]
    first_option = next((at for at, one in enumerate(arguments) if one.startswith("-")), len(arguments))
    if not names or first_option != len(names):
        print(__doc__)
        for name, (_, _, what) in BENCHMARKS.items():
            print(f"  {name:18} {what}")
        return 0 if not arguments else 2
    for name in names:
        module, first, _ = BENCHMARKS[name]
        run = importlib.import_module(f"tests.benchmarks.{module}")
        code: int = run.main([*first, *arguments[first_option:]])
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
