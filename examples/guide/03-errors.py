"""Errors: records for which a function of the job raises, and dead letters.

An exception in a function fails the job, which suspends when the same record fails again.  `on_error=` sets another
policy, on every step that calls functions, joins, windows and asynchronous functions too: `"skip"` leaves the record
out (said once in the log); an `OutputTag` or a sink gets a `DeadLetter` with the record, its key, time and origin, the
operator, and the exception with its line.

Every exception of a function is its error, `GeneratorExit` and `asyncio.CancelledError` too; `SystemExit` and
`KeyboardInterrupt` end the job under any policy.  A `def` without a `return` with a value is refused in map, filter,
key_by, flat_map, reduce, split, sample and with_timestamps.  A filter goes by truth: None is false.

Dead letters are records like others: exactly once, in the same checkpoint as the rest of the output.  What a failed
record did to declared state and timers is undone, what it emitted is dropped; functions run again for the other records
of its batch.  Always fatal are functions that block.

Where it fails, what is left out, and the value of the dead letter:

    any step, for a record
        the record
    job.source(..., on_error=): a function of its `WatermarkStrategy`, or a record without a time
        the record; `side_output` of the source
    a key that cannot be a key (None, a list, another type than before)
        the record, at `key_by` or at the step behind it, whichever has a policy
    written = stream.sink(..., on_error=DEAD): what the sink cannot write
        the record; `written.side_output(DEAD)`
    a window's `result` or `process`
        that output of the window; a `WindowResult` with its accumulator, or the list of its values
    `merge` when a sliding window is emitted
        that output of the window; a `WindowResult` with the list of what is to be merged
    `on_timer` of a process function, what it changed and emitted undone
        the timer; its time
    `on_timer` of a trigger; the window waits for what else emits it
        the timer; the window
    the function of a join
        the pair, `(left, right)`; both count as having met, and meet others
    process_broadcast_element, a table of `lookup_join`
        the element; it changes no table, and one subtask reports it
    an asynchronous function, after its retries
        the record, in its place among the results
    decoding, KafkaSource(on_bad_record=OutputTag[BadRecord]("bad"))
        the record, with topic, partition, offset, its bytes and headers, from `side_output` of the source
"""

from streamlet import DeadLetter, Job, OutputTag
from streamlet_connectors.generator import Generator
from streamlet_connectors.print import Print

DEAD = OutputTag[DeadLetter]("dead")

job = Job("ratios")
numbers = job.source(Generator(lambda i: i - 3, count=7), uid="numbers")

# The fourth number is 0, for which the function raises: its dead letter goes to the side output of this step.
ratios = numbers.map(lambda n: 12 / n, on_error=DEAD, uid="ratio")
ratios.sink(Print(), uid="out")
ratios.side_output(DEAD).map(lambda letter: f"{letter.value}: {letter.message}").sink(Print("dead: "), uid="dead")

if __name__ == "__main__":
    raise SystemExit(job.run())
