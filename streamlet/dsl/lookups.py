"""lookup_join: a method of every stream, by which its values meet what a table holds for their key."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args, overload

from streamlet.dsl.naming import uid_of
from streamlet.dsl.policies import OnError, add_dead_letter_sink, guarded
from streamlet.errors import JobDefinitionError, StateTypeError
from streamlet.graph.job_graph import Edge, Routing
from streamlet.operators.functions import is_asynchronous
from streamlet.operators.joins.lookup import Lookup, LookupJoin, TableFeed, WaitFor
from streamlet.state.broadcast import BroadcastTable
from streamlet.state.encoding.types import type_facts

if TYPE_CHECKING:
    from streamlet.dsl.job import Job
    from streamlet.dsl.stream import Stream

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
R = TypeVar("R")
H = TypeVar("H", bound=Hashable)


class Lookups(Generic[T_co]):
    """What a stream, keyed or not, can look up."""

    _job: Job

    @overload
    def lookup_join(
        self,
        table: Stream[U],
        function: Callable[[T_co, U], R],
        *,
        key: Callable[[T_co], H | None],
        table_key: Callable[[U], H],
        wait_for: WaitFor,
        how: Literal["inner"] = "inner",
        is_removed: Callable[[U], object] | None = None,
        key_type: type[H] = ...,
        table_type: Any = Any,
        type: Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]: ...
    @overload
    def lookup_join(
        self,
        table: Stream[U],
        function: Callable[[T_co, U | None], R],
        *,
        key: Callable[[T_co], H | None],
        table_key: Callable[[U], H],
        wait_for: WaitFor,
        how: Literal["left"],
        is_removed: Callable[[U], object] | None = None,
        key_type: type[H] = ...,
        table_type: Any = Any,
        type: Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]: ...
    def lookup_join(
        self,
        table: Stream[Any],
        function: Callable[..., R],
        *,
        key: Callable[[Any], Any],
        table_key: Callable[[Any], Any],
        wait_for: WaitFor,
        how: Literal["inner", "left"] = "inner",
        is_removed: Callable[[Any], object] | None = None,
        key_type: Any = str,
        table_type: Any = Any,
        type: Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Emits `function(value, element)` for each value, where `element` is the last one of `table` that has come
        here for `key(value)`; values without one are left out, or with `how="left"` meet None.

        Every subtask has the whole table in memory, and it is whole in each checkpoint: per `table_key(element)`, of
        the declared `key_type`, its last element, until one comes for which `is_removed`.  `wait_for` says what becomes
        of values that come before it is loaded: `nothing`, they meet what is there; the `end` of a table that has one;
        or its first `watermark`.  Those that wait are kept in memory and in the checkpoint, in order.  Which version of
        a table that goes on a value meets depends on which comes first; for versions by event time see `as_of_join`.

        `table_type` and `type` are the types of elements and of values that wait, by which they are stored; needed
        unless they are numbers, str or bytes.  Event time is that of this stream alone.  Under `on_error` an element of
        the table that fails changes nothing.

        >>> names = job.source(Values(["1 one", "2 two"]))
        >>> named = numbers.lookup_join(
        ...     names, lambda n, name: name, key=str, table_key=lambda name: name[0], wait_for="end"
        ... )
        >>> emitted(named)
        ['1 one', '2 two']
        """
        from streamlet.dsl.stream import Stream

        job = self._job
        if not isinstance(table, Stream) or table._job is not job:
            raise JobDefinitionError(
                f"{job.line()}: lookup_join takes a stream of the same job, not {table!r:.80}",
                remedy="build both streams from one Job",
            )
        lookup = Lookup(
            function, key, table_key, wait_for, how == "left", is_removed, key_type, table_type, type
        )  # fmt: skip
        _check(lookup, how, job.line())
        _check_end(job, table, wait_for)
        forward = Edge(table._node, Routing.FORWARD, table._tag)
        feed = job.add("table", lambda: TableFeed(wait_for), [forward], None if uid is None else f"{uid}.table", 1)
        edges = [self._edge(), Edge(feed, Routing.BROADCAST, is_timeless=True)]
        make = guarded(lambda: LookupJoin(lookup), on_error, job.line())
        node = job.add("lookup_join", make, edges, uid_of(uid, renamed_from), parallelism)
        add_dead_letter_sink(job, node, on_error)
        return Stream(job, node)

    def _edge(self) -> Edge:
        raise NotImplementedError


def _check(lookup: Lookup, how: str, line: str) -> None:
    functions = {"a function": lookup.function, "key": lookup.key, "table_key": lookup.table_key}
    if lookup.is_removed is not None:
        functions["is_removed"] = lookup.is_removed
    for name, function in functions.items():
        if not callable(function) or is_asynchronous(function):
            raise JobDefinitionError(
                f"{line}: lookup_join takes a plain function as {name}, not {function!r:.80}",
                remedy="write stream.lookup_join(table, lambda value, element: ..., key=lambda value: ..., "
                "table_key=lambda element: ..., wait_for=...)",
            )
    if how not in ("inner", "left"):
        raise JobDefinitionError(f"{line}: lookup_join with how={how!r:.80}", remedy='give how="inner" or how="left"')
    if lookup.wait_for not in get_args(WaitFor):
        raise JobDefinitionError(
            f"{line}: lookup_join with wait_for={lookup.wait_for!r:.80}",
            remedy='give wait_for="nothing", "watermark" or "end": what is done with values that come before the table',
        )
    try:
        BroadcastTable("table", "lookup_join", lookup.key_type, lookup.table_type)
        type_facts(lookup.type, where="values that wait for the table of lookup_join")
    except StateTypeError as error:
        raise JobDefinitionError(f"{line}: {error.message}", remedy=error.remedy) from error


def _check_end(job: Job, table: Stream[Any], wait_for: WaitFor) -> None:
    if wait_for != "end":
        return
    for source in job.graph.sources_of(job.graph.nodes[table._node]):
        if not source.made.bounded:  # type: ignore[union-attr]
            raise JobDefinitionError(
                f"{job.line()}: lookup_join waits for the end of its table, but {source.place.operator} at "
                f"{source.place} has none",
                remedy='give wait_for="nothing", or wait_for="watermark" and that source a watermark strategy whose '
                "first watermark comes when enough has been read",
            )
