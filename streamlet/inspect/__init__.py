"""Looking into a checkpoint from outside its job, read-only and without the job file.

`checkpoint` (what is there, by operator and state), `entries` (stored entries in order, in bounded memory), `rows`
(what an entry is shown as), `plain_types`, `plain_keys` (types as a checkpoint notes them), `plain_values`,
`plain_forms` (values as plain data, and in JSON), `parquet`, `comparing` (in what two of
them differ).

May import: contracts, machine, checkpoint, state, state.encoding, state.backends, state.log, state.memory
"""

from streamlet.inspect.checkpoint import CheckpointView, OperatorView, StateView, open_checkpoint

__all__ = ["CheckpointView", "OperatorView", "StateView", "open_checkpoint"]
