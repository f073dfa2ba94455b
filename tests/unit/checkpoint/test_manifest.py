"""The manifest's form on disk: what was written comes back, and nothing else is ever read as if it were."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streamlet.checkpoint.layout import checkpoint_number, folder_name, is_file_name
from streamlet.checkpoint.manifest import ListedCommittable, Manifest, decode, encode, operator_key
from streamlet.errors import CheckpointDamagedError, CheckpointError, ConfigError
from streamlet.sink import Committable
from streamlet.state.snapshot import FileRef, LogRef, StateSpec, StoreSnapshot

HEX = "0123456789abcdef" * 2


def a_manifest(**changes: Any) -> Manifest:
    log = LogRef(cut=7, entries=3, file=FileRef(name=f"{HEX}.log", size=10, checksum=HEX, role="log"))
    base = FileRef(name=f"{HEX}.sst", size=20, checksum=HEX, role="000012.sst")
    store = StoreSnapshot("count", 0, 0, 128, 7, 6, (base,), (log,))
    unit = Committable(id="t-7", payload={"pid": 5, "raw": b"\xff"}, records=9, description="topic out", deadline_ms=1)
    whole = Manifest(
        job="job",
        checkpoint_id=7,
        attempt=2,
        kind="periodic",
        parent=6,
        created_ms=1_700_000_000_000,
        key_groups=128,
        parallelism={"count": 1},
        states=[StateSpec(0, "count", "total", "value", "int")],
        stores=[store],
        positions={"in": {"p-0": 42, "p-1": {"file": "a", "at": [1, b"\x00"]}}},
        finished=["in"],
        operators={operator_key("late", 0): {"watermark": -5}},
        committables=[ListedCommittable("out", 0, 6, unit)],
        restored_from="checkpoint 5",
    )
    return msgspec.structs.replace(whole, **changes)


def test_a_manifest_comes_back_as_it_was_written() -> None:
    manifest = a_manifest()
    assert decode(encode(manifest), "here") == manifest
    assert manifest.operator("late", 0) == {"watermark": -5}
    assert manifest.operator("late", 1) is None
    assert manifest.file_names() == {f"{HEX}.log", f"{HEX}.sst"}


def test_the_same_manifest_is_written_as_the_same_bytes() -> None:
    assert encode(a_manifest()) == encode(a_manifest())


def test_every_cut_of_a_manifest_is_damaged() -> None:
    data = encode(a_manifest())
    for end in range(len(data)):
        with pytest.raises(CheckpointDamagedError, match="the-file is damaged"):
            decode(data[:end], "the-file")


def test_every_flipped_bit_is_found() -> None:
    data = encode(a_manifest())
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(CheckpointDamagedError):
                decode(bytes(flipped), "the-file")


@pytest.mark.parametrize("tail", [b"\x00", b"more"])
def test_a_manifest_with_something_behind_it_is_damaged(tail: bytes) -> None:
    with pytest.raises(CheckpointDamagedError, match="its head says"):
        decode(encode(a_manifest()) + tail, "the-file")


def test_another_version_is_no_damage_and_says_what_to_do() -> None:
    import hashlib
    import struct

    data = struct.pack(">8sHQ", b"STRMLTCK", 9, 3) + b"new"
    data += hashlib.blake2b(data, digest_size=16).digest()
    with pytest.raises(CheckpointError, match="format 9") as caught:
        decode(data, "the-file")
    assert not isinstance(caught.value, CheckpointDamagedError)
    assert "version of streamlet" in str(caught.value.remedy)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "a/b", f"{HEX}/x", f"{HEX}.", f"{HEX}.log\n"])
def test_a_file_name_that_leads_elsewhere_is_refused(name: str) -> None:
    file = FileRef(name=name, size=1, checksum=HEX, role="log")
    store = StoreSnapshot("s", 0, 0, 1, 1, 0, (file,), ())
    with pytest.raises(CheckpointError, match="names the file"):
        encode(a_manifest(stores=[store]))


@pytest.mark.parametrize("role", ["../CURRENT", "/x", "", ".", "..", ".hidden", "a/b", "CURRENT\n"])
def test_a_role_that_leads_elsewhere_is_refused(role: str) -> None:
    file = FileRef(name=f"{HEX}.sst", size=1, checksum=HEX, role=role)
    store = StoreSnapshot("s", 0, 0, 1, 1, 0, (file,), ())
    with pytest.raises(CheckpointError, match="role"):
        encode(a_manifest(stores=[store]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parent": 7}, "parent 7"),
        ({"checkpoint_id": -1, "parent": None}, "checkpoint id -1"),
        ({"key_groups": 0}, "key groups 0"),
        ({"kind": "start"}, "lists committables"),
        ({"checkpoint_id": 5, "parent": 4}, "committable of checkpoint 6"),
        ({"positions": {"in": {"p": 2**70}}}, "cannot be written"),
        ({"operators": {"x/0": object()}}, "cannot be written"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        encode(a_manifest(**changes))


def test_a_jobs_folder_never_leads_out_and_never_meets_another() -> None:
    names = ["a", "a/b", "a%2Fb", "..", ".", ".hidden", "A b", "ü", "x" * 500, "x" * 501, "~", "a\x00", "\ud800", "-"]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert "/" not in folder
        assert not folder.startswith(".")
        assert len(folder.encode()) <= 180
    with pytest.raises(ConfigError, match="name"):
        folder_name("")


def test_only_the_names_that_streamlet_gives_are_checkpoints_and_files() -> None:
    assert checkpoint_number("chk-00000042") == 42
    assert checkpoint_number("chk-123456789") == 123456789
    assert [checkpoint_number(name) for name in ("chk-42", "chk-00000042.tmp", "chk-", "chk-0000004x")] == [None] * 4
    assert is_file_name(HEX) and is_file_name(f"{HEX}.sst")
    assert not is_file_name(HEX.upper()) and not is_file_name(f"{HEX}.SST")
