"""Speed: what was measured, where the time goes, and the commands that measure it.

Measured, never asserted: `python -m tests.benchmarks` lists what there is, `python -m tests.benchmarks NAME` runs it,
and `python -m tests.benchmarks.compare A B spend` compares two commits.

Figures are of two virtual cores that Kafka shares, in one to five rounds; a quieter or larger machine gives other
numbers, and the commands give yours.  Those for throughput and latency check every committed record.

    spend: keyed count, Kafka to Kafka, exactly-once, 1 s interval, one process
        225,000 to 332,000 records/s by the hour, 2.7 to 4.1 s of CPU per million.  A loop written by hand for just
        this, with state that a crash loses: 300,000 to 397,000, 2.4 to 3.2 s.  In the same rounds the job has 0.74 to
        0.87 of its throughput, for 1.1 to 1.3 times the CPU.
    large_state: 10 million keys in 256 MB
        75,000 to 93,000 records/s and 289 to 351 MB resident, 98 to 126 MB more while a fold runs; all in memory:
        180,000 and 3.4 GB.
    recovery: from `kill -9` to new committed output
        all of 20 kills within 0.9 s at 100 MB of state; in slower hours 95 % within 1.4 s, with 1 GB as well.
    startup: from start to the first record
        0.46 s (0.34 to 0.80), as installed; 0.3 s more where Python may keep no bytecode.
    latency: at 1,000 records/s
        exactly-once at 200 ms: p50 145 ms, p99 257 to 277 ms.  At-least-once: p50 12 ms, p99 57 to 80 ms, where a loop
        by hand over a Kafka client in C has 12 and 60 to 78.
    stalls: lateness of the event loop, a million keys changing
        in memory p99 2.6 to 4.7 ms, longest 16 to 24 ms; most of them read from disk: p99 4 ms, longest 33 to 102 ms,
        of which the job itself held the loop for 20 to 23 ms.
    exchange: a record on its way to another process
        0.2 to 0.4 us at each end for numbers, text and structs, 0.6 to 0.8 us for dicts.

Where the time goes, of 1.7 us of CPU per record in the stages, which is what a loop by hand takes for the same
(`stages` shows both; in loud minutes all of it takes half as long again): the functions of the job and the fold 0.44,
Kafka's record batch with the key's bytes 0.45, finding the key 0.33, reading and decoding 0.32, encoding 0.12, a
checkpoint's share 0.05.  Around them a job spends a sixth of its time on sockets, the event loop, checksums and
packing.  Much of it all is waiting for memory: over 1,000 keys, which fit in a core's cache, a loop of the same steps
takes half as long as over 100,000.

A batch has as many records as 2 ms allow.  Each batch costs 8 us in the chain and as much again in the event loop;
beside that a record takes the same in batches of 50 as of 2,500.  A state of up to 120,000 entries is written anew now
and then, in slices of a millisecond between batches; before, a process of its own folded logs into RocksDB, a fifteenth
of the job's CPU.  With that a checkpoint per second cannot be told from none (0.91 of the CPU, 0.84 to 1.22 in seven
rounds).  Two worker processes for two subtasks do 1.0 to 1.5 times what one process does, for 1.0 to 1.3 times the CPU
per record, on two cores that Kafka shares.  Huge pages, passes that prefetch, lines of JSON written in one call, and
slots laid out by how hot their fields are made no difference that could be measured.

Longer commands:

    python -m tests.benchmarks windows --memory --records 10000000 --rounds 1 --only "running count" "tumbling 1 min
    count"
        resident memory after a quarter, half and all of 10 million records of 1,000 keys, on RocksDB and in memory.
        Without `--only` it takes hours: sliding windows by the second are slow.
    python -m tests.benchmarks nexmark --events 1000000 --queries q0,q5
        queries of Nexmark (https://github.com/nexmark/nexmark), which are written in the DSL and in SQL side by side,
        and events per second, CPU and memory of each; DuckDB checks each result over the same events.  The test run has
        small inputs, with and without kills.
"""
