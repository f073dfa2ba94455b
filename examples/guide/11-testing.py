"""Testing: run your job on lists, in your own tests.

`collect(job, {uid: records})` runs a job in this process until the records end, and gives what its sinks have
committed, by their uids.  Sources are replaced by uid, every sink collects, and the job is left as it is; everything
between them is the engine of production, with its codecs and checkpoints.  A failure raises `StreamletError` with the
line of your function.  So give sources and sinks a uid, and make the job at the top of its file, behind a
`__name__ == "__main__"` for what runs it: then a test imports it.

```python
from spend import job, Payment
from streamlet.testing import collect

def test_spend_is_summed_by_user():
    assert collect(job, {"payments": [Payment("ann", 3), Payment("ann", 4)]})["out"] == ["ann: 3", "ann: 7"]
```

`ListSource` and `CollectSink` are the connectors that `collect` puts there; they work in any job.  A `ListSource` in
place of a list gives records event times of their own, as Kafka does: `ListSource(records, timestamps=[...])`.  The
fixture `embedded_kafka`, which pytest finds by itself, is a broker in the process of the test.

`FunctionHarness(fn)` drives one `KeyedProcessFunction`: `push(key, value, at=)`, `watermark(timestamp)` and
`advance(seconds)` give what it emits, `state(name, key)` the handle of a state, and `restart()` goes on from a
checkpoint with a new copy of the function.

`crash_everywhere(job, {uid: records})` is the simulator of streamlet's own tests on your job.  It kills the job at its
steps and disk calls, each in a run of its own, starts it again with functions that remember nothing, and compares what
is committed in the end with a run that was never killed.  What your functions keep outside of declared state is found
(a global, an attribute that is no state), and so are results that are not the same again (`random`, the time of day).
`OutputDiffers` names the step and the first record that differs.  The order of records is not compared, and records
of the wall clock's timers may differ by the 2 seconds in which nothing runs.  200 kills take some seconds;
`at_most=None` tries every place.
"""

import msgspec

from streamlet import Job
from streamlet.testing import ListSource, collect, crash_everywhere
from streamlet_connectors.print import Print


class Payment(msgspec.Struct, frozen=True):
    user: str
    amount: int


job = Job("spend")
payments = job.source(ListSource([Payment("ann", 5), Payment("bob", 7), Payment("ann", 9)]), uid="payments")
spend = payments.key_by(lambda payment: payment.user).sum(lambda payment: payment.amount, uid="spend")
spend.sink(Print(), uid="out")


# In a file of tests this is all of it.
def test_spend_is_summed_by_user() -> None:
    tried = [Payment("eve", 3), Payment("dan", 1), Payment("eve", 4)]
    assert collect(job, {"payments": tried}) == {"out": [3, 1, 7]}


def test_spend_survives_a_kill_at_any_step() -> None:
    crash_everywhere(job, {"payments": [Payment("eve", number) for number in range(50)]}, at_most=20)


if __name__ == "__main__":
    test_spend_survives_a_kill_at_any_step()
    test_spend_is_summed_by_user()
    raise SystemExit(job.run())
