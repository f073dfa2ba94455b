"""Threads behind the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from streamlet.ports import Workers

T = TypeVar("T")

_THREADS = 8


class LocalThreads:
    """`Threads` of this process."""

    def workers(self) -> Workers:
        return _Pool(asyncio.get_running_loop())


class _Pool:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="streamlet")

    def run_blocking(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        return self._loop.run_in_executor(self._executor, partial(function, *args))

    def run_apart(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        return asyncio.to_thread(function, *args)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
