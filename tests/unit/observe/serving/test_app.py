"""What `--http` answers, and to whom: probes, a function that blocks, tokens, foreign pages, wrong addresses."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Json, Restart
from streamlet.cli.asking import ask
from streamlet.connect import Position, ReaderContext
from streamlet.errors import ConfigError
from streamlet.observe import serving
from streamlet.observe.serving import app
from streamlet.observe.serving.address import listen
from streamlet.outages import Outages
from streamlet.runtime.run.control import VERSION, Request
from streamlet_connectors.files import FileSink
from streamlet_connectors.kafka import KafkaSource
from tests.unit.job_kit import WaitingReader, make_job, run, storage
from tests.unit.serving_kit import Answer, Door, Scraped

TOKEN = "canary-token-0123456789"


def asked(folder: Path, path: str, **headers: str) -> Answer:
    """What a healthy job answers."""
    door = Door()
    source = Scraped(20, 10, door, path)
    source.look = lambda: source.answers.append(door.ask(path, **headers))  # type: ignore[method-assign]
    job = make_job(folder)
    job.source(source, uid="in").sink(FileSink(str(folder / "out")), uid="out")
    assert door.run(job).code == 0
    return source.answers[0]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_healthy_job_answers_the_probes(path: str, tmp_path: Path) -> None:
    answer = asked(tmp_path, path)
    assert (answer.status, answer.text) == (200, "ok\n")
    assert answer.headers["cache-control"] == "no-store"


def test_status_has_the_sums_and_every_fact(tmp_path: Path) -> None:
    answer = asked(tmp_path, "/status")
    found = json.loads(answer.text)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (found["job"], found["state"], found["records"], found["restarts"]) == ("job", "running", 10, 0)
    assert [one["uid"] for one in found["details"]["work"]["operators"]] == ["in", "out"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "streamlet.example:9470"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:9470", "Origin": "http://localhost:1"}, 403),
        ({"Host": "localhost:9470", "Origin": "http://localhost:9470"}, 200),
        ({"Host": "[::1]:9470"}, 200),
        ({"Host": "127.0.0.1"}, 200),
    ],
)
def test_a_page_of_another_site_reads_nothing(headers: dict[str, str], status: int, tmp_path: Path) -> None:
    assert asked(tmp_path, "/status", **headers).status == status


def test_nothing_but_reading_is_possible_and_unknown_paths_are_not_found(tmp_path: Path) -> None:
    door = Door()
    source = Scraped(20, 10, door)
    found: list[int] = []

    def look() -> None:
        found.extend(door.ask("/status", method).status for method in ("POST", "PUT", "DELETE", "PATCH"))
        found.extend(door.ask(path).status for path in ("/nothing", "/..%2f..%2fetc/passwd", "/metrics/x"))
        Scraped.look(source)

    source.look = look  # type: ignore[method-assign]
    job = make_job(tmp_path)
    job.source(source, uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert door.run(job).code == 0
    assert found == [405] * 4 + [404] * 3


def test_bytes_that_are_no_request_do_no_harm_and_are_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door()
    source = Scraped(20, 10, door, "/healthz")

    def look() -> None:
        for sent in (b"\0\xff" * 100, b"GET /metrics HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000):
            with socket.create_connection(("127.0.0.1", door.port)) as stranger:
                stranger.sendall(sent)
                stranger.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    while stranger.recv(1 << 16):
                        pass
        Scraped.look(source)

    source.look = look  # type: ignore[method-assign]
    job = make_job(tmp_path)
    job.source(source, uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert door.run(job).code == 0
    assert source.answers[0].status == 200
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_with_a_token_nothing_is_told_without_it_but_whether_the_job_is_alive(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    door = Door()
    source = Scraped(20, 10, door, "/healthz")
    found: dict[str, int] = {}

    def look() -> None:
        for name, given in {"none": "", "wrong": "Bearer wrong", "bare": TOKEN, "right": f"Bearer {TOKEN}"}.items():
            found[name] = door.ask("/metrics", Authorization=given, Host="job.example").status
        Scraped.look(source)

    source.look = look  # type: ignore[method-assign]
    job = make_job(tmp_path)
    job.source(source, uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = door.run(job, http_token_file=str(file))
    assert ran.code == 0
    assert found == {"none": 401, "wrong": 401, "bare": 401, "right": 200}
    assert source.answers[0].status == 200
    assert TOKEN not in ran.said


def test_a_function_that_blocks_is_named_by_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_ANSWER_SECONDS", 0.05)
    door = Door()
    answers: list[Answer] = []

    def blocks(number: int) -> int:
        if number == 15:
            answers.extend(door.ask(path) for path in ("/healthz", "/readyz", "/metrics"))
        return number

    job = make_job(tmp_path)
    job.source(Scraped(20, 10, door), uid="in").map(blocks, uid="b").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert door.run(job).code == 0
    assert [answer.status for answer in answers] == [503] * 3
    assert "test_serving.py" in answers[0].text or "holds the event loop" in answers[0].text


class Away(Scraped):
    """Says at its pause that the outside does not answer, before it is looked at."""

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> WaitingReader:
        def look() -> None:
            context.outages.away("Kafka at broker:9092", "connection refused")
            Scraped.look(self)
            context.outages.back("Kafka at broker:9092")

        self.look = look  # type: ignore[method-assign]
        return super().reader(context, splits)


def test_a_job_that_waits_for_the_outside_is_not_ready_and_says_why(tmp_path: Path) -> None:
    door = Door()
    source = Away(20, 10, door, "/readyz")
    job = make_job(tmp_path)
    job.source(source, uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    assert door.run(job).code == 0
    assert source.answers[0].status == 503
    assert "Kafka at broker:9092 has not answered for 0 s (connection refused)" in source.answers[0].text


@pytest.mark.outside
def test_no_answer_has_a_secret_of_a_connector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    door = Door()
    answers: list[Answer] = []
    job = make_job(tmp_path, restart=Restart.fixed(timedelta(seconds=0.2), attempts=3))
    secrets: Any = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "ann",
        "sasl_plain_password": TOKEN,
    }
    job.source(KafkaSource(address, "payments", value=Json(), **secrets), uid="in").sink(
        FileSink(str(tmp_path / "out")), uid="out"
    )

    has_begun = threading.Event()

    def look() -> None:
        has_begun.wait(20)
        answers.extend(door.ask(path) for path in ("/readyz", "/status", "/metrics", "/healthz"))
        ask(storage(tmp_path), Request(VERSION, "stop"))

    looking = threading.Thread(target=look)
    looking.start()
    told = Outages.away

    def away(outages: Outages, what: str, reason: str) -> None:
        told(outages, what, reason)
        has_begun.set()

    monkeypatch.setattr(Outages, "away", away)
    said = door.run(job).said
    looking.join()
    assert answers[0].status == 503
    assert not [one for one in (said, *(f"{answer} {answer.headers}" for answer in answers)) if TOKEN in one]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("9470", "'9470' is not HOST:PORT"),
        ("localhost", "'localhost' is not HOST:PORT"),
        ("127.0.0.1:", "is not HOST:PORT"),
        ("127.0.0.1:99999", "is not HOST:PORT"),
        ("http://127.0.0.1:9470", "is not HOST:PORT"),
        ("::1:9470", "is not HOST:PORT"),
        ("", "is not HOST:PORT"),
        ("0.0.0.0:0", "can be reached from other machines"),
        ("[::]:0", "can be reached from other machines"),
        ("no-such-host.invalid:0", "is no address of this machine"),
        ("\0:1", "is no address of this machine"),
    ],
)
def test_an_address_that_cannot_be_served_is_refused_before_the_job_begins(
    address: str, said: str, tmp_path: Path
) -> None:
    job = make_job(tmp_path)
    job.source(Scraped(20, 10, Door()), uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job, http=address)
    assert ran.code == 2
    assert said in ran.said
    assert "  -> " in ran.said
    assert not (tmp_path / "state").exists()


def test_a_port_in_use_and_a_token_without_an_address_are_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.source(Scraped(20, 10, Door()), uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = run(job, http=address)
    assert (ran.code, f"{address} is in use by another program" in ran.said) == (2, True)
    assert "--http-token-file is for --http" in run(job, http_token_file="token").said


@pytest.mark.parametrize(
    "content", [None, b"", b"short\n", b"has a space in the middle", "ä".encode() * 20, b"\xff" * 40]
)
def test_a_file_without_a_usable_token_is_refused_and_not_shown(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        listen("127.0.0.1:0", str(file))
    assert "--http-token-file" in refused.value.message
    assert "space" not in str(refused.value)


def test_without_its_packages_the_run_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "streamlet.observe.serving.server", raising=False)
    monkeypatch.delattr(serving, "server", raising=False)
    job = make_job(tmp_path)
    job.source(Scraped(20, 10, Door()), uid="in").sink(FileSink(str(tmp_path / "out")), uid="out")
    ran = run(job, http="127.0.0.1:0")
    assert (ran.code, ran.said) == (
        2,
        "streamlet: --http needs the package uvicorn\n  -> pip install 'streamlet[http]'\n",
    )
