"""Looking into a checkpoint from outside its job, read-only and without the job file.

`checkpoint` (what is there, by operator and state), `entries` (stored entries in order, in bounded memory), `rows`
(what an entry is shown as), `plain_types`, `plain_keys`, `schemas` (types as a checkpoint notes them), `plain_values`,
`plain_forms` (values as plain data, and in JSON), `parquet`, `comparing` (in what two of
them differ).

`importing`, `import_rows` make a savepoint out of a checkpoint and rows.

May import: contracts, machine, checkpoint, state, state.encoding, state.evolution, state.backends, state.log
"""

from streamlet.inspect.checkpoint import CheckpointView, OperatorView, StateView, open_checkpoint

__all__ = ["CheckpointView", "OperatorView", "StateView", "open_checkpoint"]
