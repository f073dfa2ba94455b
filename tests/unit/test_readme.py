"""README is short, and what it says of the repository is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.unit.cli_kit import ROOT

README = (ROOT / "README.md").read_text()
FIRST_COMMANDS = (
    "pip install . && streamlet run examples/quickstart.py",
    'pip install -c requirements.lock -e ".[test]" && python -m pytest',
)


def _map() -> str:
    (block,) = re.findall(r"## Code map\n\n```text\n(.*?)```", README, re.DOTALL)
    return str(block)


def _mapped() -> Iterator[str]:
    """The path of each folder and file that begins a line of the code map, below those that are indented less."""
    above: list[tuple[int, str]] = []
    for line in _map().splitlines():
        found = re.match(r"( *)((?:[\w./]+(?:/|\.py) ?)+)(?: |$)", line)
        if not found or len(found[1]) > 4:
            continue
        above = [entry for entry in above if entry[0] < len(found[1])]
        for name in found[2].split():
            yield "".join([*(part for _, part in above), name])
        if found[2].strip().endswith("/"):
            above.append((len(found[1]), found[2].strip().rstrip("/").split()[-1].rstrip("/") + "/"))


MAPPED = list(_mapped())


def test_it_has_at_most_200_lines_and_the_code_map_60() -> None:
    assert README.count("\n") <= 200
    assert _map().count("\n") <= 60


def test_its_two_first_commands_are_what_they_were() -> None:
    assert [README.splitlines().count(command) for command in FIRST_COMMANDS] == [1, 1]


@pytest.mark.parametrize("path", MAPPED)
def test_what_the_code_map_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_folder_of_the_engine_is_in_the_code_map() -> None:
    folders = [path.name for path in (ROOT / "streamlet").iterdir() if (path / "__init__.py").exists()]
    assert len(folders) > 8
    assert [name for name in folders if f"streamlet/{name}/" not in MAPPED] == []


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:examples|tests|streamlet|connectors)/[\w./]+)`", README)))
)
def test_what_the_text_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()
