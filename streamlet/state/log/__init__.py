"""The log of a store: what changed between two freezes.

`delta` packs frozen cells in slices -> `file` writes and reads frames -> `log_set` knows which logs a manifest may
name -> `replayed` answers from them after a restore, until a fold has brought them into the base.

May import: contracts, state, state.encoding, state.memory
"""
