"""The two keyed stores, over what they share.

`logged` (freeze, pack, fold, evict: independent of where old state lies) <- `memory` (no base) and `rocksdb` (a base
in `rocksdb_database`). `folding` merges logs in a process of its own, `rescale` reads a part of other stores'
snapshots, `key_notes` keeps the shape of keys.

May import: contracts, state, state.encoding, state.memory, state.log, state.evolution, state.upgrade
"""
