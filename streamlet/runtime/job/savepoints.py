"""Savepoints of a running job: each is a checkpoint taken for it, and kept elsewhere once its output is committed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from streamlet.checkpoint.coordinator import CheckpointCoordinator
from streamlet.checkpoint.savepoints import require_free, write_savepoint
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.errors import CheckpointFailedError
from streamlet.ports import Disk, Workers


@dataclass
class _Asked:
    """One that was asked for."""

    first_id: int
    """The least id of a checkpoint that began when it had been asked for."""
    target: Path
    done: asyncio.Future[Path]


class SavepointDesk:
    """Takes requests while a job runs, over all its attempts."""

    def __init__(self, disk: Disk, storage: CheckpointStorage) -> None:
        self._disk = disk
        self._storage = storage
        self._coordinator: CheckpointCoordinator | None = None
        self._workers: Workers | None = None
        self._asked: list[_Asked] = []
        self._writing: set[asyncio.Task[None]] = set()
        self._kept: frozenset[int] = frozenset()
        """Checkpoints that are being written. Replaced, never changed: another thread looks at it."""

    def opened(self, coordinator: CheckpointCoordinator, workers: Workers) -> None:
        """Takes the coordinator of the attempt that now runs."""
        self._coordinator, self._workers = coordinator, workers

    def ask(self, target: Path) -> asyncio.Future[Path]:
        """Asks for a savepoint in a new folder; gives what will be the path of the checkpoint in it.

        Raises `CheckpointError` for a folder that is taken, and `CheckpointFailedError` while the job does not run.
        """
        require_free(self._disk, target)
        if self._coordinator is None:
            raise CheckpointFailedError(
                "the job does not run just now: it restores its state, or waits for a restart",
                remedy="ask again when `streamlet status` says that it is RUNNING",
            )
        done: asyncio.Future[Path] = asyncio.get_running_loop().create_future()
        self._asked.append(_Asked(self._coordinator.ask_checkpoint(), target, done))
        return done

    def marked(self, checkpoint_id: int) -> None:
        """See `streamlet.checkpoint.coordinator.Savepoints`."""
        ready = [one for one in self._asked if one.first_id <= checkpoint_id]
        self._asked = [one for one in self._asked if one.first_id > checkpoint_id]
        for one in ready:
            task = asyncio.create_task(self._write(one, checkpoint_id), name=f"savepoint-{checkpoint_id}")
            self._kept |= {checkpoint_id}
            self._writing.add(task)

    def may_go(self, checkpoint_id: int) -> bool:
        """See `streamlet.checkpoint.coordinator.Savepoints`."""
        return checkpoint_id not in self._kept

    async def closed(self) -> None:
        """Waits for what is being written, when an attempt has ended, and refuses what is still asked for."""
        self._coordinator = None
        asked, self._asked = self._asked, []
        for one in asked:
            if not one.done.done():
                one.done.set_exception(
                    CheckpointFailedError(
                        "the job ended, or failed, before a checkpoint was complete for the savepoint",
                        remedy="see what the job says; ask again when it runs, or when it is stopped",
                    )
                )
        if self._writing:
            await asyncio.wait(set(self._writing))
        self._workers = None

    async def _write(self, one: _Asked, checkpoint_id: int) -> None:
        assert self._workers is not None, "an attempt that runs has workers"
        try:
            path = await self._workers.run_apart(self._written, checkpoint_id, one.target)
        except Exception as error:
            if not one.done.done():
                one.done.set_exception(error)
        else:
            if not one.done.done():
                one.done.set_result(path)
        finally:
            self._writing -= {task for task in self._writing if task is asyncio.current_task()}
            if not self._writing:
                self._kept = frozenset()

    def _written(self, checkpoint_id: int, target: Path) -> Path:
        return write_savepoint(self._disk, self._storage.load(checkpoint_id), target)
