"""Guarantees: what is promised, how it is kept, how it is proved, and what is outside of the promise.

**The promise.**  Output in transactional sinks, as a `read_committed` reader sees it, equals the output of *some run
without failures*: nothing lost, nothing doubled, order per key kept within a partition of the sink.

**How it is kept.**  Barrier *n* is injected at the sources, aligned at every task with several inputs, and freezes each
operator's state as it passes.  Sinks prepare a transaction and name it in the checkpoint.  When the rename of the
manifest is durable, *n* is decided; only then transactions are committed, and a marker says so.  A restart first
settles what was prepared: it asks the outside what became of each transaction, commits those of the decided checkpoint,
and fences everything else.

**How it is proved**, on any machine: a deterministic simulator runs whole jobs, on an event loop with virtual time and
a disk that forgets what was not synced, and compares their committed output with that of plain Python.  In each seed
some of these go wrong: processes are killed anywhere, again while they restore, or paused between two system calls and
taken over; power is cut; disks fail, fill up, are slow, flip bits; requests and answers are lost or late; functions
raise; jobs are stopped, rescaled, and started from older checkpoints.  Then all faults end, where a process begins or
under a living process, and the job must come to its end: within a few time-outs, and without help.

```text
python -m tests.simulation.campaign --seeds 100000       any number of seeds on all cores; failing seeds are named
python -m tests.simulation.campaign --seeds 1 --from 17  one seed, the same run on every machine
python -m tests.simulation.crash_everywhere              small jobs killed at every step, call and request
python -m tests.simulation.planted_gate                  bugs put into the engine, and the seeds it takes to find each
python -m tests.simulation.kafka_seeds --seeds 10000     the real Kafka connector on a simulated network and broker
python -m tests.simulation.language_seeds --seeds 10000  windows, sessions, timers, joins, expiry, error policies
```

The test run has 2,000 seeds, a sample of the sweep, and every planted bug, each of which must be found.  Real faults on
a real broker, real processes and real disks are counted by `tests.soak`: there an independent program and Kafka's own
console consumer judge every record.  Damage to any file of a checkpoint is tried file by file and bit by bit
(`tests/recovery`), and one contract suite (`tests/kafka`) holds the simulated broker to what the real broker answers.
Three real brokers are killed, stopped and led by others under a job; a topic that is created again and an unclean
election stop it by name.

What was not tried: other versions of Kafka than 4.1; power cuts of real machines (a simulated disk stands for them);
network file systems; runs of many days.  Deleted topics and retention are tried on the real broker and by the broker's
contract suite only; the simulator's jobs run in one process each, so that worker processes are tried as real processes
only.

**Outside of the promise:**

- Time-outs.  Kafka aborts a prepared transaction after `transaction_timeout_seconds` (900, the usual cap of brokers).
  A job that was killed between decision and commit and stays down longer than that finds it gone.  If all of that
  checkpoint's output can still be given up, streamlet goes back one checkpoint and loses nothing; if part of it is
  already visible, it stops and says which records are at risk (`--accept-lost-output`, or `--from` an older
  checkpoint).
- A process that was taken over (`--take-over` of one that was stopped) makes nothing visible when it wakes.  If it had
  not begun its first transaction, it may open one then, which holds `read_committed` readers of the topic back until it
  times out.
- Transactional ids.  Each attempt takes new ones into use, about three per subtask of a `KafkaSink`, since a request of
  a dead attempt may still arrive: 100 restarts of three subtasks leave some 900 names at the brokers, which forget them
  after `transactional.id.expiration.ms` (seven days).  A job that is idle for longer than that takes new ids.
- A sink that is taken out of the job after a kill: a transaction that it had open holds `read_committed` readers of its
  topic back until it times out, or until the sink, by its `uid`, is in the job again and ends it.
- Deleted topics, deleted records, logs that were cut off (an unclean leader election): streamlet stops and names them;
  it never continues on other data silently (`out_of_range="earliest"` goes on where the logs part).  Where an output
  topic was deleted while prepared output waited in it, `--accept-lost-output` goes on without that output.
- Side effects of your functions (HTTP calls, prints) happen again after a restart.  Functions should depend on their
  arguments and declared state only.
- One writer per state directory, held by a lock.  The state directory must be on a local file system whose fsync and
  rename are honest.  There is no copy of it elsewhere.
- Which of several inputs comes first, and where batches are cut, may differ from run to run, and so may which
  borderline record is late.
- Metadata requests never create topics.  Kafka is tested on 4.1 only; older brokers lack requests that settling uses.

**The code of this package**: facts in, decisions out.

```text
alignment, pending, recovery, settling   pure decisions: which barriers are in, what is decided, what a restart does
manifest, storage, files, lock, layout   durable facts: what a checkpoint is on disk
coordinator, patience                    the loop that triggers, decides and commits, and how long it waits
```

May import: contracts, state
"""
