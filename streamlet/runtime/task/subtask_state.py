"""The states of a subtask, and the theory of the end of input.

```text
CREATED -> OPENING -> RUNNING --> ENDING --> ENDED
   |          |         |  |        |  |       |
   |          |         |  +---+----|--+       |      behind the last barrier of a job that stops
   |          |         |      v    |          |
   |          |         |  STOPPED  |          |
   v          v         v      v    v          v
   +----------+---------+------+----+----------+--> CLOSED      cancelled or failed, from any state
```

`OPENING`: sink writers open.  `RUNNING`: input is taken in.  `ENDING`: the whole input was taken in, and operators
still finish what is in flight.  `ENDED`: every operator was given the end, and so was every output.  `STOPPED`: what
waits is in the last checkpoint, and work on it now would be done twice.  `CLOSED`: what the subtask started has ended.
Barriers go on behind the end of the input and behind a stop.

**Where the end begins.**  The reader of a bounded source returns None from `fetch`.  That is the only place: an empty
batch, an idle split or a quiet channel ends nothing.  `SourceSubtask` then calls `end`, reads nothing more, and from
here on only waits for triggers, for the clock while operators wait for it, and for what is in flight.

**How it travels.**  `EndOfInput` is the last element but barriers on a channel.  An ended channel no longer holds back
the watermark of its gate, and its barriers are still counted: `BarrierAligner` needs a barrier from every channel,
ended or not, so a checkpoint while some inputs have ended is the same as any other.  The gate gives `EndOfInput` once,
when the last of its channels has ended; then the gated subtask calls `end` too.

**What `end` does**, in this order:

1. The watermark `MAX_TIMESTAMP` goes through the chain: every event-time timer fires, every window ends.  It is not
   sent on; `EndOfInput` itself says it.  It does not happen again where the restored checkpoint has it (below).
2. `Chain.end` calls `on_end` of the operators in the order of the stream.  It stops before an operator that holds
   records in flight (an asynchronous call, a retry, a window still firing) and goes on from `go_on` or `follow_clock`
   when that one is done.  An operator is never given the end before everything that comes before it in the stream.
3. When all have had it: no wall-clock timer rings any more, `EndOfInput` goes to all outputs, the coordinator gets
   `Ended`, and the subtask is ENDED.

While 2 is under way the subtask is ENDING.  A barrier may pass between any two operators: the snapshot lists, under
`TASK@end`, the uids of the operators that had the end already.

**The last checkpoint.**  The coordinator takes `Ended` from every subtask before it triggers the checkpoint of kind
`final`.  So at the last barrier no record is in flight anywhere, and everything that `on_end` and the last windows put
out lies before that barrier and is committed with it.  A periodic checkpoint that was begun earlier completes or is
abandoned first.  The job has finished when the final checkpoint has its marker; a start that finds it has nothing to
do.  The last checkpoint of a job that is stopped, of kind `stop`, is made in the same way, but nothing ends: each
subtask is STOPPED behind its barrier, or stays ENDED, and no window is closed by a stop.

**A restart in between.**  Some operators had the end and some not, perhaps in another number of subtasks than now.  An
operator counts as ended if it had the end in every one of its subtasks (`told_of_the_end`); `on_end` is not called
again for it, so that a second total is not put out.  A task whose operators have all ended, and whose source has
finished, does not repeat step 1 either (`had_ended`).  Both hold only while nothing new comes: with the first record
(files that were added before the job had finished, a subtask before this one that had not ended) the operator is given
the end again when the input ends again, since its result has changed.

**What a crash leaves.**  Before the final checkpoint is durable: the newest periodic one, from which the rest of the
input is read again and the end is reached again.  Behind it: a checkpoint of kind `final` with prepared output, which
the next start settles, and then says that the job has finished before.
"""

from __future__ import annotations

from enum import Enum

from streamlet.errors import StreamletError


class SubtaskState(Enum):
    CREATED = "created"
    OPENING = "opening"
    RUNNING = "running"
    ENDING = "ending"
    ENDED = "ended"
    STOPPED = "stopped"
    CLOSED = "closed"


_NEXT: dict[SubtaskState, frozenset[SubtaskState]] = {
    SubtaskState.CREATED: frozenset({SubtaskState.OPENING, SubtaskState.CLOSED}),
    SubtaskState.OPENING: frozenset({SubtaskState.RUNNING, SubtaskState.CLOSED}),
    SubtaskState.RUNNING: frozenset({SubtaskState.ENDING, SubtaskState.STOPPED, SubtaskState.CLOSED}),
    SubtaskState.ENDING: frozenset({SubtaskState.ENDED, SubtaskState.STOPPED, SubtaskState.CLOSED}),
    SubtaskState.ENDED: frozenset({SubtaskState.CLOSED}),
    SubtaskState.STOPPED: frozenset({SubtaskState.CLOSED}),
    SubtaskState.CLOSED: frozenset(),
}


class SubtaskLife:
    """Where a subtask stands."""

    def __init__(self) -> None:
        self.state = SubtaskState.CREATED

    @property
    def is_ending(self) -> bool:
        """True from where the whole input was taken in."""
        return self.state in (SubtaskState.ENDING, SubtaskState.ENDED)

    @property
    def is_ended(self) -> bool:
        """True once every operator and every output was given the end."""
        return self.state is SubtaskState.ENDED

    @property
    def has_stopped(self) -> bool:
        """True behind the last barrier of a job that stops: nothing but barriers is worked on."""
        return self.state is SubtaskState.STOPPED

    def stop(self) -> None:
        """The last barrier has gone on. It comes again where its checkpoint was abandoned, and changes no end."""
        if not self.is_ended and not self.has_stopped:
            self.transition_to(SubtaskState.STOPPED)

    def transition_to(self, state: SubtaskState) -> None:
        """Moves on; refuses what the table does not have."""
        if state not in _NEXT[self.state]:
            raise StreamletError(f"a subtask that is {self.state.value} cannot become {state.value}")
        self.state = state
