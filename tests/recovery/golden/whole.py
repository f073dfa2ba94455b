"""The job whose whole state directory lies in `format-*/whole`, as a `kill -9` left it: with its lock, its instance
file, its checkpoints and what was visible of its output. Made once for each format, never again for an old one."""

import sys
from datetime import timedelta

from streamlet import Count, Job, Restart
from streamlet_connectors.files import FileSink
from streamlet_connectors.generator import Generator

job = Job("whole", checkpoint_interval=timedelta(seconds=1), restart=Restart.none(), state_backend=sys.argv[2])
(
    job.source(Generator(int, count=int(sys.argv[1]), rate_per_second=float(sys.argv[3])), uid="numbers")
    .key_by(lambda number: number % 7, uid="by")
    .aggregate(Count(), result=lambda rest, count: [rest, count], uid="count")
    .sink(FileSink("out"), uid="out")
)
