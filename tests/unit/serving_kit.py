"""A job that is asked for its metrics in the middle of a run, as Prometheus would ask."""

from __future__ import annotations

import asyncio
import http.client
import io
import re
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streamlet import Job
from streamlet.connect import Position, ReaderContext
from tests.unit.job_kit import Ran, Waiting, WaitingReader


class Answer:
    """What the server said."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        self.status, self.text, self.headers = status, text, headers

    def __repr__(self) -> str:
        return f"{self.status}\n{self.text}"


class Metrics:
    """Samples by name; `value` adds up those that have these labels."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        found = [one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()]
        return sum(found) if found else None

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """The value for each value of one label."""
        names = {one.labels[label] for one in self.samples if one.name == name and label in one.labels}
        values = {each: self.value(name, **labels, **{label: each}) for each in sorted(names)}
        return {each: value for each, value in values.items() if value is not None}


class Door:
    """A run's own output, by which it is found."""

    def __init__(self) -> None:
        self.said = io.StringIO()

    @property
    def port(self) -> int:
        found = re.search(r"http://(?:127\.0\.0\.1|\[::1\]):(\d+)", self.said.getvalue())
        assert found, self.said.getvalue()
        return int(found[1])

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), dict(response.getheaders()))
        finally:
            connection.close()

    def metrics(self) -> Metrics:
        answer = self.ask("/metrics")
        assert answer.status == 200, answer
        return Metrics(answer.text)

    def run(self, job: Job, **options: Any) -> Ran:
        """Runs the job to its end, with a server on any port."""
        code = job.run(stream=self.said, **{"http": "127.0.0.1:0", **options})
        return Ran(code, self.said.getvalue())


class Scraped(Waiting):
    """0, 1, ... up to `count`; when a checkpoint has covered those below `pause`, `look` is called in a thread, and
    only then it goes on."""

    def __init__(self, count: int, pause: int, door: Door, path: str = "/metrics") -> None:
        super().__init__(count, pause)
        self.answers: list[Answer] = []
        self._door = door
        self._path = path

    def look(self) -> None:
        self.answers.append(self._door.ask(self._path))

    @property
    def seen(self) -> Metrics:
        """The metrics of the pause."""
        (answer,) = self.answers
        assert answer.status == 200, answer
        return Metrics(answer.text)

    def reader(self, context: ReaderContext, splits: Mapping[str, Position]) -> WaitingReader:
        return _ScrapedReader(self, splits)


class _ScrapedReader(WaitingReader):
    def __init__(self, source: Scraped, splits: Mapping[str, Position]) -> None:
        super().__init__(source, 10, splits)
        self._scraped = source

    async def marked(self, checkpoint_id: int, positions: Mapping[str, Position]) -> None:
        if positions.get("split") in self._scraped.pauses and not self._scraped.answers:
            await asyncio.to_thread(self._scraped.look)
        await super().marked(checkpoint_id, positions)
