"""Upgrades restored state on its way into a store, entry by entry: memory stays bounded, whatever its size."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from streamlet.errors import StateRefusedError, StreamletError
from streamlet.state.declaration import StateDeclaration
from streamlet.state.encoding.key_groups import HEAD_BYTES, namespace_of
from streamlet.state.evolution.needs import Convert

log = logging.getLogger("streamlet.state")

TOLD_EVERY = 500_000
"""So many upgraded values are told of at once."""

Entry = tuple[bytes, bytes]


def upgraded(entries: Iterator[Entry], states: Mapping[int, StateDeclaration]) -> Iterator[Entry]:
    """Gives the entries with values as the states are declared now."""
    converts = {id.to_bytes(2, "big"): one for id, one in states.items() if one.convert is not None}
    return _upgraded(entries, converts) if converts else entries


def _upgraded(entries: Iterator[Entry], converts: Mapping[bytes, StateDeclaration]) -> Iterator[Entry]:
    functions: dict[bytes, Convert] = {id: one.convert for id, one in converts.items() if one.convert is not None}
    lists = {id for id, one in converts.items() if one.spec.kind == "list"}
    convert_of, count = functions.get, 0
    for key, value in entries:
        id = key[2:4]
        convert = convert_of(id)
        if convert is None or (id in lists and not namespace_of(key)):  # the length of a list is of no user's type
            yield key, value
            continue
        try:
            value = convert(value)
        except Exception as error:
            raise _failed(converts[id], key, error) from error
        yield key, value
        count += 1
        if not count % TOLD_EVERY:
            log.info("%s values of %s upgraded", f"{count:,}", converts[id].spec.where)


def _failed(declaration: StateDeclaration, key: bytes, error: Exception) -> StreamletError:
    packed = key[HEAD_BYTES : HEAD_BYTES + int.from_bytes(key[4:8], "big")]
    what = error.message if isinstance(error, StreamletError) else f"{type(error).__name__}: {error}"
    function = declaration.evolves.upgrade
    where = ""
    if function is not None and hasattr(function, "__code__"):
        where = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}: "
    return StateRefusedError(
        f"{where}a value of {declaration.spec.where} cannot be upgraded (packed key {packed.hex()}): {what}",
        remedy="the checkpoint is as it was: change what upgrade= does with such a value, and start again",
    )
