"""What a sink gives back: nothing flows on behind it but what it could not write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from streamlet.dsl.policies import OnError, add_dead_letter_sink, left_out
from streamlet.dsl.stream import Stream
from streamlet.elements import OutputTag
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Edge
from streamlet.operators.user_code.misuse import check_methods
from streamlet.sink import Sink

if TYPE_CHECKING:
    from streamlet.dsl.job import Job

R = TypeVar("R")


class Written:
    """The end of a stream in a sink.

    ```python
    dead = OutputTag[DeadLetter]("dead")
    written = stream.sink(KafkaSink(...), on_error=dead, uid="out")
    written.side_output(dead).sink(FileSink("dead"), uid="dead")
    ```

    >>> dead = OutputTag[DeadLetter]("dead")
    >>> written = numbers.sink(Print(), on_error=dead, uid="out")
    >>> _ = written.side_output(dead).sink(Print("dead: "), uid="dead")
    """

    def __init__(self, job: Job, node: int) -> None:
        self._job = job
        self._node = node

    def side_output(self, tag: OutputTag[R]) -> Stream[R]:
        """The dead letters of records that the sink could not write, under the tag of its `on_error`.

        >>> dead = OutputTag[DeadLetter]("dead")
        >>> written = numbers.sink(Print(), on_error=dead, uid="out")
        >>> emitted(written.side_output(dead))
        1
        2
        3
        4
        []
        """
        node = self._job.graph.nodes[self._node]
        if not isinstance(tag, OutputTag) or tag not in node.side_outputs:
            raise JobDefinitionError(
                f"{self._job.line()}: side_output({tag!r:.80}) is not a side output of {node.place.operator}",
                remedy="a sink puts out what it could not write, under the tag that on_error names: "
                "stream.sink(..., on_error=tag).side_output(tag)",
            )
        return Stream(self._job, self._node, tag.name)


def written(
    job: Job, edge: Edge, sink: Sink[Any], on_error: OnError, uid: str | None, parallelism: int | None
) -> Written:
    """Ends a stream in a sink."""
    if not isinstance(sink, Sink):
        raise JobDefinitionError(
            f"{job.line()}: sink takes a Sink, not {sink!r:.80}",
            remedy="give an instance, such as KafkaSink(...), FileSink(...) or Print()",
        )
    check_methods(sink, job.line())
    leaves_out, letters = left_out(on_error, job.line())
    node = job.add("sink", sink, [edge], uid, parallelism)
    made = job.graph.nodes[node]
    made.leaves_out, made.letters = leaves_out, letters
    add_dead_letter_sink(job, node, on_error)
    return Written(job, node)
