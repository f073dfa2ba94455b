"""One subtask: batches in, the chain of its operators, batches out, and its part of checkpoints.

Batches, watermarks and barriers enter by `channel` and `input_gate` (bounded by `backlog`, in time), which align
barriers, or are read by `source_subtask`; `subtask` runs `chain` in one call; results leave by `routing` or
`sink_leaf`.  `snapshots` is what happens behind a barrier.  `control` is the only way to and from the coordinator:
plain messages.  `meter` and `stopwatch` count and measure for people, once per batch; `chain_facts` reads them.
`wiring` lists what a subtask is made of, `subtask_state` its states and what the end of input means.

May import: contracts, observe, graph, operators, operators.user_code, state, state.encoding, state.backends,
state.memory, checkpoint
"""
