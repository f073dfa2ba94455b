"""`streamlet dev`: things that help while a job is being written."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

import click

from streamlet.errors import ConfigError, StreamletError
from streamlet.runtime.run.job_run import WRONG


@click.group()
def dev() -> None:
    """Try jobs without servers."""


@dev.command()
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="0: any that is free.")
@click.option("--topic", "topics", metavar="NAME[:PARTITIONS]", multiple=True, help="A topic to begin with.")
@click.option("--auto-create", is_flag=True, help="Create topics that clients ask for.")
def kafka(port: int, topics: tuple[str, ...], auto_create: bool) -> None:
    """Run a Kafka broker in memory until Ctrl-C: everything in it is lost then."""
    try:
        _serve(port, dict(map(_topic, topics)), auto_create=auto_create)
    except StreamletError as error:
        click.echo(f"streamlet: {error}", err=True)
        sys.exit(WRONG)


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.partition(":")
    if not name or (partitions and not partitions.isdecimal()):
        raise ConfigError(f"--topic {text!r} is not NAME or NAME:PARTITIONS", remedy="for example --topic payments:4")
    return name, int(partitions or 1)


def _serve(port: int, topics: dict[str, int], *, auto_create: bool) -> None:
    try:
        from streamlet.testing.kafka import BrokerSettings, EmbeddedKafka
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"the broker in memory needs the package {missing.name}", remedy="pip install 'streamlet[testing]'"
        ) from missing
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with EmbeddedKafka(port=port, topics=topics, settings=BrokerSettings(auto_create_topics=auto_create)) as broker:
        click.echo(f"a Kafka broker listens on {broker.bootstrap}; it keeps data in memory only")
        for name, partitions in topics.items():
            click.echo(f"topic {name}, {partitions} partition{'s' * (partitions != 1)}")
        click.echo("Ctrl-C stops it, and everything in it is lost")
        stopped.wait()
