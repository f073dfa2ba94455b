"""Testing: a Kafka broker, a disk and a network that run inside of your test.  Nothing in the engine imports it.

`streamlet.testing.kafka.EmbeddedKafka` is a broker in memory, in a thread of the test; it needs
`pip install "streamlet[testing]"`.  `streamlet dev kafka` is the same broker as a command.

```python
with EmbeddedKafka(topics={"payments": 4, "spend": 4}) as broker:
    job = build_job(broker.bootstrap)
    assert job.run(state_dir=str(tmp_path)) == 0
```

`streamlet.testing.streams` runs a job on given values and gives what a stream emits:

```python
job = Job("test")
payments = job.source(Values([Payment("ann", 5), Payment("ann", 9)]))
assert emitted(payments.key_by("user").sum(lambda payment: payment.amount)) == [5, 14]
```

`loop` is an event loop with virtual time, `disk` a disk that forgets what was not synced, `network` connections between
simulated loops: the simulator of streamlet's own tests is made of them.
"""
