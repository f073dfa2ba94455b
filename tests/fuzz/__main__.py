"""A fuzzing campaign: `python -m tests.fuzz --minutes 10 --target manifest`.

Guided by coverage where the package atheris is installed (it is no dependency, and comes for few versions of Python);
else by mutation alone, and it says which of the two it was.  An input that breaks the promise is kept in a file.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS, Target


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unguided", action="store_true", help="mutation alone, also where atheris is installed")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder of inputs that failed")
    parser.add_argument("input", type=Path, nargs="?", help="one kept input, to be tried again")
    chosen = parser.parse_args()
    names = list(TARGETS) if chosen.target == "all" else [chosen.target]
    if chosen.input is not None:
        TARGETS[names[0]].check(chosen.input.read_bytes())
        return 0
    atheris = None if chosen.unguided else _atheris()
    if atheris is not None and len(names) == 1:
        return _guided(atheris, TARGETS[names[0]], chosen)
    if atheris is not None:
        print("guided by coverage only with one --target; mutating", flush=True)
    return max(_unguided(name, chosen) for name in names)


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ImportError:
        print("atheris is not installed: mutation without guidance by coverage", flush=True)
        return None


def _unguided(name: str, chosen: argparse.Namespace) -> int:
    target, random = TARGETS[name], Random(chosen.seed)
    end = time.monotonic() + chosen.minutes * 60
    runs, failures = 0, set[str]()
    while time.monotonic() < end:
        data = mutated(random, target.seeds)
        runs += 1
        try:
            target.check(data)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {last.filename}:{last.lineno}"
            if kind not in failures:
                failures.add(kind)
                traceback.print_exc()
                print(f"kept as {_keep(chosen.keep, name, data)}", flush=True)
    print(f"{name}: {runs} inputs, {len(failures)} kinds of failure", flush=True)
    return 1 if failures else 0


def _keep(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{hashlib.blake2b(data, digest_size=6).hexdigest()}"
    path.write_bytes(data)
    return path


def _guided(atheris: Any, target: Target, chosen: argparse.Namespace) -> int:
    corpus = chosen.keep / f"corpus-{chosen.target}"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / hashlib.blake2b(seed, digest_size=6).hexdigest()).write_bytes(seed)
    limits = [
        f"-max_total_time={int(chosen.minutes * 60)}",
        f"-seed={chosen.seed}",
        "-rss_limit_mb=2048",
        "-timeout=20",
    ]
    artefacts = f"-artifact_prefix={chosen.keep}/{chosen.target}-"
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *limits, artefacts, "-print_final_stats=1", str(corpus)], target.check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
