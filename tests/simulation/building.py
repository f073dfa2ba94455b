"""The job of a scenario, built as a user's file would."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from streamlet import Job, Retry
from streamlet.connect import Sink, Source
from tests.simulation import functions
from tests.simulation.functions import Record
from tests.simulation.scenario import Scenario


def build(one: Scenario, process: int, make_source: Any, make_sink: Any) -> Job:
    """Builds the job that this process runs."""
    shape = one.shape(process)
    job = Job("simulated", parallelism=shape.default, **one.settings)
    streams = []
    for read in one.sources:
        source: Source[Record] = make_source(read)
        streams.append(job.source(source, uid=read.uid, watermarks=one.watermarks, parallelism=shape.sources[read.uid]))
    stream = streams[0] if len(streams) == 1 else streams[0].union(*streams[1:], uid="union")
    for number, kind in enumerate(one.before):
        place: dict[str, Any] = {"uid": f"{kind}{number}", "parallelism": shape.before}
        if kind == "map":
            stream = stream.map(functions.shifted, **place)
        elif kind == "filter":
            stream = stream.filter(functions.is_wanted, **place)
        elif kind == "async":
            stream = stream.map(functions.asked, **place)
        elif kind == "unordered":
            retry = Retry(attempts=2, delay=timedelta(milliseconds=20))
            stream = stream.map_async(functions.asked, ordered=False, capacity=3, retry=retry, **place)
        else:
            stream = stream.flat_map(functions.PLAIN[kind], **place)
    end: Any = stream
    ends: dict[str, tuple[Any, int | None]] = {"before": (stream, None)}
    if one.keyed is not None:
        by_key = stream.key_by(functions.KEY_OF[one.keys], uid="by-key")
        for number, kind in enumerate(one.beside):
            at = f"beside{number}"
            ends[at] = functions.keyed(kind, by_key, f"{at}-{kind}", shape.beside[number]), shape.beside[number]
        end = functions.keyed(one.keyed, by_key, "keyed", shape.keyed)
    if one.regroups:
        end = functions.keyed("regroup", end.key_by(functions.group_of, uid="by-group"), "regroup", shape.regroup)
    last = shape.regroup if one.regroups else shape.keyed if one.keyed is not None else None
    ends["end"] = end, last
    for spec in one.sinks:
        sink: Sink[Any] = make_sink(spec)
        stream, parallelism = ends[spec.at]
        stream.sink(sink, uid=spec.uid, parallelism=parallelism)
    return job
