"""What must not be there when everything has come to its end."""

from __future__ import annotations

from streamlet.checkpoint.storage import CheckpointStorage
from tests.simulation.oracle import WrongOutput
from tests.simulation.outside import Outside


def check_outside(outside: Outside) -> None:
    """No unit waits for anybody."""
    if open_units := outside.open_units():
        raise WrongOutput(f"units are left open for ever: {open_units}")


def check_folder(storage: CheckpointStorage, *, is_cleaned: bool) -> None:
    """The state directory holds whole checkpoints, the files that they name, and nothing else; files that no
    checkpoint names only until the next start (`is_cleaned`)."""
    infos = storage.checkpoints()
    named = {name for info in infos if info.manifest is not None for name in info.manifest.file_names()}
    there = {path.name for path in storage.files.iterdir()}
    if named - there or (is_cleaned and named != there):
        raise WrongOutput(f"files that no checkpoint names: {there - named}; missing: {named - there}")
    for info in infos:
        if info.manifest is None:
            raise WrongOutput(f"checkpoint {info.id} cannot be read: {info.problem}")
        storage.verify(info.manifest, full=True)
    known = {"files", "began", "instance", "instance.new", "lock"} | {info.path.name for info in infos}
    others = {path.name for path in storage.folder.iterdir()} - known
    if left := {name for name in others if not name.startswith("attempt-") and name != "work"}:
        raise WrongOutput(f"left over in the state directory: {left}")
