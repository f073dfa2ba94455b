"""One job: attempt after attempt until it has finished, was stopped, or cannot go on.

`supervisor` (restart or give up: `restart`, `job_state`) -> `attempt` -> `restoring` (what a start goes through before
anything runs) -> `assembly` (subtasks by plan and `restored` snapshots, in the attempt's `surroundings`) on a
`hosting`; `discovery` finds new splits meanwhile, `loop_watch` and `garbage` look after the process.

May import: contracts, observe, graph, operators, operators.user_code, state, state.encoding, state.backends,
checkpoint, runtime.task, state.evolution, state.upgrade
"""
