"""Running: the commands, stopping, failures, exit codes, and several processes.

```text
streamlet run job.py [--state-dir DIR] [--from latest|none|ID|PATH] [--parallelism N] [--processes N]
                     [--checkpoint-interval 1s] [--state-memory 256MB] [--check-mutation]
                     [--take-over] [--accept-lost-output] [--allow-dropped-state UID] [--allow-changed-state UID]
                     [--config FILE] [--http 127.0.0.1:9470] [--http-token-file FILE] [-- args for the job file]
streamlet config job.py [--config FILE]
streamlet plan job.py [--parallelism N] [--processes N]
streamlet plan job.py --against latest|ID|PATH
streamlet status job.py [--json]
streamlet savepoint job.py [--to DIR]
streamlet stop job.py [--savepoint DIR]
streamlet checkpoints list|show|verify|diff|delete job.py [--state-dir DIR]
streamlet state list|get|scan|export job.py|PATH [UID STATE ...]
streamlet state import job.py|PATH [UID STATE FILE] --to DIR
streamlet dev kafka [--port 9092] [--topic name:partitions ...]
streamlet help [TOPIC or words]
```

A start says in one line what it restored.  On a terminal a live line shows records per second, how many records a Kafka
source is behind, the last checkpoint and the state in memory; elsewhere there is a log line every ten seconds.

**Settings** are in the job file, in the table `[job]` of `streamlet.toml` beside it (or of `--config FILE`), in the
environment (`STREAMLET_PARALLELISM=4`), and on the command line; each is over those before it.  `streamlet config`
prints every setting with where it is from.  An unknown name is refused with the nearest.

**Metrics and probes.**  `--http 127.0.0.1:9470` (`pip install "streamlet[http]"`) serves `/metrics` for Prometheus,
`/healthz`, `/readyz` and `/status`: see `streamlet help metrics` and `streamlet help http`.

Exit codes:

    0    the input has ended, or the job was stopped
    1    the job is suspended: its last checkpoint is kept, and the command to go on is printed
    2    the job file or an option is wrong
    3    another process holds the job; the message says which
    130  a second Ctrl-C ended the process at once

**Stopping.**  Ctrl-C (or SIGTERM) makes a last checkpoint, commits it and exits 0; a line says what it waits for, such
as the line of a function that does not return.  Where the barriers of that checkpoint do not come through within 3 s,
the job ends without it, and nothing is lost: exit code 0, the last complete checkpoint is kept.  A second Ctrl-C ends
the process and its workers at once (130), whatever they do.

**Before a changed job starts.**  `streamlet plan job.py --against latest` (or `streamlet run --dry-run`) reads the
checkpoint's manifest and prints a line for each state, source and sink: kept, new, upgraded, dropped, or refused with
the edit that makes it go on.  It ends with 2 where `run` would refuse; `run` finds the same before it opens anything,
and says only what is not kept.

**From another terminal.**  A running job answers its own user alone, by a socket that leaves no file behind: a state
directory is copied by `cp -r` or `tar` like any other.  `streamlet status` says what the job does.  `streamlet stop`
does what Ctrl-C does and waits for the end.

**Savepoints.**  `streamlet savepoint job.py --to DIR` keeps the state in a new folder that needs nothing else: of a
running job a checkpoint taken for it, of a stopped job its last one.  It may be moved, no retention removes it, and
`streamlet run job.py --from DIR` starts from it in any state directory, at any parallelism.  `streamlet stop
--savepoint DIR` does both: all that the job has written is in it.

**Looking inside.**  `streamlet state` reads any checkpoint or savepoint, of a job that runs or not, without its job
file and in bounded memory; keys and values are plain data, as JSON lines or (`pip install "streamlet[parquet]"`)
Parquet.  `streamlet state import` makes a savepoint of a checkpoint and of such rows, so state can be seeded, repaired,
or given to another job (`--job`, `--rename`).  Reading from Python:
`streamlet.inspect.open_checkpoint(path)["uid"]["state"]`.

**Failures.**  A failure restarts the job from its last checkpoint, by `Job(restart=...)`: `Restart.exponential()` (the
default: back-off with jitter, 10 attempts, count reset after a healthy minute), `fixed`, `failure_rate`, `none`.  A
disk that fails to read or write the state directory is such a failure: the restart verifies what is there.  When the
strategy gives up, or when restarting cannot help (a record that cannot be read, output at risk, a damaged checkpoint,
the same record failing twice), the job suspends: exit code 1, the last checkpoint kept, the command to go on printed.

**Limits of the system** (`ulimit -n`, `-v`) that are less than what a job may need are reported at its start; where a
limit is met, the message has its name and how to raise it.

**What goes wrong for long.**  A broker that does not answer, or a full disk, is waited for without end once the job has
run (`Restart.none()` excepted).  A slow checkpoint names the subtasks that are missing and what each does.  A function
that blocks is named, and interrupted when no checkpoint was possible for the time-out (in a worker process, for three
quarters of it).  The progress line says `unhealthy` and why.

**Starting from something else.**  `--take-over` takes the job from a process that does not answer; when that process
wakes up it can decide nothing.  `--from ID` goes back to an older checkpoint: output since then is written again.
`--from none` starts empty.  `--parallelism` may change from run to run; state is then read and distributed anew, in
time proportional to its size.

**Damage.**  A damaged file of a checkpoint is never read silently: the start stops and names it, or goes back where
that is exact.  `streamlet checkpoints verify` hashes every file, names each that is damaged and exits 1.

**Processes.**  One event loop is one core.  `--parallelism 4 --processes 4` spreads the subtasks over four worker
processes: subtask *i* of every operator lies in process *i* mod 4, with its Kafka partitions, key groups and sink
writers (`streamlet plan --processes 4` shows it).  The process that was started coordinates and commits, and hosts no
subtask.  Checkpoints, guarantees and output are those of one process, and the number may change from run to run.  When
a worker fails or is killed, the whole job goes on from its checkpoint in new workers; when the parent dies, however,
its workers do too.  What it costs:

- A record that changes its process is packed and unpacked on the way, and each worker is an interpreter of its own,
  with its memory, that imports the job file: the graph must follow from the file and its arguments alone.
- What crosses must be data: None, bool, int, float, str, bytes, lists, dicts and tuples of them, dates, decimals,
  UUIDs, enums, and dataclasses, `msgspec.Struct`s and NamedTuples at the top level of a module.  It arrives as its
  class declares it (an int in a float field is a float, an aware time is in UTC); what could not arrive as it is, or a
  record of more than 1 GiB, stops the job and names the line.

The code of this package: one file per command (main.py for `run`; asking.py for `status`, `savepoint` and `stop`);
topics.py finds what `help` prints, loading.py the job of a file, places.py the checkpoint that a command means.  What
runs a job is `streamlet/runtime/run`.
"""
