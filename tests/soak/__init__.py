"""A long run of one job on a real broker under real faults, judged by an independent checker.

    python -m tests.soak --kills 200 --broker-kills 20 --zombies 20 --restore-kills 20 --disk-full 10 --network 20
                         --records 5000000 --console --seed 1

hits a job on a real broker so often, counts what really hit, and has every record judged by `tests.checker` and by
Kafka's console consumer.  `--minutes 10` is all faults mixed.
"""
