"""One job over several processes of one machine: a parent that coordinates, and workers that host the subtasks.

The parent's `worker_host` starts workers and speaks `messages` over a `link`; a `worker` hosts its part of the plan.
Between workers `socket_channel` carries batches as `frames` of columns (`task/columns`); `failures` are errors as data.

**Who speaks to whom.**  Every worker has one link to the parent, and one to each other worker.  The parent coordinates
and hosts no subtask; a worker hosts subtasks and decides nothing.  A link is a Unix socket pair that the parent made
before the workers began: both ends exist from the start, there is no address, and no stranger can connect.

```text
parent                                   worker
  |-- JobFile ----------------------------->|  loads the job file; its plan must be the parent's, as text
  |-- Build(attempt, manifest, positions) ->|  opens state, restores, wires channels
  |<-- Built -------------------------------|  ... and waits: nothing runs before all are built
  |-- Begin ------------------------------->|  subtasks run; batches go between workers
  |-- Tell(subtask, Trigger | Marked ...) ->|
  |<-- Opened, Started, Acknowledge, Ended -|  what subtasks report to the coordinator, as it is
  |<-- Pin(number, name) -------------------|  before a file of state is made; its thread waits
  |-- Pinned(number) ---------------------->|
  |<-- Pressure(is_on) ---------------------|  its memory is full of what only a checkpoint can free
  |-- Hold(is_on) ------------------------->|  memory of another worker is full: sources rest
  |<-- WorkFacts, Said, Away, Back ---------|  counts twice a second, lines of its log, outages
  |-- Finish ------------------------------>|  closes everything
  |<-- WorkFacts, then end of stream -------|
```

**Order.**  A link keeps the order of what is sent over it, and there is no other: what two workers send to the parent
comes in any order, and a barrier may reach a worker over a channel before it hears of that checkpoint from the parent.
Nothing depends on that.  `Build` goes to all workers at once; `Begin` goes to each of them only when every worker has
said `Built`, because a batch must not come before the gate that takes it is there.  `JobFile` is sent while the parent
still chooses a checkpoint, so that workers load the job meanwhile.

**Who owns what.**  The parent alone holds the lock of the job, writes manifests and markers, commits and aborts, and
deletes files.  A worker writes files of state, under names that it had pinned in the parent first: otherwise the
parent, which does not know of a checkpoint that is under way, could delete a file that this checkpoint names.
`Pinned` wakes the writing thread; the event loop never waits for it.

**Deaths.**  A process is never used for a second attempt, so that nothing of the first one can be left in it.

```text
a function or sink of a worker fails   Failed (class, message, remedy, place) goes to the parent, the worker closes;
                                       the parent raises it as its own error, finishes the others, restarts or gives up
a worker is killed                     its link ends without Failed: `death` names the exit code; the attempt fails with
                                       an error that a restart cures.  Other workers meet the end of their link to it,
                                       wait, and are finished: what it means is the parent's to say
the parent is killed                   every worker meets the end of its link: that is `Finish`, and it closes and ends.
                                       What it had written and no manifest names is removed by the next start
a worker does not end on Finish        after `_GRACE_SECONDS` it is killed; an attempt never waits for it for ever
a worker sends bytes that are no
message, or a length that no frame has the same as its death: WorkerDiedError, a new attempt
```

A killed parent leaves a lock without a holder; a worker of its attempt that still writes is harmless, since the next
attempt has names, folders and transactional ids of its own, and only manifests of the new one count.

May import: contracts, observe, graph, operators.user_code, state.encoding, state.memory, checkpoint, runtime.task,
runtime.job, state.evolution
"""
