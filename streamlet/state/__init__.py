"""What is remembered: typed handles over one keyed store.

```text
descriptors  what a user declares        handles   what a user's function holds       store     the contract
types, codec declared types and bytes    keys, key_groups   one key type, where a key lives
slots, cells what is in memory           residency bounds it
logged       freeze and pack (delta), write (logbook, log), restore (overlay)
rocksdb      the store over RocksDB (rocks); folding merges logs into it, rescale reads other stores' parts
memory       the store without RocksDB   snapshot  what manifests say
```
"""
