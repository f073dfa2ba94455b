"""A command beside this process: it ends, fails with its words, or is killed."""

from __future__ import annotations

import errno
import sys
import threading
import time
from pathlib import Path

import pytest

from streamlet.errors import CheckpointError
from streamlet.machine.processes import ChildProcess
from streamlet.outages import is_outage

pytestmark = pytest.mark.outside


def _python(code: str) -> ChildProcess:
    return ChildProcess((sys.executable, "-c", code), "the work")


def test_a_command_that_succeeds_returns(tmp_path: Path) -> None:
    _python(f"open({str(tmp_path / 'made')!r}, 'w').close()").run()
    assert (tmp_path / "made").exists()


def test_a_command_that_fails_is_an_error_with_what_it_said() -> None:
    with pytest.raises(CheckpointError, match="the work failed: no room left"):
        _python("import sys; sys.exit('no room left')").run()


def test_a_command_that_could_not_write_fails_as_the_disk_would_here() -> None:
    with pytest.raises(OSError, match="the work failed"):
        _python("import os, sys; sys.exit(os.EX_IOERR)").run()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_the_kind_of_what_a_command_could_not_write_survives(number: int) -> None:
    with pytest.raises(OSError, match="the work failed") as caught:
        _python(f"import os, sys; print(os.strerror({number}), file=sys.stderr); sys.exit(os.EX_IOERR)").run()
    assert caught.value.errno == number
    assert is_outage(caught.value) == (number == errno.ENOSPC)


def test_a_command_that_somebody_ends_can_be_tried_again() -> None:
    with pytest.raises(OSError, match="the work was ended by signal 9; was memory short"):
        _python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").run()
    with pytest.raises(OSError, match=r"the work was ended by signal 15$"):
        _python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)").run()


def test_a_command_is_in_a_process_group_of_its_own_so_that_ctrl_c_does_not_reach_it() -> None:
    _python("import os; assert os.getpgid(0) == os.getpid()").run()


def test_a_command_that_is_killed_before_it_began_never_begins(tmp_path: Path) -> None:
    child = _python(f"open({str(tmp_path / 'made')!r}, 'w').close()")
    child.kill()
    child.run()
    assert not (tmp_path / "made").exists()


def test_a_command_can_be_killed_from_another_thread(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    child = _python(f"import signal; open({str(begun)!r}, 'w').close(); signal.pause()")
    failed: list[OSError] = []

    def run() -> None:
        try:
            child.run()
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while not begun.exists():
        assert time.monotonic() < deadline
        thread.join(0.01)
    child.kill()
    thread.join(30)
    assert not thread.is_alive()
    assert len(failed) == 1
