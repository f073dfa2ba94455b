"""Keyed state in memory.

`cells` (a slot per live key, a cell per state in use) <- `slot_table` (from a key to its slot) <-
`state_cells` (one state) and `timers`; `eviction` keeps all of it within a bound, `undo` takes a record's changes
back.

May import: contracts, state.encoding
"""
