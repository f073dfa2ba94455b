"""Testing: your job on lists, killed at its steps, and a Kafka broker, a disk and a network inside of your test.

No engine code imports it.

`collect` runs a job on lists in place of its sources and gives what its sinks commit; `ListSource` and `CollectSink`
are the connectors that it puts there.  None of them needs pytest.

```python
def test_spend():
    assert collect(job, {"payments": [Payment("ann", 3)]}) == {"out": [("ann", 3)]}
```

`crash_everywhere` kills a job at every step that it makes, starts it again, and compares what it has committed with a
run that was never killed: what a function remembers outside of declared state is found, with the step and the record.

```python
def test_survives_everything():
    crash_everywhere(job, {"payments": payments})
```

`FunctionHarness(fn)` drives one process function record by record, with its state, its timers and a virtual clock.

`streamlet.testing.kafka.EmbeddedKafka` is a broker in memory, in a thread of the test; it needs
`pip install "streamlet[testing]"`.  pytest finds the fixture `embedded_kafka` by itself.  `streamlet dev kafka` is the
same broker as a command.

```python
with EmbeddedKafka(topics={"payments": 4, "spend": 4}) as broker:
    job = build_job(broker.bootstrap)
    assert job.run(state_dir=str(tmp_path)) == 0
```

`streamlet.testing.streams` runs one stream on given values and gives what it emits:

```python
job = Job("test")
payments = job.source(Values([Payment("ann", 5), Payment("ann", 9)]))
assert emitted(payments.key_by("user").sum(lambda payment: payment.amount)) == [5, 14]
```

`loop` is an event loop with virtual time, `disk` a disk that forgets what was not synced, `network` connections between
simulated loops: the simulator of streamlet's own tests is made of them.
"""

from streamlet.testing.collecting import collect
from streamlet.testing.crashing import Crashes, crash_everywhere
from streamlet.testing.errors import OutputDiffers
from streamlet.testing.function_harness import FunctionHarness
from streamlet.testing.lists import CollectSink, ListSource

__all__ = ["CollectSink", "Crashes", "FunctionHarness", "ListSource", "OutputDiffers", "collect", "crash_everywhere"]
