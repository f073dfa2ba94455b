"""The manifest: everything that one checkpoint is, and its form on disk.

```text
magic 8 | version u16 | length u64 | body (msgpack) | BLAKE2b, 16 bytes, of all before it          big endian
```

Reading gives a whole manifest or a declared error: whatever the bytes are, nothing else comes out of `decode`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from streamlet.checkpoint.layout import is_file_name
from streamlet.elements import Position
from streamlet.errors import CheckpointDamagedError, CheckpointError
from streamlet.sink import Committable
from streamlet.state.snapshot import FileRef, StateSpec, StoreSnapshot

MAGIC = b"STRMLTCK"
VERSION = 2
"""1 had the types of states as text only, and named operators without a uid by number."""
OLDEST = 1
_HEAD = struct.Struct(">8sHQ")
_CHECKSUM_BYTES = 16
_ROLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)

ManifestKind = Literal["initial", "periodic", "final", "stop", "start"]
"""`initial` and `start` are written before sources start: no committables, and marked at birth."""


class ListedCommittable(msgspec.Struct, frozen=True):
    """A prepared unit of output as a checkpoint lists it: whose it is, and which checkpoint it was prepared for.

    A later checkpoint may list it again, with the same `checkpoint_id`.
    """

    sink_uid: str
    subtask: int
    checkpoint_id: int
    committable: Committable


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint: what a start needs to go on from it, and nothing that can be known elsewhere."""

    format_version: int = VERSION
    job: str
    instance: str = ""
    """The job's uuid: tells the checkpoints of two state directories apart."""
    checkpoint_id: int
    attempt: int
    kind: ManifestKind
    parent: int | None = None
    """The checkpoint that it goes on from. Falling back follows this, never the order of ids."""
    created_ms: int = 0
    key_groups: int
    parallelism: dict[str, int] = {}
    """Uid -> with how many subtasks what is here was taken, also where a start goes on with others."""
    states: list[StateSpec] = []
    stores: list[StoreSnapshot] = []
    positions: dict[str, dict[str, Position]] = {}
    """Source uid -> split id -> where to read on."""
    finished: list[str] = []
    """Tasks of which every subtask had finished."""
    operators: dict[str, Any] = {}
    """Snapshots that are not keyed, under `operator_key(uid, subtask)`."""
    committables: list[ListedCommittable] = []
    restored_from: str = ""
    """For people: what the attempt was started from."""

    def files(self) -> Iterator[FileRef]:
        """Gives every file that this checkpoint needs; one may come several times."""
        for store in self.stores:
            yield from store.files()

    def sizes(self) -> dict[str, int]:
        """Gives the bytes of the files that it needs, by `base` and `log`, each file once."""
        base = {file.name: file.size for store in self.stores for file in store.base}
        log = {one.file.name: one.file.size for store in self.stores for one in store.logs}
        return {"base": sum(base.values()), "log": sum(log.values())}

    def file_names(self) -> frozenset[str]:
        """Gives the names of all files that this checkpoint needs."""
        return frozenset(file.name for file in self.files())

    def operator(self, uid: str, subtask: int) -> Any:
        """Gives the snapshot of one subtask of an operator, None when there is none."""
        return self.operators.get(operator_key(uid, subtask))

    @property
    def is_marked_at_birth(self) -> bool:
        """True when there is nothing to commit by its kind, so that its marker comes with its manifest."""
        return self.kind in ("initial", "start")


def operator_key(uid: str, subtask: int) -> str:
    """Gives the name under which a manifest keeps what one subtask of an operator had to remember."""
    return f"{uid}/{subtask}"


def event_time_key(uid: str, subtask: int) -> str:
    """Under which name a checkpoint keeps how far event time has come at a subtask: that of the task, or of a keyed
    operator inside of its chain. No uid has an @."""
    return operator_key(f"{uid}@time", subtask)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Manifest)


def encode(manifest: Manifest) -> bytes:
    """Gives the bytes of a manifest; raises `CheckpointError` for one that could not be read back."""
    what = f"checkpoint {manifest.checkpoint_id} of job {manifest.job!r}"
    try:
        body = _encoder.encode(manifest)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"{what} cannot be written: {error}",
            remedy="positions, operator snapshots and committables must be plain data: None, bool, int of 64 bits, "
            "float, str, bytes, list and dict",
        ) from error
    problem = _problem(manifest)
    if problem is not None:
        raise CheckpointError(f"{what} cannot be written: {problem}")
    head = _HEAD.pack(MAGIC, manifest.format_version, len(body))
    return b"".join((head, body, _checksum(head, body)))


def decode(data: bytes, place: str) -> Manifest:
    """Reads a manifest. `place` names the file in errors: `CheckpointDamagedError` for bytes that are not what was
    written, `CheckpointError` for a version that this streamlet does not know."""
    version, body = _open(data, place)
    if not OLDEST <= version <= VERSION:
        raise CheckpointError(
            f"{place} is a checkpoint of format {version}; this streamlet reads formats {OLDEST} to {VERSION}",
            remedy="start the job with the version of streamlet that wrote it, or a later one: nothing is damaged",
        )
    try:
        manifest = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(place, f"its content is not a manifest: {error}") from error
    problem = _problem(manifest)
    if manifest.format_version != version:
        problem = f"it says format {manifest.format_version} inside a file of format {version}"
    if problem is not None:
        raise _damaged(place, problem)
    return manifest


def _open(data: bytes, place: str) -> tuple[int, bytes]:
    if not data:
        raise _damaged(place, "it is empty")
    if len(data) < _HEAD.size:
        raise _damaged(place, f"it ends after {len(data)} bytes, inside its head")
    magic, version, length = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise _damaged(place, "it does not begin like a manifest")
    whole = _HEAD.size + length + _CHECKSUM_BYTES
    if len(data) != whole:
        raise _damaged(place, f"it has {len(data)} bytes where its head says {whole}")
    head, body, checksum = data[: _HEAD.size], data[_HEAD.size : -_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if _checksum(head, body) != checksum:
        raise _damaged(place, "its checksum does not fit its content")
    return version, body


def _checksum(head: bytes, body: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_CHECKSUM_BYTES)
    digest.update(body)
    return digest.digest()


def _problem(manifest: Manifest) -> str | None:
    """What makes a well-formed manifest unusable. A name from a manifest becomes a path, so it is checked here."""
    if manifest.checkpoint_id < 0 or manifest.key_groups < 1:
        return f"checkpoint id {manifest.checkpoint_id} or key groups {manifest.key_groups} out of range"
    if manifest.parent is not None and not 0 <= manifest.parent < manifest.checkpoint_id:
        return f"its parent {manifest.parent} is not an older checkpoint"
    if manifest.is_marked_at_birth and manifest.committables:
        return f"a {manifest.kind} checkpoint lists committables"
    for listed in manifest.committables:
        if not 0 <= listed.checkpoint_id <= manifest.checkpoint_id:
            return f"it lists a committable of checkpoint {listed.checkpoint_id}"
    for file in manifest.files():
        if not is_file_name(file.name) or file.name[:32] != file.checksum or file.size < 0:
            return f"it names the file {file.name[:80]!r}, which is not a name that streamlet gives"
        if _ROLE.fullmatch(file.role) is None:
            return f"file {file.name} has the role {file.role[:80]!r}, which is not a file's name"
    return None


def _damaged(place: str, what: str) -> CheckpointDamagedError:
    return CheckpointDamagedError(
        f"{place} is damaged: {what}",
        remedy="list the others with `streamlet checkpoints list` and start with `--from ID`",
    )
