"""Decides the fate of prepared files, from their descriptions alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamlet.connect import Committable, Outcome, SinkContext, SinkError
from streamlet_connectors.files import output
from streamlet_connectors.files.output import Prepared


class FileCommitter:
    """Commits and aborts the files of one sink. The outside never aborts them by itself."""

    can_lose = False

    def __init__(self, context: SinkContext, directory: Path, prefix: str) -> None:
        self._context = context
        self._directory = directory
        self._stem = f".{prefix}-{output.tag_of(context)}-"

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        return await self._context.run_blocking(_outcomes, [Prepared.of(committable) for committable in committables])

    async def commit(self, committable: Committable) -> None:
        try:
            await self._context.run_blocking(output.commit, Prepared.of(committable))
        except OSError as error:
            raise SinkError(f"cannot commit {committable.description}: {error}") from error

    async def abort(self, committable: Committable) -> None:
        try:
            await self._context.run_blocking(output.abort, Prepared.of(committable))
        except OSError as error:
            raise SinkError(f"cannot abort {committable.description}: {error}") from error

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None:
        """Removes the files in progress of this sink, whichever of its subtasks wrote them.  A writer that still
        lives notices at its next `prepare_commit`; no checkpoint of the present attempt names what it makes."""
        prepared = [Prepared.of(committable) for committable in spare]
        kept = {one.temporary for one in prepared}
        try:
            for directory in {self._directory, *(Path(one.directory) for one in prepared)}:
                await self._context.run_blocking(output.sweep, directory, self._stem, kept)
        except OSError as error:
            raise SinkError(f"cannot clear {self._directory} of files left by earlier attempts: {error}") from error

    async def close(self) -> None:
        pass


def _outcomes(prepared: list[Prepared]) -> list[Outcome]:
    return [output.outcome(one) for one in prepared]
