"""Joins of two streams by key.

`operator` has what all share: two inputs, late records, timers, pairs put out; `buffers` keeps the rows of both sides.
One file per kind: `interval`, `as_of`, `window`, and `lookup` (a stream and a table that every subtask holds).

May import: contracts, state, state.memory, operators, operators.user_code, operators.windows, operators.asynchronous,
state.evolution
"""
