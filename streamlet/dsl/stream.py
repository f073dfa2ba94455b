"""Stream: the handle by which a user builds a job. Calling a method adds a node and runs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from streamlet.dsl.asynchronous import asynchronous
from streamlet.dsl.functions import check_function, check_split
from streamlet.dsl.lookups import Lookups
from streamlet.dsl.naming import uid_of
from streamlet.dsl.policies import OnError, StepOptions, add_dead_letter_sink, given, guarded, letters_name
from streamlet.elements import OutputTag
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Edge, Routing
from streamlet.operators.asynchronous.map_async import CallOptions, Results, filtered, flattened, mapped
from streamlet.operators.asynchronous.retry import Retry
from streamlet.operators.built_in import deduplicating
from streamlet.operators.field_keys import field_key, sampling
from streamlet.operators.functions import is_asynchronous
from streamlet.operators.operator import Operator
from streamlet.operators.stateless import Filter, FlatMap, Inspect, KeyBy, Map, Split, Union
from streamlet.sink import Sink
from streamlet.state.lifetimes import StateTtl

if TYPE_CHECKING:
    from streamlet.dsl.job import Job
    from streamlet.dsl.keyed import KeyedStream
    from streamlet.dsl.written import Written

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)


class Stream(Lookups[T_co], Generic[T_co]):
    """Records of type T on their way through the job.

    `on_error` says what becomes of a record for which a function raises: it fails the job, is left out (`"skip"`), or
    is put out as a `DeadLetter` under an `OutputTag` or into a sink.

    `uid` names an operator for ever: its state is found by it after the job file was changed.  Without one a stable
    name is derived from what it is and what comes to it.  `renamed_from` is the uid that it had before, under which a
    checkpoint keeps its state; it may stay in the file.  `parallelism` is the number of its subtasks.

    In examples `numbers` emits 1 to 4, `payments` three of `Payment(user, amount, at)`; `by_user` is keyed, `minutes`
    cut into windows; `emitted` (of `streamlet.testing.streams`) runs the job and gives what a stream emits.

    >>> emitted(numbers.filter(lambda n: n % 2 == 0).map(lambda n: f"{n} is even"))
    ['2 is even', '4 is even']
    """

    def __init__(self, job: Job, node: int, tag: str | None = None, letters: Edge | None = None) -> None:
        self._job = job
        self._node = node
        self._tag = tag
        self._letters = letters
        """Where `side_output` finds the dead letters of this step, if not beside this stream."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            from streamlet.dsl.keyed import KeyedStream

            if name.startswith("_") or not hasattr(KeyedStream, name):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            raise JobDefinitionError(
                f"{self._job.line()}: {name} is for streams with keys, and {self._operator()} gives none",
                remedy=f"give each value a key before: stream.key_by(lambda value: ...).{name}(...)",
            )

    def side_output(self, tag: OutputTag[R]) -> Stream[R]:
        """The records that the operator of this stream, or its source, puts out under `tag`; empty when it never does.

        What is put out under a tag that nobody asks for is dropped, counted, and told of once.

        >>> dead = OutputTag[DeadLetter]("dead")
        >>> ratios = numbers.map(lambda n: 6 // (n - 1), on_error=dead)
        >>> [letter.value for letter in emitted(ratios.side_output(dead))]
        [1]
        """
        if isinstance(tag, OutputTag) and self._letters is not None and tag.name == self._letters.tag:
            return Stream(self._job, self._letters.source, tag.name)
        node = self._job.graph.nodes[self._node]
        is_there = not node.is_source or tag in node.side_outputs
        if not isinstance(tag, OutputTag) or self._tag is not None or not is_there:
            remedy = (
                "ask the stream that the operator itself gave, by an OutputTag: "
                'stream = keyed.process(...); late = stream.side_output(OutputTag[Click]("late"))'
            )
            if self._tag is not None and self._letters is not None:
                remedy = "beside the streams of a split are dead letters only: split(..., on_error=tag)"
            raise JobDefinitionError(
                f"{self._job.line()}: side_output({tag!r:.80}) is not a side output of {self._operator()}",
                remedy=remedy,
            )
        return Stream(self._job, self._node, tag.name)

    @overload
    def map(self, function: Callable[[T_co], Awaitable[R]], **options: Unpack[StepOptions]) -> Stream[R]: ...
    @overload
    def map(self, function: Callable[[T_co], R], **options: Unpack[StepOptions]) -> Stream[R]: ...
    def map(self, function: Callable[[T_co], Any], **options: Unpack[StepOptions]) -> Stream[Any]:
        """Emits `function(value)` for each value; made by `async def` it is called as `map_async` does.

        >>> emitted(numbers.map(lambda n: n * n))
        [1, 4, 9, 16]
        """
        if is_asynchronous(function):
            return self._call("map", function, mapped, CallOptions(), *given(options))
        return self._then("map", lambda: Map(function), function, *given(options))

    def map_async(
        self,
        function: Callable[[T_co], Awaitable[R]],
        *,
        ordered: bool = True,
        capacity: int = 100,
        timeout: timedelta | None = None,
        on_timeout: Callable[[T_co], R] | None = None,
        retry: Retry | None = None,
        type: type[Any] | Any = Any,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[R]:
        """Emits `await function(value)` for each value, with up to `capacity` calls at once in each subtask.

        Results come in the order of the values, or, not `ordered`, as they are there; never over a watermark.  A call
        that takes longer than `timeout` fails, or gives `on_timeout(value)`; one that fails is made again as `retry`
        says, and fails the job in the end, or as `on_error` says.  Values in flight are in the checkpoint, so they are
        of the declared `type`, by default that of the function's annotation, or else None, bool, int, float, str,
        bytes, lists and dicts of these.  A restored value is called again: what the function does outside of the job
        may happen twice.

        >>> async def doubled(n: int) -> int:
        ...     return 2 * n
        >>> emitted(numbers.map_async(doubled))
        [2, 4, 6, 8]
        """
        options = CallOptions(ordered, capacity, timeout, on_timeout, retry, type)
        return self._call("map_async", function, mapped, options, uid_of(uid, renamed_from), parallelism, on_error)

    def filter(self, function: Callable[[T_co], object], **options: Unpack[StepOptions]) -> Stream[T_co]:
        """Emits the values for which `function` is true; made by `async def` it is called as `map_async` does.

        >>> emitted(numbers.filter(lambda n: n > 2))
        [3, 4]
        """
        if is_asynchronous(function):
            return self._call("filter", function, filtered, CallOptions(), *given(options))
        return self._then("filter", lambda: Filter(function), function, *given(options))

    @overload
    def flat_map(
        self, function: Callable[[T_co], Awaitable[Iterable[R]]], **options: Unpack[StepOptions]
    ) -> Stream[R]: ...
    @overload
    def flat_map(self, function: Callable[[T_co], Iterable[R]], **options: Unpack[StepOptions]) -> Stream[R]: ...
    def flat_map(self, function: Callable[[T_co], Any], **options: Unpack[StepOptions]) -> Stream[Any]:
        """Emits everything that `function(value)` gives, in order; it may be a generator, or made by `async def`, which
        is called as `map_async` does.

        >>> emitted(numbers.flat_map(range))
        [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]
        """
        if is_asynchronous(function):
            return self._call("flat_map", function, flattened, CallOptions(), *given(options))
        return self._then("flat_map", lambda: FlatMap(function), function, *given(options))

    @overload
    def key_by(
        self, function: Callable[[T_co], K], *, on_error: OnError = "fail", uid: str | None = None
    ) -> KeyedStream[K, T_co]: ...
    @overload
    def key_by(
        self, field: str, /, *, on_error: OnError = "fail", uid: str | None = None
    ) -> KeyedStream[Any, T_co]: ...
    @overload
    def key_by(
        self, field: str, second: str, /, *more: str, on_error: OnError = "fail", uid: str | None = None
    ) -> KeyedStream[tuple[Any, ...], T_co]: ...
    def key_by(
        self,
        function: Callable[[T_co], Any] | str,
        *fields: str,
        on_error: OnError = "fail",
        uid: str | None = None,
    ) -> KeyedStream[Any, T_co]:
        """Sends all values with the same key to the same subtask, which has the key's state.

        A key is a str, bytes, int, bool, or a tuple or frozen struct of these, of one type for the whole stream.  It is
        what a function gives, or a field of dicts, structs and dataclasses by its name; a tuple for several names.

        >>> emitted(payments.key_by("user").count(result=lambda user, count: (user, count)))
        [('ann', 1), ('bob', 1), ('ann', 2)]
        """
        from streamlet.dsl.keyed import KeyedStream

        if fields or isinstance(function, str):
            names = (function, *fields)
            if not all(isinstance(name, str) and name for name in names):
                raise JobDefinitionError(
                    f"{self._job.line()}: key_by takes one function, or names of fields, not {names!r:.80}",
                    remedy='write key_by("shop", "day"), or key_by(lambda value: (value.shop, value.day))',
                )
            function = field_key(*names)  # type: ignore[arg-type]
        chosen: Any = function
        keyed = self._then("key_by", lambda: KeyBy(chosen), chosen, uid, None, on_error)
        self._job.takes(keyed._node, chosen)
        self._job.graph.nodes[keyed._node].follows_input = True
        return KeyedStream(self._job, keyed._node)

    def deduplicate(
        self,
        id: Callable[[T_co], Hashable],
        *,
        ttl: timedelta | StateTtl | None,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[T_co]:
        """Emits the first value of each `id(value)`, which is a key as in `key_by`; others with that id are dropped.

        An id is forgotten when its `ttl` is over, counted from its first value by the wall clock, or by event time with
        `StateTtl(ttl, time="event")`; never with None.  Dead letters come from its `key_by`, whose uid is `{uid}.id`.

        >>> first = payments.deduplicate(lambda payment: payment.user, ttl=timedelta(days=1))
        >>> emitted(first.map(lambda payment: payment.amount))
        [5, 7]
        """
        function = deduplicating(ttl)
        keyed = self.key_by(id, on_error=on_error, uid=None if uid is None else f"{uid}.id")
        first = keyed.process(function, uid=uid_of(uid, renamed_from), parallelism=parallelism)
        return Stream(self._job, first._node, letters=Edge(keyed._node, Routing.FORWARD, letters_name(on_error)))

    def split(
        self,
        function: Callable[[T_co], str],
        *names: str,
        on_error: OnError = "fail",
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> tuple[Stream[T_co], ...]:
        """Gives one stream for each name: `cheap, dear = payments.split(size_of, "cheap", "dear")`.

        `function(value)` says into which of them a value goes; another name than these is an error of the function.
        Dead letters under a tag are `side_output(tag)` of each of the streams, the same ones.

        >>> small, large = numbers.split(lambda n: "large" if n > 2 else "small", "small", "large")
        >>> emitted(large)
        [3, 4]
        """
        letters = letters_name(on_error)
        check_split(names, letters, self._job.line())
        made = self._then("split", lambda: Split(function, names), function, uid, parallelism, on_error)
        beside = Edge(made._node, Routing.FORWARD, letters)
        return tuple(Stream(self._job, made._node, name, beside) for name in names)

    def sample(
        self,
        fraction: float,
        *,
        by: Callable[[T_co], object] | None = None,
        seed: int = 0,
        on_error: OnError = "fail",
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[T_co]:
        """Emits about this fraction of the values, chosen by a hash of `by(value)`, or of the value: equal ones are all
        taken or none, in every run.  It must be data that msgpack carries, structs and dataclasses too.

        >>> emitted(numbers.sample(0.5, seed=2))
        [1, 3]
        """
        chosen = self._checked(lambda: sampling(fraction, by, seed))
        return self._then("sample", lambda: Filter(chosen), by or chosen, uid, parallelism, on_error)

    def inspect(
        self,
        function: Callable[[T_co], object],
        *,
        on_error: OnError = "fail",
        uid: str | None = None,
        parallelism: int | None = None,
    ) -> Stream[T_co]:
        """Calls `function(value)` for each value, such as to log it, and emits the value. What it does outside of the
        job happens again after a restart.

        >>> emitted(numbers.inspect(lambda n: print("n is", n)))
        n is 1
        n is 2
        n is 3
        n is 4
        [1, 2, 3, 4]
        """
        return self._then("inspect", lambda: Inspect(function), function, uid, parallelism, on_error)

    def union(self, *others: Stream[T_co], uid: str | None = None, parallelism: int | None = None) -> Stream[T_co]:
        """Emits the values of all streams, each stream's in its order.

        >>> sorted(emitted(numbers.union(numbers.map(lambda n: -n))))
        [-4, -3, -2, -1, 1, 2, 3, 4]
        """
        for other in others:
            if not isinstance(other, Stream) or other._job is not self._job:
                raise JobDefinitionError(
                    f"{self._job.line()}: union takes streams of the same job, not {other!r:.80}",
                    remedy="build both streams from one Job",
                )
        edges = [Edge(stream._node, Routing.FORWARD, stream._tag) for stream in (self, *others)]
        return Stream(self._job, self._job.add("union", Union, edges, uid, parallelism))

    def sink(
        self,
        sink: Sink[Any],
        *,
        on_error: OnError = "fail",
        uid: str | None = None,
        renamed_from: str | None = None,
        parallelism: int | None = None,
    ) -> Written:
        """Writes the values to a sink: the end of this stream.

        `on_error` is for values that the sink cannot write, such as those that its format does not take; their dead
        letters are `side_output(tag)` of what this gives.

        >>> written = numbers.sink(Print(), uid="out")
        """
        from streamlet.dsl.written import written

        return written(self._job, self._edge(), sink, on_error, uid_of(uid, renamed_from), parallelism)

    _routing = Routing.FORWARD

    def _edge(self) -> Edge:
        return Edge(self._node, self._routing, self._tag)

    def _operator(self) -> str:
        place = self._job.graph.nodes[self._node].place.operator
        return place if self._tag is None else f"the side output {self._tag!r} of {place}"

    def _checked(self, make: Callable[[], R]) -> R:
        """What `make` gives; an error of the job gets the user's line."""
        try:
            return make()
        except JobDefinitionError as error:
            raise JobDefinitionError(f"{self._job.line()}: {error.message}", remedy=error.remedy) from error

    def _then(
        self,
        kind: str,
        make: Callable[[], Operator],
        function: object,
        uid: str | None,
        parallelism: int | None,
        on_error: OnError = "fail",
    ) -> Stream[Any]:
        check_function(kind, function, self._job.line())
        return self._added(kind, make, uid, parallelism, on_error)

    def _call(
        self,
        kind: str,
        function: Callable[[Any], Any],
        results: Results,
        options: CallOptions,
        uid: str | None,
        parallelism: int | None,
        on_error: OnError,
    ) -> Stream[Any]:
        make = asynchronous(kind, function, results, options, self._job.line())
        return self._added(kind, make, uid, parallelism, on_error)

    def _added(
        self, kind: str, make: Callable[[], Operator], uid: str | None, parallelism: int | None, on_error: OnError
    ) -> Stream[Any]:
        node = self._job.add(kind, guarded(make, on_error, self._job.line()), [self._edge()], uid, parallelism)
        add_dead_letter_sink(self._job, node, on_error)
        return Stream(self._job, node)
