"""One job over several processes of one machine: a parent that coordinates, and workers that host the subtasks.

The parent's `worker_host` starts workers and speaks `messages` over a `link`; a `worker` hosts its part of the plan.
Between workers `socket_channel` carries batches as `frames` of columns (`task/columns`); `failures` are errors as data.

May import: contracts, graph, operators.user_code, state.encoding, state.memory, checkpoint, runtime.task,
runtime.job, state.evolution
"""
