"""The two keyed stores, over what they share: how state in memory becomes files that a checkpoint can name.

**What a store is.**  Entries: stored key -> packed value, or a tombstone.  An entry is at up to four places, and the
first of them that has it is right:

```text
memory      a cell: the live value of one state of one key; ABSENT says that there is none
unwritten   frames of a delta that is packed and in no file yet (never read: memory has the same or newer)
logs        closed logs, the newest last; after a restore `Replayed` has their entries in memory, still packed
base        one sorted file for all that logs before it said; the memory store has none
```

**Intervals and cuts.**  Time is parted by freezes.  The number of the *interval* between two freezes is in
`store.interval`; each cell has the interval in which it last changed.  A *cut* is the id of the checkpoint at whose
barrier a freeze was made.  Everything that changed up to a cut belongs to its checkpoint, nothing later does.

**Freeze.**  At a barrier the list of dirty cells becomes a `Delta`, a new list and the next interval begin: a few
microseconds, whatever the size of the state.  Nothing is copied.  Invariant: a cell is in the dirty list exactly when
its interval is the store's, so the first change after a freeze puts it there, and further ones only change the value.

**Pack.**  Between batches, in slices of a few milliseconds, the frozen cells become frames (`log/delta.py`).  A cell
that is changed again before its turn keeps the frozen value in `old`; that is needed only while `is_packing`, so a
change at other times costs nothing more.  Packed frames share nothing with cells.  A freeze that finds the one before
it unpacked packs it on the spot and counts a `late_pack`.

**Write.**  `write_log` makes all frames packed so far durable, as one *closed* log, in a thread.  Where that fails the
frames stay, and the next log has them too: it then holds changes of several cuts.  `ClosedLog.first_cut` says so, and
`LogSet.named_by` refuses to name it for a cut in between, since it would say too much.

**Snapshot.**  A checkpoint names the base and the closed logs behind it, up to its cut.  Files are never changed, only
named and, when no checkpoint names them any more, removed.  So the store goes on while a checkpoint is written, and a
checkpoint that is abandoned costs nothing: its logs are named by the next.

**Restore.**  The base is opened, the logs are replayed into `Replayed` in their order, and nothing is loaded into
cells: a cell is made when its key comes (`NOT_LOADED` until its value is asked for).  `rescale` does the same for a
part of other stores' files: entries of the wanted key groups, and of those states only that the snapshot lists.

**Fold, and rewrite.**  Logs must not pile up: a restart replays them.  There are two ways to shorten them.
A *fold* merges the closed logs into the base (RocksDB), or into one log (memory), in a process of its own, and is
adopted when it is done: `rebase` puts the new base under the logs that were closed meanwhile.
A *rewrite* is a freeze that takes all cells instead of the dirty ones, and before them all of `Replayed` (a whole
delta).  Its log stands for everything before it: `LogSet` drops all older logs when it is closed.  It is for states
that are small and have no base; it costs less than a process does.

They exclude each other.  A whole log says what is there, and has no tombstones for what is not.  If a fold of older
logs were adopted behind it, the base would bring back what was deleted between the two; and if a whole delta were
packed while a fold runs, it would stand on a base that it does not know.  Hence no rewrite is due while a fold runs
(`_is_folding`), and no fold begins while a whole delta is frozen, packed or unwritten (`is_rewriting`).

**Clean, dirty, evicted.**  A cell is *clean* when what it holds is in the base (or in a whole log): its interval is at
or before `folded_interval`.  Only clean cells may leave memory, since logs are not read again while the job runs.
When memory is full of cells that are not clean, the store asks for a checkpoint and a fold, and the source waits
(`wants_checkpoint`, `needs_fold_to_evict`).

**Tombstones.**  A deleted entry stays in memory as an ABSENT cell until what it hides is gone: until a fold has taken
the tombstone into the base, or a rewrite has left the entry out.  That is `buried_interval`, the later of the two.
Then the cell leaves memory, and `unstore` makes sure that `Replayed` does not show an older value through the gap.

**Crashes.**  A process may die at any instant.  What it had in memory is gone, what no manifest names is an orphan and
is removed at the next start; a log or base is durable before the manifest that names it is written.  So the state
after a restart is what the checkpoint's files say, at its cut, exactly.

Read `logged` (all of the above but the base), then `memory` (no base) and `rocksdb` (the base, in `rocksdb_database`).
`folding` merges logs in a process of its own, `rescale` reads a part of other stores' snapshots, `key_notes` keeps the
type of the keys, so that a job with other keys is refused.  The laws are tried by `tests/protocol/test_state_model.py`
against a dict, with failing disks and every order of these calls.

May import: contracts, state, state.encoding, state.memory, state.log, state.evolution, state.upgrade
"""
