"""What a step is called, and what it was called before."""

from __future__ import annotations

from streamlet.calling import calling_line
from streamlet.errors import JobDefinitionError


class RenamedUid(str):
    """A uid that stands for what a checkpoint keeps under another one."""

    renamed_from: str


def uid_of(uid: str | None, renamed_from: str | None) -> str | None:
    """The uid of a step, with the one it had before; refuses a former name without a new one."""
    if renamed_from is None:
        return uid
    if uid is None or not isinstance(renamed_from, str) or uid == renamed_from:
        file, line = calling_line()
        raise JobDefinitionError(
            f"{file}:{line}: renamed_from={renamed_from!r:.80} with uid={uid!r:.80}",
            remedy='give the step its new name too: uid="spend", renamed_from="sum"',
        )
    renamed = RenamedUid(uid)
    renamed.renamed_from = renamed_from
    return renamed
