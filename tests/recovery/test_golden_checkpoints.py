"""Checkpoints that earlier releases wrote are gone on from, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery.golden.jobs import CUT, build
from tests.unit.job_kit import checkpoint_at, files, lines, run

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = [(form.name, backend) for form in sorted(GOLDEN.glob("format-*")) for backend in ("memory", "rocksdb")]


def test_there_are_checkpoints_of_earlier_releases() -> None:
    assert len(WRITTEN) >= 2


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What this release puts out behind its own checkpoint."""
    folder = tmp_path_factory.mktemp("own")
    assert run(build(folder, "memory")).code == 0
    outs = sorted(path.name for path in (folder / "out").iterdir())
    before = {name: files(folder / "out" / name) for name in outs}
    assert run(build(folder, "memory"), from_checkpoint=str(checkpoint_at(folder, CUT))).code == 0
    found = {name: sorted(map(repr, lines(folder / "out" / name, but=before[name]))) for name in outs}
    assert len(found) == 10 and all(found.values())
    return found


@pytest.mark.parametrize("form, backend", WRITTEN)
def test_a_checkpoint_of_each_format_is_gone_on_from(
    form: str, backend: str, expected: dict[str, list[str]], tmp_path: Path
) -> None:
    (checkpoint,) = (GOLDEN / form / backend).glob("chk-*")
    ran = run(build(tmp_path, backend), from_checkpoint=str(checkpoint))
    assert ran.code == 0, ran
    found = {name: sorted(map(repr, lines(tmp_path / "out" / name))) for name in expected}
    assert found == expected
