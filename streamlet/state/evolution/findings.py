"""What a start says of each state, source and sink of a checkpoint: kept, new, upgraded, dropped or refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from streamlet.errors import StateRefusedError

Verdict = Literal["kept", "new", "upgraded", "dropped", "refused"]
_SHOWN = 3
"""Edits that are shown; the others are counted."""
_SHOWN_OF_ONE = 2
"""What is shown of all that one edit mends."""


class Finding(msgspec.Struct, frozen=True):
    """One line of the plan against a checkpoint."""

    verdict: Verdict
    kind: Literal["state", "source", "sink", "operator"]
    uid: str
    name: str = ""
    """Of the state; empty for others."""
    path: str = ""
    """The field, part or setting inside it."""
    what: str = ""
    """What has changed; for a refusal why."""
    remedy: str = ""
    """For a refusal: the edit or option with which it goes on."""
    place: str = ""
    """The line of the step, where the job has it."""

    @property
    def address(self) -> str:
        """What the options of the command line call it: `uid.state.field`."""
        return ".".join(filter(None, (self.uid, self.name, self.path)))


class Allowed(msgspec.Struct, frozen=True):
    """What the user has said may go, or may have another meaning: addresses, each for all that lies under it."""

    dropped: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, dropped: Iterable[str] = (), changed: Iterable[str] = ()) -> Allowed:
        """From the values of the options."""
        return cls(frozenset(dropped), frozenset(changed))

    def may_drop(self, *address: str) -> bool:
        """True when this, or what it lies in, may be dropped."""
        return _covers(self.dropped, address)

    def may_change(self, *address: str) -> bool:
        """True when this, or what it lies in, may go on with another meaning."""
        return _covers(self.changed, address)


NOTHING_ALLOWED = Allowed()


def dropping(*address: str) -> str:
    """The option that lets something go."""
    return f"--allow-dropped-state {'.'.join(filter(None, address))}"


def changing(*address: str) -> str:
    """The option that lets something go on with another meaning."""
    return f"--allow-changed-state {'.'.join(filter(None, address))}"


def raise_refused(findings: Sequence[Finding], checkpoint: str) -> None:
    """Raises `StateRefusedError` with the first refusals, if there are any."""
    by_edit: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        if one.verdict == "refused":
            by_edit.setdefault((one.uid, one.remedy), []).append(one)
    if not by_edit:
        return
    lines = [f"{checkpoint} does not fit the job; nothing was changed"]
    for (_, remedy), refused in list(by_edit.items())[:_SHOWN]:
        for one in refused[:_SHOWN_OF_ONE]:
            where = f"{one.place}: " if one.place else ""
            lines.append(f"  {where}{one.kind} {one.address}: {one.what}")
        lines.append(f"    -> {remedy}")
    more = len(by_edit) - _SHOWN
    last = f"{more} more: see them all by `streamlet plan --against latest`" if more > 0 else ""
    raise StateRefusedError("\n".join(lines), remedy=last or "one of the edits above makes it go on")


def _covers(given: frozenset[str], address: Sequence[str]) -> bool:
    return any(".".join(address[:end]) in given for end in range(1, len(address) + 1))
