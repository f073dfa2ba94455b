"""What is remembered: typed handles over one keyed store.

A key enters `store` once per record and leaves as a slot; a handle reads and writes the slot's cell.  At a barrier the
store freezes, packs what changed into a log, and folds logs into a base.  Read `descriptor` and
`descriptors` (what a user declares), `handles` and `expiring` (what a function holds), `binding`, `store` (the
contract), `snapshot` (what manifests say of it), then:

```text
encoding/  values, keys and key groups as bytes        memory/    slots, cells, timers, eviction, undo
log/       what changed between two freezes            backends/  the two stores: RocksDB and memory
```

May import: contracts, state.encoding, state.memory, state.evolution
"""
