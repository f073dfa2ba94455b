"""What tools write does not fit on the disk: one error with a remedy, no part left, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery.small_disk import a_small_disk
from tests.unit.cli_kit import ROOT, here

GOLDEN = ROOT / "tests" / "recovery" / "golden" / "format-2" / "kinds" / "rocksdb"


@pytest.mark.outside
def test_on_a_full_disk_each_tool_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"key":{key},"value":{key}}}\n' for key in range(1000)))
    with a_small_disk(tmp_path / "small", 8) as disk:
        old = disk.folder / "old.jsonl"
        old.write_text("what was there\n")
        place, state = str(GOLDEN), ["timed", "largest"]
        commands = [
            ["state", "export", place, *state, "--to", str(old)],
            ["state", "export", place, *state, "--to", str(disk.folder / "new.jsonl")],
            ["state", "export", place, *state, "--to", str(disk.folder / "new.parquet")],
            ["state", "import", place, *state, str(rows), "--to", str(disk.folder / "made")],
        ]
        with disk.filled():
            for command in commands:
                done = here(*command)
                assert (done.exit_code, done.stdout) == (2, ""), done.output
                assert "No space left" in done.stderr, done.stderr
                assert "\n  -> " in done.stderr
                assert len(done.stderr.splitlines()) <= 4
        assert old.read_text() == "what was there\n"
        assert {path.name for path in disk.folder.iterdir()} == {"old.jsonl"}
        for command in commands:
            assert here(*command).exit_code == 0
