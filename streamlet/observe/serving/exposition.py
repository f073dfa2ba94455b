"""The metrics in the text formats of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streamlet.observe.catalogue import samples
from streamlet.observe.facts import JobFacts


def exposed(facts: JobFacts, accept: str) -> tuple[bytes, str]:
    """Gives the metrics in the format that an `Accept` header asks for, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Facts(facts))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Facts(Collector):
    def __init__(self, facts: JobFacts) -> None:
        self._facts = facts

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        for metric, found in samples(self._facts):
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=("job", *metric.labels))
            for labels, value in found:
                family.add_metric(labels, value)
            yield family
