"""One subtask: batches in, the chain of its operators, batches out, and its part of checkpoints.

Batches, watermarks and barriers enter by `channel` (bounded by `backlog`, in time) or are read by `source_subtask`;
`subtask` aligns barriers and runs `chain` in one call; results leave by `routing` or `sink_leaf`.  `snapshots` is what
happens behind a barrier.  `control` is the only way to and from the coordinator: plain messages.

May import: contracts, graph, operators, operators.user_code, state, state.encoding, state.backends, state.memory,
checkpoint
"""
