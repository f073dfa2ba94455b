"""What the engine may ask of the machine it runs on: clocks, chance, a disk, threads, processes.

Everything else of the engine reaches the machine through these and through the event loop, so a simulation that gives
others in their place runs the very same code.  `streamlet/machine` holds the real ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar

from streamlet.clock import Clock

if TYPE_CHECKING:
    import socket

T = TypeVar("T")


class HeldLock(Protocol):
    """A file that this process holds locked, until `release` or its death, however it dies."""

    def is_at(self, path: Path) -> bool:
        """True while `path` is a name of this very file. Two system calls."""
        ...

    def write(self, data: bytes) -> None:
        """Replaces the file's content in place and makes it durable."""
        ...

    def release(self) -> None:
        """Lets it go. The file stays; nothing else may be asked afterwards."""
        ...


class Disk(Protocol):
    """Files and folders.  All calls block, may come from any thread, and raise `OSError`.

    What a power cut leaves: a file's content after `write` or `sync`, a name after `sync_folder` of its folder; of
    everything else any part.  A rename is one change: after a power cut it has happened or it has not.
    Whatever is made here is for this user only.
    """

    # --- looking

    def read(self, path: Path) -> bytes:
        """Gives the content of a file."""
        ...

    def open(self, path: Path) -> BinaryIO:
        """Opens a file for reading."""
        ...

    def size(self, path: Path) -> int:
        """Gives the bytes of a file."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Gives the names in a folder, sorted."""
        ...

    def exists(self, path: Path) -> bool:
        """True when something has this name."""
        ...

    def is_folder(self, path: Path) -> bool:
        """True when a folder has this name."""
        ...

    def why(self, path: Path, error: OSError) -> str:
        """Gives in words why a path cannot be used."""
        ...

    # --- contents

    def write(self, path: Path, pieces: Iterable[bytes]) -> int:
        """Puts a whole new content under a name, makes the content durable, and gives its size."""
        ...

    def sync(self, path: Path) -> None:
        """Makes the content of a file that others have written durable, and the file this user's only."""
        ...

    def copy(self, source: Path, target: Path) -> None:
        """Copies a content, which is not durable then."""
        ...

    # --- names

    def sync_folder(self, path: Path) -> None:
        """Makes the names in a folder durable."""
        ...

    def make_folder(self, path: Path) -> None:
        """Makes one folder; raises `FileExistsError` when the name is taken."""
        ...

    def make_folders(self, path: Path) -> None:
        """Makes a folder and those above it, as far as they are not there."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file or a folder another name; a file that had it is replaced."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Gives a file a second name; raises `FileExistsError` when it is taken."""
        ...

    def remove(self, path: Path) -> None:
        """Removes the name of a file, if it is there."""
        ...

    def remove_tree(self, path: Path) -> None:
        """Removes a folder with all in it as far as possible, and raises nothing."""
        ...

    def lock(self, path: Path) -> HeldLock | None:
        """Locks a file, which is made when it is not there; None when another process, or another call, holds it.
        Refuses a folder that another user may put things into."""
        ...


class Randomness(Protocol):
    """Chance: what a `random.Random` can do."""

    def random(self) -> float:
        """Gives a number from 0 up to 1."""
        ...

    def getrandbits(self, bits: int, /) -> int:
        """Gives a number of so many random bits."""
        ...


class RunBlocking(Protocol):
    """Runs a blocking call (file, compression) in a thread of the engine, off the event loop."""

    def __call__(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]: ...


class Workers(Protocol):
    """Threads for the blocking calls of one attempt. A call that has begun ends, also when nobody waits any more."""

    def run_blocking(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Runs a short call in one of a few threads."""
        ...

    def run_apart(self, function: Callable[..., T], /, *args: Any) -> Awaitable[T]:
        """Runs a call that may take long, so that none waits behind it."""
        ...

    async def close(self) -> None:
        """Waits for the short calls that have begun."""
        ...


class Threads(Protocol):
    """Where threads come from."""

    def workers(self) -> Workers:
        """Gives workers of their own to whoever will close them. Needs the running event loop."""
        ...


class Child(Protocol):
    """A command in a process of its own."""

    def run(self) -> None:
        """BLOCKING. Returns when the command has ended with 0; else raises what it said: as `OSError` when it could not
        write (`os.EX_IOERR`) or a signal ended it, which may pass, as `CheckpointError` otherwise."""
        ...

    def kill(self) -> None:
        """Ends the command; one that has not begun never will. From any thread, at any time."""
        ...


class HostedProcess(Protocol):
    """An interpreter beside this one, linked with it and with its siblings. It ends when this process does, at once
    and whatever it does."""

    pid: int
    control: socket.socket
    """This process's end of the link; whoever takes it closes it."""

    def wait(self, seconds: float) -> int | None:
        """BLOCKING. Gives the exit code, or minus the signal; None when it has not ended within so long."""
        ...

    def interrupt(self) -> None:
        """Sends it what Ctrl-C sends; it must be ready for that."""
        ...

    def kill(self) -> None:
        """Ends it at once, if it has not ended. Once only it is waited for, which takes no time."""
        ...


class Processes(Protocol):
    """Processes of this machine."""

    @property
    def pid(self) -> int:
        """The number of this process."""
        ...

    @property
    def host(self) -> str:
        """The name of this machine."""
        ...

    def is_alive(self, pid: int) -> bool:
        """True when there is such a process on this machine."""
        ...

    def python(self, module: str, arguments: Sequence[str], what: str) -> Child:
        """Gives `python -m module arguments...`, not begun; `what` says in errors what it was doing."""
        ...

    def hosts(self, module: str, count: int) -> Sequence[HostedProcess]:
        """Starts `count` interpreters that run a module, each linked with this process and with each other."""
        ...


@dataclass(frozen=True)
class Ports:
    """All of them, as they are handed through the engine."""

    clock: Clock
    randomness: Randomness
    disk: Disk
    threads: Threads
    processes: Processes


def random_uuid(randomness: Randomness) -> str:
    """Gives a random uuid (RFC 9562, version 4) as 32 hex digits."""
    bits = randomness.getrandbits(128)
    bits = bits & ~(0xF << 76) | 4 << 76
    return f"{bits & ~(0x3 << 62) | 0x2 << 62:032x}"
