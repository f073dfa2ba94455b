"""Every benchmark still runs: at a size that shows nothing about speed, through the one command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import compare
from tests.benchmarks.__main__ import BENCHMARKS, main
from tests.benchmarks.windows import PROGRAMS
from tests.kafka.broker import PROJECT, Kafka

RowsOf = Callable[[str, list[str]], list[dict[str, Any]]]
ONCE = ["--rounds", "1"]
SHORT = [*ONCE, "--quiet", "0.5", "--interval", "200ms", "--records", "2000"]
TINY: dict[str, tuple[list[str], set[str]]] = {
    "spend": (SHORT, {"streamlet", "handwritten"}),
    "pass_through": (SHORT, {"streamlet", "handwritten"}),
    "parse_map_filter": (SHORT, {"streamlet", "handwritten"}),
    "word_count": (SHORT, {"streamlet", "handwritten"}),
    "checkpoints": ([*ONCE, "--intervals", "200ms", "--records", "2000"], {"200ms", "off"}),
    "latency": (
        [*ONCE, "--rates", "200", "--seconds", "1", "--warm", "0", "--only", "at_least_once", "by hand"],
        {"at_least_once, 200/s", "by hand, 200/s"},
    ),
    "recovery": ([*ONCE, "--state", "1MB", "--kills", "1", "--interval", "0.2", "--rate", "500"], {"1MB"}),
    "startup": (ONCE, {"python", "imports", "streamlet"}),
}
WITHOUT_KAFKA: dict[str, tuple[list[str], set[str]]] = {
    "stages": ([*ONCE, "--records", "1000"], {"streamlet", "handwritten"}),
    "stalls": ([*ONCE, "--keys", "1000", "--passes", "1"], {"1,000 keys"}),
    "large_state": ([*ONCE, "--keys", "1000", "--tail", "1000"], {"1,000 keys in 64MB"}),
    "windows": ([*ONCE, "--records", "1000"], set(PROGRAMS)),
    "window_keys": (
        [*ONCE, "--records", "1000", "--keys", "10"],
        {"10 keys, by hand", "10 keys, rocksdb", "10 keys, memory"},
    ),
    "nexmark": ([*ONCE, "--events", "1000", "--queries", "q2,q5"], {"q2", "q5"}),
    "asynchronous": ([*ONCE, "--records", "100"], set()),
    "alignment": (
        [*ONCE, "--milliseconds", "1", "--parallelism", "1", "--processes", "1", "--seconds", "2"],
        {"keyed, 1 ms, p=1, processes 1"},
    ),
    "exchange": ([*ONCE, "--records", "1000", "--rows", "100", "--kinds", "int"], {"int, 100 in a batch"}),
}
"""Benchmark -> options of a run of a second or two, and the programs that it must have run."""


@pytest.fixture
def rows_of(tmp_path: Path) -> RowsOf:
    target = tmp_path / "rows"

    def run(name: str, options: list[str]) -> list[dict[str, Any]]:
        assert main([name, *options, "--json", str(target)]) == 0
        return [json.loads(line) for line in target.read_text().splitlines()]

    return run


@pytest.mark.kafka
@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_with_kafka_checks_its_output_and_gives_a_row_for_each_program(
    name: str, rows_of: RowsOf, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMLET_TEST_KAFKA", kafka.bootstrap)
    options, programs = TINY[name]
    assert {row["program"] for row in rows_of(name, options)} == programs


@pytest.mark.parametrize("name", WITHOUT_KAFKA)
def test_a_benchmark_without_kafka_gives_a_row_for_each_program(name: str, rows_of: RowsOf) -> None:
    options, programs = WITHOUT_KAFKA[name]
    assert {row["program"] for row in rows_of(name, options)} >= programs


def test_the_memory_of_windows_is_measured_on_each_store(rows_of: RowsOf) -> None:
    rows = rows_of("windows", [*ONCE, "--memory", "--records", "200000", "--only", "running count"])
    assert [row["program"] for row in rows] == ["running count, rocksdb", "running count, memory"]
    assert all(row["rss_mb_at_quarter"] > 0 and row["rss_mb_at_end"] > 0 for row in rows)


def test_no_benchmark_is_left_out_here() -> None:
    assert TINY.keys() | WITHOUT_KAFKA.keys() == BENCHMARKS.keys()


def test_without_a_name_the_command_lists_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in BENCHMARKS)
    assert main(["no-such-benchmark"]) == 2


def test_a_commit_is_compared_with_the_benchmarks_of_this_tree_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with compare.checked_out("HEAD", tmp_path / "tree") as tree:
        assert (tree / "streamlet" / "__init__.py").exists()
        assert (tree / "tests" / "benchmarks" / "compare.py").read_text() == Path(compare.__file__).read_text()
    assert not (tmp_path / "tree").exists()


def test_one_round_runs_a_benchmark_with_the_engine_of_a_tree(tmp_path: Path) -> None:
    options = ["--records", "1000", "--only", "running count"]
    rows = compare.one_round(PROJECT, "windows", options, None, tmp_path / "rows")
    assert [row["program"] for row in rows] == ["running count"]


def test_two_commits_are_compared_by_the_ratios_of_each_round() -> None:
    before, after = (
        [{"program": "p", "round": n, "cost": cost} for n, cost in enumerate(of)] for of in ((2, 4), (3, 4))
    )
    assert compare.table(before, after).splitlines()[1].split() == ["p", "cost", "1.250", "1.000", "1.500"]
