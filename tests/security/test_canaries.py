"""Secrets of options and contents of records appear nowhere, however a job fails (S9, S10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlet.testing.kafka import EmbeddedKafka
from tests.unit.cli_kit import cli, write_job

SECRET, RECORD = "canary-7f3a91", "feather-20c4e8"
JOB = f"""\
import enum, logging, sys
from datetime import timedelta

import msgspec
from aiokafka.abc import AbstractTokenProvider
from streamlet import Count, Job, Json, Restart
from streamlet_connectors.files import FileSink, JsonLines
from streamlet_connectors.kafka import KafkaSink, KafkaSource

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)


class Tokens(AbstractTokenProvider):
    async def token(self):
        return "{SECRET}-token"


class Kind(enum.Enum):
    NEW = "new"


class Order(msgspec.Struct):
    kind: Kind


how, bootstrap = sys.argv[1], sys.argv[2]
login = {{"security_protocol": "SASL_PLAINTEXT", "connect_timeout_seconds": 1, "request_timeout_seconds": 1}}
plain = {{**login, "sasl_plain_username": "me", "sasl_plain_password": "{SECRET}"}}
if how == "token":
    plain = {{**login, "sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": Tokens()}}
elif how == "wrong type":
    plain = {{**plain, "sasl_plain_password": ["{SECRET}"]}}
elif how == "key password":
    tls = {{"ssl_cafile": "none.pem", "ssl_certfile": "none.pem", "ssl_keyfile": "none.pem"}}
    plain = {{"security_protocol": "SSL", "ssl_password": "{SECRET}", **tls}}
elif how == "unused":
    plain = {{**plain, "security_protocol": "PLAINTEXT"}}

job = Job("job", checkpoint_interval=timedelta(milliseconds=20), restart=Restart.fixed(timedelta(0), attempts=1),
          show_records=how == "shown")


def fails(value):
    raise RuntimeError("no")


if how in ("fails", "shown"):
    job.source(JsonLines("in.jsonl"), uid="in").map(fails, uid="f").sink(FileSink("out"), uid="out")
elif how == "bad enum":
    job.source(JsonLines("in.jsonl", type=Order), uid="in").sink(FileSink("out"), uid="out")
elif how == "bad key":
    job.source(JsonLines("in.jsonl"), uid="in").key_by(lambda v: [v["kind"]], uid="k").aggregate(
        Count(), uid="c").sink(FileSink("out"), uid="out")
else:
    source = KafkaSource(bootstrap, "t", **plain)
    print(repr(source), repr(vars(source)), str(vars(source)))
    job.source(source, uid="in").sink(KafkaSink(bootstrap, "t", value=Json(), **plain), uid="out")
    print(repr(job), repr(vars(job)))
"""


def everything(folder: Path, *, but: str) -> str:
    texts = [path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()]
    return "\n".join(text for text in texts if but not in text)


@pytest.mark.parametrize(
    "how", ["password", "token", "wrong type", "key password", "unused", "fails", "bad enum", "bad key", "shown"]
)
def test_no_canary_is_found_in_anything_that_a_failing_job_leaves(tmp_path: Path, how: str) -> None:
    write_job(tmp_path, JOB)
    (tmp_path / "in.jsonl").write_text(f'{{"kind": "{RECORD}"}}\n')
    with EmbeddedKafka(topics={"t": 1}) as kafka:
        ran = [cli(tmp_path, "run", "job.py", "--", how, kafka.bootstrap)]
        ran.append(cli(tmp_path, "plan", "job.py", "--", how, kafka.bootstrap))
    ran.append(cli(tmp_path, "checkpoints", "list", "job"))
    assert ran[0].returncode in (1, 2), ran[0].stderr
    said = "\n".join(done.stdout + done.stderr for done in ran)
    state = tmp_path / "streamlet-state"
    left = everything(state, but="\0never") if state.exists() else ""
    assert SECRET not in said and SECRET not in left
    assert "Traceback" not in ran[0].stderr
    assert (RECORD in said) is (how == "shown")
    assert RECORD not in left
