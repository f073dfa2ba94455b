"""Compares two commits by a benchmark, in turn: `python -m tests.benchmarks.compare A B [NAME] [OPTION ...]`.

Each commit is checked out into a temporary folder, with the benchmarks of this tree put into both, so that only the
engine and the connectors differ.  One broker serves all.  Rounds alternate; every figure of B is divided by that of A
in the same round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.reporting import HEADER, Row, ratios_by_round, spread
from tests.kafka.broker import PROJECT, a_kafka

WITHOUT_KAFKA = {"stages", "stalls", "large_state", "windows", "asynchronous", "exchange"}


@contextlib.contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A worktree of the commit with the tests of this tree; gone when the block is left."""
    _git("worktree", "add", "--detach", "--force", str(folder), commit)
    try:
        shutil.rmtree(folder / "tests")
        shutil.copytree(PROJECT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def one_round(tree: Path, name: str, options: Sequence[str], bootstrap: str | None, target: Path) -> list[Row]:
    """Runs the benchmark with the engine of that tree."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tree), str(tree / "connectors")))}
    if bootstrap is not None:
        environment["STREAMLET_TEST_KAFKA"] = bootstrap
    command = [sys.executable, "-m", "tests.benchmarks", name, "--rounds", "1", "--json", str(target), *options]
    done = subprocess.run(command, cwd=tree, env=environment, text=True, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed in {tree}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    rows: list[Row] = [json.loads(line) for line in target.read_text().splitlines()]
    target.unlink()
    return rows


def table(before: Sequence[Row], after: Sequence[Row]) -> str:
    """The ratios B / A of every figure of every program."""
    lines = [f"{'B / A':65} {HEADER}"]
    for program in dict.fromkeys(row["program"] for row in after):
        olds, news = ([row for row in rows if row["program"] == program] for rows in (before, after))
        for figure in dict.fromkeys(name for row in news for name in row if name != "round"):
            found = ratios_by_round(news, olds, figure)
            if found:
                lines.append(f"{program:32} {figure:32} {spread(found, digits=3)}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare", description=__doc__)
    parser.add_argument("before", metavar="COMMIT_A")
    parser.add_argument("after", metavar="COMMIT_B")
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, default="spend")
    parser.add_argument("--rounds", type=int, default=5)
    options, further = parser.parse_known_args(arguments)
    if options.before == options.after:
        parser.error("compare two commits, by two names")
    rows: dict[str, list[Row]] = {options.before: [], options.after: []}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamlet-compare-")))
        trees = {one: stack.enter_context(checked_out(one, folder / str(n))) for n, one in enumerate(rows)}
        bootstrap = None if options.name in WITHOUT_KAFKA else stack.enter_context(a_kafka(os.environ)).bootstrap
        for number in range(options.rounds):
            for commit in list(trees) if number % 2 == 0 else list(trees)[::-1]:
                for row in one_round(trees[commit], options.name, further, bootstrap, folder / "rows"):
                    rows[commit].append({**row, "round": number})
                    print(json.dumps({"commit": commit, **row, "round": number}), flush=True)
    print(table(rows[options.before], rows[options.after]))
    return 0


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(PROJECT), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"git {arguments[0]} failed: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
