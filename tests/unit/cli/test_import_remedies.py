"""A job file that uses streamlet wrongly: what is said of Python's own errors, and of a connector's refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streamlet.cli.loading import load_job
from streamlet.errors import StreamletError
from tests.unit.cli_kit import JOB, write_job
from tests.unit.words import require_good_words

WRONG: dict[str, tuple[str, list[str]]] = {
    "name of a connector": (
        "from streamlet import *\njob = Job('a')\nx = JsonLines('in')\n",
        ["-> from streamlet_connectors.files import JsonLines"],
    ),
    "option that is none": (
        "from streamlet_connectors.files import Csv\nx = Csv('in.csv', fields=['a'])\n",
        ["job.py:2 in <module>: TypeError", "unexpected keyword argument 'fields'", "-> streamlet help Csv says how"],
    ),
    "argument of a step": (
        JOB.replace(".map(failing, uid", ".deduplicate(failing, uid"),
        ["TypeError: Stream.deduplicate() missing", "-> streamlet help Stream.deduplicate says how it is called"],
    ),
    "method of another stream": (
        JOB.replace(".map(failing, uid", ".join(failing, uid"),
        ["has no attribute 'join'", "-> a KeyedStream has as_of_join, interval_join", "stream.key_by("],
    ),
    "method spelled nearly so": (
        JOB.replace(".map(failing, uid", ".maps(failing, uid"),
        ["has no attribute 'maps'", "-> write map; streamlet help map says what it does"],
    ),
    "option of a connector": (
        "from streamlet_connectors.files import JsonLines\n\nx = JsonLines('in', on_bad_record='ignore')\n",
        ["job.py:3: on_bad_record='ignore' of a file source", "-> say 'fail' or 'skip'"],
    ),
    "topic that is no text": (
        "from streamlet_connectors.kafka import KafkaSource\nx = KafkaSource('localhost:9092', 5)\n",
        ["job.py:2: KafkaSource: a topic is named by text, not by 5", 'KafkaSource(address, ["payments", "refunds"])'],
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_use_is_told_with_what_is_right(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, said = WRONG[what]
    path = write_job(tmp_path, text)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    with pytest.raises(StreamletError) as caught:
        load_job(str(path), [])
    for part in said:
        assert part in str(caught.value)
    require_good_words(f"streamlet: {caught.value}")
