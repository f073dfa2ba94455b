"""KafkaSource: partitions as splits, positions in the checkpoint, no consumer group.

`source` -> `reader` (batches for a subtask) -> `decoding` (rows to values) <- `fetching` (prefetch per leader) with
`partition_fetch` (one partition), `leaders` (finding them, noticing another log), `records` (what an answer holds of a
partition), `held_back` (records behind an open transaction).

May import: contracts, kafka.protocol
"""
