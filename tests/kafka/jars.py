"""Brings Apache Kafka's jars onto this machine, once: with Maven, into a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "4.1.0"

INSTALL = (
    "  -> install Java 17 or newer and Maven (Debian, Ubuntu: apt-get install default-jre maven), or start a broker\n"
    "     yourself and name it: STREAMLET_TEST_KAFKA=host:port, or install docker with its compose plugin"
)

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>streamlet</groupId>
  <artifactId>test-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
"""


class KafkaUnavailableError(Exception):
    """No Apache Kafka can be had here; the message says what to install."""


def cache_folder() -> Path:
    """The folder that holds this version's jars, whether it exists or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "streamlet-test-kafka" / VERSION


def kafka_jars() -> Path:
    """The folder with the jars; fetches them if they are not there.

    The folder appears by one rename, so a run that is killed while fetching leaves nothing half, and of two runs at
    once the later one finds the folder there and drops its own.
    """
    if shutil.which("java") is None:
        raise KafkaUnavailableError(f"java was not found\n{INSTALL}")
    lib = cache_folder() / "lib"
    if lib.is_dir():
        return lib
    if shutil.which("mvn") is None:
        raise KafkaUnavailableError(f"mvn (Maven), which fetches Apache Kafka {VERSION}, was not found\n{INSTALL}")
    lib.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=lib.parent) as name:
        fetched = Path(name)
        (fetched / "pom.xml").write_text(POM)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
        try:
            done = subprocess.run(command, cwd=fetched, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired as error:
            raise KafkaUnavailableError(
                f"Maven did not fetch Apache Kafka {VERSION} within 300 s\n{INSTALL}"
            ) from error
        if done.returncode != 0:
            raise KafkaUnavailableError(
                f"Maven could not fetch Apache Kafka {VERSION}:\n{(done.stdout + done.stderr)[-2000:]}\n{INSTALL}"
            )
        try:
            (fetched / "lib").rename(lib)
        except OSError:
            if not lib.is_dir():
                raise
    return lib
