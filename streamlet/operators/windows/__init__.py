"""Windows: records of a key grouped by time or by count, put out when the window is complete.

Batches and watermarks enter `operator` (time, timers, late records, what all kinds share). `assigners` says which
windows a time is in, `calendar` their bounds in a time zone, `contents` what a window keeps, `triggers` when it is put
out early. One file per way to keep windows: `tumbling`, `sliding` (shared `panes`), `session`, `triggered` (the
general way).

May import: contracts, state, state.memory, operators, operators.user_code, operators.aggregates, state.evolution
"""
