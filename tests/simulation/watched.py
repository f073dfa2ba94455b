"""An attempt that is watched: errors that the engine's own mistakes raise must not hide behind a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from streamlet.errors import StreamletError
from streamlet.runtime.job.attempt import Attempt, Ending
from streamlet.testing.errors import ProcessDied

EXPECTED = (StreamletError, OSError, ProcessDied, asyncio.CancelledError)
"""What faults of the simulation bring about."""


class WatchedAttempt(Attempt):
    """Tells of each error that no fault explains."""

    def __init__(self, *args: Any, notice: Callable[[BaseException], None]) -> None:
        super().__init__(*args)
        self._notice = notice

    async def run(self, on_running: Callable[[], None]) -> Ending:
        try:
            return await super().run(on_running)
        except (Exception, BaseExceptionGroup) as error:
            for one in _leaves(error):
                if not isinstance(one, EXPECTED):
                    self._notice(one)
            raise


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
