"""map, filter, flat_map, key_by, union, split, inspect: operators that remember nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, compress, repeat
from typing import Any

from streamlet.elements import Batch, OutputTag
from streamlet.errors import KeyTypeError, UserFunctionError
from streamlet.operators.functions import FunctionOperator, whole
from streamlet.operators.operator import Emit, Operator, fails
from streamlet.operators.selectors import selector
from streamlet.operators.user_code.raised import RAISED
from streamlet.state.encoding.key_type import KeyType


class Map(FunctionOperator):
    """One value for each value. Nothing is in its state."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        batch, values = self.call_some(self.function, batch)
        out(batch.with_values(values))


class Filter(FunctionOperator):
    """The values for which the function is true. Nothing is in its state."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        batch, chosen = self.call_some(self.function, batch)
        try:
            is_whole = all(chosen)
            values = batch.values if is_whole else list(compress(batch.values, chosen))
        except RAISED as error:
            raise self._untold(error, batch, chosen) from error
        if is_whole:
            out(batch)
            return
        if values:
            out(batch.filtered(chosen, values))

    def _untold(self, error: BaseException, batch: Batch[Any], chosen: list[Any]) -> UserFunctionError:
        """The error of the first result that is neither true nor false."""
        for row, one in enumerate(chosen):
            try:
                bool(one)
            except RAISED as found:
                return self.failure(found, batch, row)
        return self.failure(error, batch, 0)


class FlatMap(FunctionOperator):
    """Any number of values for each value, in order. Nothing is in its state."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        batch, groups = self.call_some(_listing(self.function), batch)
        values = list(chain.from_iterable(groups))
        if values:
            rows = chain.from_iterable(map(repeat, range(len(batch)), map(len, groups)))
            out(batch.take(list(rows), values))


class KeyBy(FunctionOperator):
    """Puts each value's key into the key column. Nothing is in its state."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__(function)
        self._selector = selector(function)
        self._own = KeyType("the keys of this stream")

    def process(self, batch: Batch[Any], out: Emit) -> None:
        keys = self.pluck(self.function, self._selector, batch)
        if self.context.leave_out is not fails:
            # Only then: what keeps state by them looks at them anyway, but is behind, where this policy does not reach.
            self._check(keys, batch)
        out(batch.with_keys(keys))

    def _check(self, keys: list[Any], batch: Batch[Any]) -> None:
        key_type = self.context.key_type or self._own
        try:
            if set(map(key_type.probe, keys)) != key_type.expected:
                key_type.check(keys)
            key_type.check_packable(keys)
        except KeyTypeError as error:
            raise self.failure(error, batch, error.index) from error
        except TypeError:  # a key whose shape has no hash
            key_type.check(keys)
            raise


class Inspect(FunctionOperator):
    """The values as they are, each shown to the function first. Nothing is in its state."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        batch, _ = self.call_some(self.function, batch)
        out(batch)


class Split(FunctionOperator):
    """Puts each value out under the tag whose name the function gives. Nothing is in its state."""

    def __init__(self, function: Callable[[Any], Any], names: Sequence[str]) -> None:
        super().__init__(function)
        self.names = names

    def process(self, batch: Batch[Any], out: Emit) -> None:
        batch, chosen = self.call_some(self.function, batch)
        for row, name in enumerate(chosen):
            if name not in self.names:
                error = ValueError(f"split got {name!r:.80} for a record, which is none of {', '.join(self.names)}")
                raise self.failure(error, batch, row) from error
        for tag in self.names:
            rows = [row for row, name in enumerate(chosen) if name == tag]
            if rows:
                self.context.side(OutputTag(tag), batch.take(rows))


def _listing(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Runs a generator to its end inside the call, so that its error belongs to its record."""

    def listed(value: Any) -> list[Any]:
        return list(whole(function(value), is_any=True))

    return listed


class Union(Operator):
    """The values of several inputs, as they come; keys end here. Nothing is in its state."""

    def process(self, batch: Batch[Any], out: Emit) -> None:
        out(batch.with_keys(None))
