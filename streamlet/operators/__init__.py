"""What happens to a batch: synchronous, no I/O.

A batch enters by `Operator.process`, results leave by `out(batch)`; `on_watermark` and `on_timer` let time in,
`freeze` gives what a checkpoint keeps beside keyed state. Read `operator` (the contract), `functions` (calling user
functions), `stateless`, `keying` (a key becomes a slot), then the wings:

```text
user_code/     the user's line in errors, misuse that Python does not notice
aggregates/    running aggregates per key          windows/   one result per key and window
joins/         two streams, or a stream and a table
asynchronous/  map_async, the one operator that awaits
```

`process`, `process_function`, `timer_service`, `connected`: the user's own keyed functions. `error_policy`: what
becomes of records that fail. `timestamps`, `watermark_strategy`: event time at the sources.

May import: contracts, state, state.encoding, state.memory, operators.user_code
"""
