"""What is told of the operators and sinks of one subtask: read when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence

from streamlet.elements import MIN_TIMESTAMP
from streamlet.graph.plan import TaskPlan
from streamlet.observe.facts import OperatorFacts, SinkFacts
from streamlet.runtime.task.chain import Chain
from streamlet.runtime.task.sink_leaf import SinkLeaf


def facts_of(
    plan: TaskPlan, subtask: int, chain: Chain, sinks: Sequence[SinkLeaf], reached: int, pressed: float
) -> tuple[list[OperatorFacts], list[SinkFacts]]:
    """`reached`: how far event time has come before the chain; `pressed`: for how long the subtask could not go on."""
    watermarks, operators = chain.watermarks(), []
    for node in plan.nodes:
        if not node.is_sink:
            meter, is_head = chain.meters[node.id], node is plan.head
            operators.append(
                OperatorFacts(
                    node.uid,
                    subtask,
                    node.place.kind,
                    meter.records_out if node.is_source else meter.records_in,
                    meter.records_out,
                    meter.busy_seconds,
                    known_time(reached if is_head else watermarks.get(node.uid, MIN_TIMESTAMP)),
                    pressed if is_head else None,
                )
            )
    found = [sink.facts(known_time(chain.watermark)) for sink in sinks]
    operators += [wrote for wrote, _ in found]
    return operators, [prepared for _, prepared in found]


def known_time(watermark: int) -> int | None:
    """A watermark, for people: None before the first."""
    return None if watermark == MIN_TIMESTAMP else watermark
