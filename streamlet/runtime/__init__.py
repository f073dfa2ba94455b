"""The only room with tasks, queues, cancellation and threads.

```text
run/        one program: options, signals, limits, exit codes         (top)
processes/  subtasks in other processes of the machine
job/        attempts: restore, assemble, supervise, restart
task/       subtasks: chains, channels, barriers, event time         (bottom)
```

May import: contracts
"""
