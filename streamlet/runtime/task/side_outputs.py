"""Where records go that a node puts out under a tag; what nobody takes is counted, and told of once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from streamlet.elements import Batch, OutputTag
from streamlet.operators.operator import Emit, EmitSide
from streamlet.operators.user_code.place import Place
from streamlet.runtime.task.meter import Meter
from streamlet.tally import Counting

log = logging.getLogger("streamlet.runtime")


def to_sides(place: Place, ways: Mapping[str, Emit], told: set[str], count: Counting, meter: Meter) -> EmitSide:
    """What takes the batches for the side outputs of a node; of those in `told` it is known that nobody takes them."""

    def side(tag: OutputTag[Any], batch: Batch[Any]) -> None:
        way = ways.get(tag.name)
        if way is not None and batch.values:
            meter.records_out += len(batch)
            way(batch)
        elif way is None:
            count("not taken", len(batch))
            if tag.name not in told:
                told.add(tag.name)
                log.warning(
                    "%s: %s puts records out under %r, which nobody takes: they are dropped (taken there: %s); "
                    "write stream.side_output(tag).sink(...)",
                    place,
                    place.operator,
                    tag.name,
                    ", ".join(map(repr, ways)) or "nothing",
                )

    return side
