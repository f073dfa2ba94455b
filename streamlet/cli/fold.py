"""The command that a job runs beside itself to fold logs, `streamlet.state.backends.folding`. It is not for people."""

from __future__ import annotations

import os
import sys

from streamlet.machine.disk import LocalDisk
from streamlet.machine.hosts import die_with_parent
from streamlet.state.backends.folding import main

_NICENESS = 10
"""The job goes before: records wait for it, and nothing for the fold unless memory is full, when the job waits too."""

if __name__ == "__main__":
    os.nice(_NICENESS)
    die_with_parent()  # what a killed job was folding, its next start folds anew
    sys.exit(main(LocalDisk(), sys.argv[1:]))
