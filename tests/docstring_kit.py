"""The names that the examples in docstrings share; each example has a job of its own.

`numbers` emits 1, 2, 3, 4.  `payments` emits three values of `Payment(user, amount, at)` with `at` as event time, and
`by_user` is `payments` with the user as key.  `refunds` has another payment of a user, keyed the same.  `minutes` is
`by_user` cut into minutes.
"""

from __future__ import annotations

import doctest
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec

import streamlet
import streamlet.aggregates
import streamlet.testing
import streamlet.windows
from streamlet import Job, TumblingWindows, WatermarkStrategy
from streamlet.testing.streams import Values, emitted
from streamlet_connectors.print import Print


class Payment(msgspec.Struct, frozen=True):
    user: str
    amount: int
    at: int


ALL_PAYMENTS = (Payment("ann", 5, 1_000), Payment("bob", 7, 2_000), Payment("ann", 9, 62_000))


def names_for(text: str) -> dict[str, Any]:
    """All public names, and the shared ones that an example in this docstring uses: a source that nothing reads is none
    of its job."""
    text = "".join(example.source for example in doctest.DocTestParser().get_examples(text))
    job = Job("example")
    times: WatermarkStrategy[Payment] = WatermarkStrategy.monotonic().with_timestamps(lambda payment: payment.at)
    made: dict[str, Any] = {}

    def make(name: str) -> Any:
        if name not in made:
            made[name] = lazily[name]()
        return made[name]

    lazily: dict[str, Callable[[], Any]] = {
        "numbers": lambda: job.source(Values([1, 2, 3, 4]), uid="numbers"),
        "payments": lambda: job.source(Values(ALL_PAYMENTS), watermarks=times, uid="payments"),
        "refunds": lambda: job.source(Values([Payment("ann", 5, 3_000)]), watermarks=times, uid="refunds").key_by(
            lambda refund: refund.user
        ),
        "by_user": lambda: make("payments").key_by(lambda payment: payment.user),
        "minutes": lambda: make("by_user").window(TumblingWindows(timedelta(minutes=1))),
    }
    for name in lazily:
        if re.search(rf"\b{name}\b(?!=)", text):
            make(name)
    public = [streamlet, streamlet.windows, streamlet.aggregates, streamlet.testing]
    return {
        **{name: getattr(module, name) for module in public for name in module.__all__},
        "Payment": Payment, "Print": Print, "Values": Values, "emitted": emitted, "job": job, "timedelta": timedelta,
        **made,
    }  # fmt: skip


def failures(name: str, text: str, globs: dict[str, Any]) -> str:
    """What doctest says of the examples in a docstring; empty when all give what stands there."""
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "example", **globs}, name, name, 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    return "".join(said)
