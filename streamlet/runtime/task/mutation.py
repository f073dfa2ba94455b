"""`check_mutation`: finds a step that changes a value in place which others get too.

A value that goes several ways is one object: a step that changes it changes it for all.  Copying every value for every
way would cost all jobs what few need; so this is a mode for looking, which packs the values before they are given away
and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from streamlet.elements import Batch
from streamlet.errors import JobDefinitionError
from streamlet.graph.job_graph import Node
from streamlet.operators.operator import Emit
from streamlet.operators.user_code.place import Place, describe_record


def checked_ways(giver: Place, ways: Sequence[tuple[Node | None, Emit]]) -> Emit:
    """What gives a batch several ways, and looks behind each whether the values are what they were.

    `ways` name the step that a way leads to; None for one that does its work later, elsewhere in the process: whether
    that changed a value is seen at the next batch.  Raises `JobDefinitionError` naming the step and the record.
    """
    given: list[tuple[Batch[Any], list[bytes]]] = []
    later = [node for node, _ in ways if node is None]

    def each(batch: Batch[Any]) -> None:
        if given:
            _compare(giver, None, *given.pop())
        before = [_image(value) for value in batch.values]
        for node, way in ways:
            way(batch)
            if node is not None:
                _compare(giver, node.place, batch, before)
        if later:
            given.append((batch, before))

    return each


def _compare(giver: Place, by: Place | None, batch: Batch[Any], before: list[bytes]) -> None:
    for row, (value, image) in enumerate(zip(batch.values, before, strict=True)):
        if _image(value) != image:
            who = f"{by}: {by.operator}, or what follows it," if by is not None else f"{giver}: a step"
            raise JobDefinitionError(
                f"{who} changed a value in place that others get too: all get it from {giver.operator} at {giver}\n"
                f"  record: {describe_record(batch, row)}",
                remedy="make a new value: {**value, 'field': new} of a dict, dataclasses.replace(value, field=new), "
                "msgspec.structs.replace(value, field=new); copy.deepcopy(value) where that is not enough",
            )


def _plain(value: Any) -> Any:
    """What stands for an object that has no form of its own."""
    return [type(value).__qualname__, getattr(value, "__dict__", None) or repr(value)]


_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder(enc_hook=_plain).encode


def _image(value: Any) -> bytes:
    try:
        return _encode(value)
    except Exception:
        return repr(value).encode(errors="backslashreplace")
