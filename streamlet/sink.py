"""The contract of a sink: what a connector does so that its output is exactly-once.

streamlet commits in two phases.  At each checkpoint the writer *prepares*: everything that was written since the last
one is made safe at the outside, but is not visible yet, and is described by *committables*.  They become part of the
checkpoint.  When the checkpoint is durable, it is decided: the *committer* makes them visible.  If the process dies in
between, the next start commits them from their description alone, in another process and as often as needed.

```text
write, write ... -> prepare_commit(n) -> [committables] -> checkpoint n durable -> commit -> marker(n) -> released
                                                     \\-> crash -> outcomes -> commit or abort -> marker(n)
```

The laws of an exactly-once sink:

1. Nothing that was written is visible before `commit` of the committable that covers it.
2. `prepare_commit` returns only when everything written before it was accepted by the outside, without exception; an
   error fails the attempt.  From then on nothing but `Committer` may touch what was prepared: not `close`, not
   cancellation, not a later failure.
3. `commit` and `abort` are idempotent and need nothing but the committable (and the sink's own options).
4. A resource that a committable names (a transactional id, a file name) is not used again before `released`.

A sink that cannot do this sets `delivery = "at_least_once"`, makes its output visible as it goes, and returns no
committables.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from streamlet.clock import Clock, SystemClock
from streamlet.elements import Batch
from streamlet.outages import Outages
from streamlet.ports import RunBlocking

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

Delivery = Literal["exactly_once", "at_least_once"]


class Committable(msgspec.Struct, frozen=True):
    """One prepared unit of output: enough to commit or abort it from another process."""

    id: str
    """Unique within the job, for ever (an id that is taken again needs an epoch in it)."""
    payload: dict[str, Any]
    """Plain data for the committer (msgpack). No secrets: it is written to disk."""
    records: int
    description: str
    """For people: what would be lost, e.g. `topic out, partitions 0-3`."""
    deadline_ms: int | None = None
    """Epoch ms after which the outside may abort it by itself; None when it waits for ever."""


class Outcome(enum.Enum):
    """What the outside says about a committable."""

    OPEN = "open"
    """Prepared and waiting: commit and abort are both still possible, as far as can be seen."""
    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"
    """Cannot be told. The start stops and says so rather than guess."""
    LOST = "lost"
    """Not visible and cannot be made so, though nothing has aborted it: what it was written to is gone.  The start
    stops and says so; what came before it is most likely gone too, so going back would not bring it again."""


class SinkContext(msgspec.Struct, frozen=True):
    """What a writer or committer is told about the place it runs in."""

    job: str
    instance: str
    """A uuid of the state directory: two copies of one job in two directories have different ones."""
    uid: str
    subtask: int
    """-1 for the committer, which speaks for all subtasks."""
    parallelism: int
    clock: Clock
    run_blocking: RunBlocking
    owns_memo: bool = False
    """True when this writer may cache what it needs per key in `batch.keys[i].memo`."""
    budget_seconds: float = 0.0
    """The longest time that a prepared unit may wait in normal work: interval, timeouts and restarts together."""
    outages: Outages = msgspec.field(default_factory=lambda: Outages(SystemClock()))
    """Where to tell that the outside does not answer."""
    attempt: int = 1
    """Number of this attempt; it never comes again for this instance.  Names that have it in them cannot be touched by
    what an earlier attempt has left on its way."""
    unfenced: tuple[int, ...] = ()
    """For a committer: the earlier attempts whose writers of this sink may have been opened and were not fenced since.
    `fence` is about these."""


class SinkWriter(Protocol[T_contra]):
    """Writes for one subtask. Calls come from one task, one at a time, except `released` and `close`."""

    async def open(self) -> None:
        """Gets ready to write. Everything left by earlier attempts was settled and fenced before."""
        ...

    async def write(self, batch: Batch[T_contra]) -> None:
        """Takes a batch; waits when too much is on its way (back-pressure).  Raises the error of an earlier write as
        soon as it is known.  Never called while `prepare_commit` is pending.

        A record that cannot be written, whatever the outside does, is an `EncodeError` with its `index` in the batch,
        or a `UserFunctionError` with `batch` and `row` where a function of the job raised for it.  It is raised before
        anything of the batch is taken, or says by `written` how many of the first records are.  Under a policy that
        leaves such records out (`on_error` of `Stream.sink`) the others come again, in further calls."""
        ...

    async def prepare_commit(self, checkpoint_id: int) -> Sequence[Committable]:
        """Flushes, and gives what was prepared since the last call; [] if nothing was written."""
        ...

    async def released(self, committables: Sequence[Committable]) -> None:
        """Says that these are committed and that no checkpoint will name them again."""
        ...

    async def close(self) -> None:
        """Ends everything that the writer started, and leaves what was prepared alone. May be called at any time,
        also twice, and returns soon even if the outside is away."""
        ...


class Committer(Protocol):
    """Decides the fate of prepared output; one per sink, beside the coordinator. Lives longer than the writers."""

    can_lose: bool
    """True when the outside may abort a prepared unit by itself (a time-out). Such sinks are committed first."""

    async def outcomes(self, committables: Sequence[Committable]) -> Sequence[Outcome]:
        """Asks what became of each, and changes nothing."""
        ...

    async def commit(self, committable: Committable) -> None:
        """Makes it visible; success if it already is.  Raises `OutputLostError` when the outside has aborted it, when
        that cannot be told, or when what it was written to is gone; any other error for "ask again"."""
        ...

    async def abort(self, committable: Committable) -> None:
        """Makes sure that it never becomes visible; success if it was aborted before.  Raises `OutputLostError` when
        it is visible or when that cannot be told: all outcomes are asked for anew then."""
        ...

    async def fence(self, parallelism: int, spare: Sequence[Committable]) -> None:
        """Ends everything that writers 0 .. parallelism-1 of earlier attempts (`unfenced` of the context) left behind,
        and shuts those writers out if they still live, except what `spare` names."""
        ...

    async def close(self) -> None:
        """Ends everything that the committer started."""
        ...


class Sink(Generic[T_contra]):
    """Describes where records go. It is built when the job file is imported: it must not connect or write."""

    delivery: Delivery = "exactly_once"

    def writer(self, context: SinkContext) -> SinkWriter[T_contra]:
        """Gives the writer of one subtask."""
        raise NotImplementedError

    def committer(self, context: SinkContext) -> Committer | None:
        """Gives the committer, or None for an at-least-once sink."""
        return None
