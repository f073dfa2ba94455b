"""The law of what a run says: whatever a test makes it say is short, names the user's line, and says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

MOST_LINES = 15
_BEGINNING = re.compile(r"(?:warning: |streamlet: |restart \d+ in |(?:still )?stopping |[\w.-]+: (?:warning: )?)")
_LINE = re.compile(r"\S.*?\.py:\d+")
_REMEDY = re.compile(r"\n +-> ")
_OF_NO_LINE = re.compile(
    r"checkpoint |there is no checkpoint|no checkpoint was completed|--from |the job in |this job has run|committing |"
    r"the job has no exactly-once sink|\S+ cannot be locked|\S+ is (?:a [a-z ]+)?of format "
)
"""Errors of what lies in the state directory, and of what the command line asks for."""


def messages(said: str) -> Iterator[list[str]]:
    """The messages of a run, each by its lines."""
    message: list[str] = []
    for line in said.splitlines():
        if _BEGINNING.match(line) and message:
            yield message
            message = []
        message.append(line)
    if message:
        yield message


def require_good_words(said: str) -> None:
    """Fails for a message that is too long, and for an error that ends a run and lacks its line or its remedy."""
    found = list(messages(said))
    for message in found:
        assert len(message) <= MOST_LINES, "too long a message:\n" + "\n".join(message)
    errors = [one for one, following in pairwise(found) if " suspended" in following[0]]
    for error in [*errors, *(one for one in found if one[0].startswith("streamlet: "))]:
        text = "\n".join(error)
        assert _REMEDY.search(text), f"an error without a remedy:\n{text}"
        words = text.partition(": ")[2]
        if error in errors:
            assert _LINE.match(words) or _OF_NO_LINE.match(words), f"an error without the user's line:\n{text}"
