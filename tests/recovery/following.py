"""A job for tests: writes each line of the log `app.log`, which is rotated while it runs, into the folder `out`."""

from datetime import timedelta

from streamlet import Job
from streamlet_connectors.files import FileSink, TextLines

job = Job("following", checkpoint_interval=timedelta(milliseconds=100))
log = TextLines("app.log*", follow=True, poll_seconds=0.02)
log.discovery_interval_seconds = 0.1  # more looks in a short test
job.source(log, uid="log").sink(FileSink("out"), uid="out")
