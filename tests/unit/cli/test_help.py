"""`streamlet help`: every topic is there, names and words are found, and it works without the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlet.cli.main import main
from streamlet.cli.topics import REFERENCE, names, topics
from tests.unit.cli_kit import ROOT

CHAPTERS = [path.stem.partition("-")[2] for path in sorted((ROOT / "examples" / "guide").glob("[0-9]*.py"))]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["help", *words])


def test_without_a_topic_it_lists_all_of_them_on_one_screen() -> None:
    done = run()
    assert done.exit_code == 0
    listed = re.findall(r"^  (\S+)", done.stdout, re.MULTILINE)
    assert listed == [*CHAPTERS, *REFERENCE, "speed", "files", "generator", "kafka", "print"]
    assert len(done.stdout.splitlines()) <= 40
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_no_two_topics_have_one_name_and_each_title_fits() -> None:
    listed = [topic.name for topic in topics()]
    assert sorted(listed) == sorted({*listed})
    assert [topic.name for topic in topics() if len(topic.title.partition(": ")[2] or topic.title) > 100] == []


@pytest.mark.parametrize("topic", [topic.name for topic in topics()])
def test_every_topic_prints_its_text(topic: str) -> None:
    done = run(topic)
    assert done.exit_code == 0
    assert len(done.stdout) > 200


def test_a_chapter_is_its_text_and_its_code() -> None:
    done = run("event", "time")
    assert done.stdout.startswith("Event time: ")
    assert "\n    job = Job(" in done.stdout


def test_the_settings_are_listed_with_their_defaults() -> None:
    done = run("settings")
    assert "stalled_intervals: int = 10\n    An attempt" in done.stdout


@pytest.mark.parametrize(
    ("word", "beginning"),
    [
        ("TopK", "TopK(k, by=None"),
        ("topk", "TopK(k, by=None"),
        ("Stream.map", "Stream.map(function"),
        ("key_by", "Stream.key_by(function"),
        ("interval_join", "KeyedStream.interval_join(right"),
        ("bounded_out_of_orderness", "WatermarkStrategy.bounded_out_of_orderness(delay"),
        ("KafkaSink", "KafkaSink("),
        ("SinkWriter", "SinkWriter("),
        ("run", "Usage: "),
        ("checkpoints", "Usage: "),
    ],
)
def test_a_public_name_or_a_command_prints_what_it_does(word: str, beginning: str) -> None:
    done = run(word)
    assert done.exit_code == 0
    assert done.stdout.startswith(beginning)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("where are late records decided", "late_output(tag)"),
        ("exit code of a job that another process holds", "another process holds the job"),
        ("prepared transaction times out", "transaction_timeout_seconds"),
        ("name of a part file", "part-00000042"),
        ("closed twice", "May be called at any time"),
        ("manifest rename durable", "manifest"),
    ],
)
def test_words_find_the_paragraphs_that_have_them(question: str, answer: str) -> None:
    done = run(*question.split())
    assert done.exit_code == 0
    assert answer in done.stdout


def test_a_word_that_is_nowhere_names_the_nearest_topics() -> None:
    done = run("windoes")
    assert done.exit_code == 2
    assert "did you mean windows" in done.stderr


def test_every_method_is_listed_for_the_class_that_has_it() -> None:
    found = names()
    assert {"Stream.map", "KeyedStream.window", "KeyedStream.interval_join", "WindowedStream.count"} <= found.keys()
    assert "KeyedStream.map" not in found


@pytest.mark.outside
def test_an_installed_package_has_the_guide_without_the_repository(tmp_path: Path) -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, tmp_path / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    for inside, place in wheel["force-include"].items():
        copy = shutil.copytree if (ROOT / inside).is_dir() else shutil.copyfile
        copy(ROOT / inside, tmp_path / place)
    done = subprocess.run(
        [sys.executable, "-m", "streamlet", "help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run().stdout
