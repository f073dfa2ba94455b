"""on_error: what becomes of records for which a function of the job raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from streamlet.dsl.naming import uid_of
from streamlet.elements import OutputTag
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Edge, Routing
from streamlet.operators.error_policy import DeadLetter, with_error_policy
from streamlet.operators.operator import Operator
from streamlet.sink import Sink

if TYPE_CHECKING:
    from streamlet.dsl.job import Job

OnError = Literal["fail", "skip"] | OutputTag[DeadLetter] | Sink[Any]
"""`fail` the job, `skip` the record, or put it out as a `DeadLetter`: under a tag, or straight into a sink."""


class StepOptions(TypedDict, total=False):
    """What every step with functions takes beside them; see `Stream`."""

    on_error: OnError
    uid: str | None
    renamed_from: str | None
    parallelism: int | None


def given(options: StepOptions) -> tuple[str | None, int | None, OnError]:
    """The uid, the parallelism and the policy of a step."""
    uid = uid_of(options.get("uid"), options.get("renamed_from"))
    return uid, options.get("parallelism"), options.get("on_error", "fail")


_TO_SINK = OutputTag[DeadLetter]("@dead letters")


def guarded(make: Callable[[], Operator], on_error: OnError, line: str) -> Callable[[], Operator]:
    """What makes the operator under this policy."""
    is_left_out, tag = left_out(on_error, line)
    return (lambda: with_error_policy(make(), tag)) if is_left_out else make


def left_out(on_error: OnError, line: str) -> tuple[bool, OutputTag[DeadLetter] | None]:
    """Whether a policy leaves records out, and the tag of their letters; refuses what is no policy."""
    if on_error == "fail":
        return False, None
    if on_error == "skip":
        return True, None
    if isinstance(on_error, OutputTag):
        return True, on_error
    if isinstance(on_error, Sink):
        return True, _TO_SINK
    raise JobDefinitionError(
        f"{line}: on_error is {on_error!r:.80}",
        remedy='give "fail", "skip", a tag such as OutputTag[DeadLetter]("dead"), or a sink for dead letters',
    )


def letters_name(on_error: OnError) -> str | None:
    """The name of the side output that dead letters go to; None where there are none."""
    if isinstance(on_error, Sink):
        return _TO_SINK.name
    return on_error.name if isinstance(on_error, OutputTag) else None


def add_dead_letter_sink(job: Job, node: int, on_error: OnError) -> None:
    """Adds the sink of a policy that names one."""
    if isinstance(on_error, Sink):
        made = job.graph.nodes[node]
        before = None if made.renamed_from is None else f"{made.renamed_from}.dead-letters"
        uid = uid_of(f"{made.uid}.dead-letters", before) if made.has_own_uid else None
        job.add("sink", on_error, [Edge(node, Routing.FORWARD, _TO_SINK.name)], uid, None)
