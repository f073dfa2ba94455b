"""asyncio's TaskGroup, without a flaw of the Pythons before 3.13 that makes time-outs escape as cancellations."""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType

if sys.version_info >= (3, 13):
    TaskGroup = asyncio.TaskGroup
else:

    class TaskGroup(asyncio.TaskGroup):
        """Takes back that it cancelled its own task also where a child fails while the group is being left.

        Else the task counts as being cancelled for ever after, and every `asyncio.timeout` in it raises
        `CancelledError` instead of `TimeoutError` under Python 3.11.0 to 3.11.2.
        """

        async def __aexit__(
            self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
        ) -> None:
            is_taken_back = self._parent_cancel_requested  # type: ignore[attr-defined]
            try:
                await super().__aexit__(et, exc, tb)
            finally:
                if self._parent_cancel_requested and not is_taken_back:  # type: ignore[attr-defined]
                    self._parent_task.uncancel()  # type: ignore[attr-defined]
