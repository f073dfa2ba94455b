"""One run of one job by a program: what `streamlet run` and `job.run()` do.

`job_run` sets up, supervises and says how it ended; `signals` hears Ctrl-C in a thread of its own, `stopping` acts on
it; `limits` looks at what the system allows, `importing` at the program's files, `option_words` words settings as
options.  `reading` is what is known of the run, `serve` offers that over HTTP; `embedding` runs a job in the
loop of another program.

May import: contracts, machine, graph, observe, observe.serving, checkpoint, runtime.job, runtime.processes,
state.evolution
"""
