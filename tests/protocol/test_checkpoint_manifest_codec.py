"""Whatever bytes a manifest file holds, reading it gives a manifest or a declared error."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlet.checkpoint.manifest import ListedCommittable, Manifest, decode, encode
from streamlet.errors import CheckpointError
from streamlet.sink import Committable

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def sealed(body: bytes, version: int = 1) -> bytes:
    data = struct.pack(">8sHQ", b"STRMLTCK", version, len(body)) + body
    return data + hashlib.blake2b(data, digest_size=16).digest()


def read(data: bytes) -> None:
    try:
        manifest = decode(data, "fuzz")
    except CheckpointError:
        return
    assert decode(encode(manifest), "again") == manifest


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_only_declared_errors(data: bytes) -> None:
    read(data)
    read(b"STRMLTCK" + data)


@given(st.binary(max_size=300), st.integers(0, 3))
def test_arbitrary_content_with_a_right_checksum_gives_only_declared_errors(body: bytes, version: int) -> None:
    read(sealed(body, version))


@given(
    st.dictionaries(st.sampled_from(Manifest.__struct_fields__), plain),
    st.fixed_dictionaries({}, optional={"checkpoint_id": st.integers(), "parent": st.integers(), "kind": st.text()}),
)
def test_a_manifest_with_fields_of_any_type_gives_only_declared_errors(
    wild: dict[str, Any], more: dict[str, Any]
) -> None:
    fields = {"job": "j", "checkpoint_id": 3, "attempt": 1, "kind": "periodic", "key_groups": 8} | wild | more
    try:
        body = msgspec.msgpack.encode(fields)
    except OverflowError:
        return
    read(sealed(body))


@pytest.mark.parametrize("nesting", [b"\x91", b"\x81\xa1a", b"\x81\x91"])
def test_nesting_without_end_is_a_declared_error(nesting: bytes) -> None:
    read(sealed(b"\x81\xa9operators" + b"\x81\xa1x" + nesting * 50_000 + b"\xc0"))
    read(sealed(nesting * 50_000 + b"\xc0"))


@given(
    st.dictionaries(st.text(max_size=8), st.dictionaries(st.text(max_size=8), plain, max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=8), plain, max_size=3),
    st.lists(st.tuples(st.integers(0, 9), plain), max_size=4),
)
def test_plain_data_comes_back_as_it_went(
    positions: dict[str, dict[str, Any]], operators: dict[str, Any], units: list[tuple[int, Any]]
) -> None:
    manifest = Manifest(
        job="j",
        checkpoint_id=9,
        attempt=1,
        kind="periodic",
        key_groups=8,
        positions=positions,
        operators=operators,
        committables=[
            ListedCommittable("out", 0, number, Committable(str(index), {"p": payload}, 1, "d"))
            for index, (number, payload) in enumerate(units)
        ],
    )
    assert decode(encode(manifest), "here") == manifest
