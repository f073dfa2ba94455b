"""What is fuzzed. Each target takes any bytes, and raises only where the promise is broken: an exception that is not
declared, an error without words, or data that came back as something else."""

from __future__ import annotations

import asyncio
import enum
import hashlib
import io
import itertools
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from streamlet import Json, Text
from streamlet.checkpoint import manifest as manifests
from streamlet.checkpoint.lock import read_instance
from streamlet.config import JobConfig, Restart, parse_bytes, parse_duration
from streamlet.connect import Committable
from streamlet.errors import StreamletError
from streamlet.machine.disk import LocalDisk
from streamlet.runtime.processes import frames, messages
from streamlet.runtime.task.placement import ChannelAddress
from streamlet.state.encoding.codec import Codec
from streamlet.state.encoding.key_groups import key_group, namespace_of, pack_key, state_of, stored_key
from streamlet.state.encoding.key_type import KeyType
from streamlet.state.log.file import read_header, read_log
from streamlet_connectors.files import output
from streamlet_connectors.files.charset import UTF8, Charset, Encoding
from streamlet_connectors.files.csv_layout import CsvLayout, dialect
from streamlet_connectors.files.position import FilePosition
from streamlet_connectors.files.records import Lines
from streamlet_connectors.generator import Generator
from streamlet_connectors.kafka.protocol import requests, wire
from streamlet_connectors.kafka.protocol.offsets import position_at, position_parts, split_name, split_parts
from streamlet_connectors.kafka.protocol.options import KafkaOptions
from streamlet_connectors.kafka.reading.decoding import Decoder
from streamlet_connectors.kafka.reading.records import Chunk
from streamlet_connectors.kafka.writing.transaction import Prepared
from tests.fuzz import seeds

LONGEST_MESSAGE = 20_000
APIS = [api for api in vars(requests).values() if isinstance(api, wire.Api)]


class Kind(enum.Enum):
    NEW = "new"
    OLD = "old"


class Payment(msgspec.Struct):
    user: str
    amount: int = 0
    kind: Kind = Kind.NEW
    more: list[Any] = []


class Target(msgspec.Struct, frozen=True):
    """A function of bytes, and bytes to begin from."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


@contextmanager
def only_declared() -> Iterator[None]:
    """Lets errors of streamlet pass, if they say something."""
    try:
        yield
    except StreamletError as error:
        if not error.message or len(str(error)) > LONGEST_MESSAGE:
            raise AssertionError(f"an error that says nothing, or too much: {str(error)[:200]!r}") from error


def manifest(data: bytes) -> None:
    """As it is, and with a head and a checksum that fit."""
    body = data[18:-16]
    head = struct.pack(">8sHQ", manifests.MAGIC, manifests.VERSION, len(body))
    sealed = head + body + hashlib.blake2b(head + body, digest_size=16).digest()
    for one in (data, sealed):
        with only_declared():
            found = manifests.decode(one, "a manifest")
            assert manifests.decode(manifests.encode(found), "again") == found


def log(data: bytes) -> None:
    """As it is, and with checksums that fit."""
    from xxhash import xxh3_64_intdigest

    sealed = bytearray(data)
    if len(sealed) >= 54:
        sealed[38:46] = xxh3_64_intdigest(bytes(sealed[:38])).to_bytes(8, "big")
        at = 46
        while at + 16 <= len(sealed):
            length = int.from_bytes(sealed[at : at + 4], "big")
            framed = bytes(sealed[at : at + 8] + sealed[at + 16 : at + 16 + length])
            sealed[at + 8 : at + 16] = xxh3_64_intdigest(framed).to_bytes(8, "big")
            at += 16 + length
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = Path(folder, "log")
        for one in (data, bytes(sealed)):
            path.write_bytes(one)
            with only_declared():
                read_header(LocalDisk(), path)
            with only_declared():
                for keys, values, _ in read_log(LocalDisk(), path):
                    assert len(keys) == len(values)


def instance(data: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        Path(folder, "job").mkdir()
        Path(folder, "job", "instance").write_bytes(data)
        with only_declared():
            read_instance(LocalDisk(), Path(folder, "job"))


_CODECS = [
    Codec(declared, where="state 'n' of 'op'")
    for declared in (int, float, str, list[int], dict[str, Any], Payment, tuple[int, str], Literal["a", 1])
]


def codec(data: bytes) -> None:
    for one in _CODECS:
        with only_declared():
            one.decode(one.unpack(data))


_ENCODING = Encoding("utf-8", "\n")
_LAYOUTS: list[Any] = [
    Lines(lambda encoding: Json(Payment, encoding=encoding), _ENCODING, skips_blank=True),
    Lines(Text, _ENCODING, skips_blank=False),
    CsvLayout(_ENCODING, dialect(",", '"', None, True, False), header=True, fields=None),
    CsvLayout(
        _ENCODING, dialect(",", '"', "^", False, True), header=False, fields=["user", "amount"], type=dict[str, str]
    ),
    CsvLayout(_ENCODING, dialect(";", None, None, True, False), header=False, fields=None, type=list[str]),
]


def lines(data: bytes) -> None:
    for layout, charset in itertools.product(_LAYOUTS, (UTF8, Charset("utf-16-le", b"\n\0"), Charset("gbk", b"\r"))):
        for is_last in (True, False):
            records = layout.cut(data, charset, is_last=is_last)
            joined = charset.feed.join(records)
            assert data.startswith(joined), "cutting loses or makes bytes"
            if not records:
                continue
            # The law of replays: cut anew from where any record starts, the same records come.
            behind = len(records[0]) + len(charset.feed)
            if len(records) > 1:
                assert layout.cut(data[behind:], charset, is_last=is_last) == records[1:]
            with only_declared():
                header = records[0] if layout.has_header else None
                layout.notes(header, data, charset)
                format = layout.format(header, charset)
                for record in records:
                    with only_declared():
                        format.decode_batch([record])


def json(data: bytes) -> None:
    for format in (Json(), Json(Payment), Json(list[int])):
        with only_declared():
            assert len(format.decode_batch([data])) == 1


_DECODER = Decoder(Json(), Text(), full=True, on_bad_record="skip")


def kafka_records(data: bytes) -> None:
    """As they are, and with checksums that fit."""
    for one in (data, resealed(data)):
        with only_declared():
            chunk = Chunk(one, 0, [(4711, 0)] if len(data) % 2 else ())
            before = -1
            while not chunk.is_exhausted:
                rows = chunk.take(3)
                _DECODER.decode("t", 0, rows)
                if not rows and chunk.position == before and not chunk.is_exhausted:
                    raise AssertionError("a chunk that never ends")
                before = chunk.position


def resealed(data: bytes) -> bytes:
    """Puts right checksums into record batches, as far as their lengths lead."""
    out, at = bytearray(data), 0
    while at + 61 <= len(out):
        (length,) = struct.unpack_from(">i", out, at + 8)
        end = at + 12 + length
        if not at + 61 <= end <= len(out):
            break
        struct.pack_into(">I", out, at + 17, wire.calc_crc32c(bytes(out[at + 21 : end])))
        at = end
    return bytes(out)


class _Answers:
    """In the place of a connection: answers with what was decoded."""

    host, port, refused = "h", 1, ""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def send(self, request: Any) -> Any:
        return self._answer

    def close(self) -> None: ...


def kafka_answer(data: bytes) -> None:
    """The first byte chooses the API. What aiokafka cannot decode closes the connection; what it can must be read."""
    api = APIS[data[0] % len(APIS)] if data else APIS[0]
    schema = api._struct.RESPONSE_TYPE  # type: ignore[attr-defined]
    try:
        answer = schema.decode(io.BytesIO(data[1:]))
    except MemoryError:
        raise
    except Exception:
        return
    request: Any = wire.Request.__new__(wire.Request)
    request.api = api
    sent = wire.Socket(_Answers(answer)).send(request)  # type: ignore[arg-type]
    with only_declared(), asyncio.Runner() as runner:
        runner.run(sent)


def keys(data: bytes) -> None:
    try:
        found = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    column = found if isinstance(found, list) else [found]
    for key in column:
        key = tuple(key) if isinstance(key, list) else key
        with only_declared():
            KeyType("keyed state of 'op'").check([key])
            packed = pack_key(key)
            stored = stored_key(key_group(packed, 128), 7, packed, b"name")
            assert (state_of(stored), namespace_of(stored)) == (7, b"name")
            again = msgspec.msgpack.decode(packed)
            assert again == (list(key) if isinstance(key, tuple) else key)


_OPTIONS = [name for name in KafkaOptions.__struct_fields__ if name != "servers"]
_SETTINGS = list(JobConfig.__dataclass_fields__)


def settings(data: bytes) -> None:
    text = data.decode(errors="replace")
    values: list[Any] = [text, *text.split("\n"), len(data), -1, None, 1.5, float("nan"), [text], 10**30]
    for number, value in enumerate(values):
        name = _OPTIONS[(number + len(data)) % len(_OPTIONS)]
        with only_declared():
            parse_duration(str(value))
        with only_declared():
            parse_bytes(str(value))
        with only_declared():
            repr(KafkaOptions.of(value, {}, where="a source"))
        with only_declared():
            repr(KafkaOptions.of("h:1", {name: value}, where="a source"))
        with only_declared():
            JobConfig.of({_SETTINGS[(number + len(data)) % len(_SETTINGS)]: value, text: 1})
        with only_declared():
            JobConfig.of({_SETTINGS[(number + len(data)) % len(_SETTINGS)]: value})
        with only_declared():
            Restart.exponential(attempts=value)
        with only_declared():
            Text(str(value))


def _unpacked(data: bytes) -> list[Any]:
    """Data as a manifest may hold it: what msgpack makes of the bytes, and parts of that."""
    try:
        found = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return []
    inside = found if isinstance(found, list) else list(found.values()) if isinstance(found, dict) else []
    return [found, *inside]


def positions(data: bytes) -> None:
    """Of every source: what they are made into can be written again."""
    for one in [{"p": 1}, "x", 5, None, *_unpacked(data)]:
        with only_declared():
            parts = position_parts(one, "t-0")
            assert position_parts(position_at(parts.offset, parts.topic_id, parts.stop, parts.epoch)) == parts
        with only_declared():
            position = FilePosition.of("in.csv", one)
            assert FilePosition.of("in.csv", position.plain()) == position
        with only_declared():
            assert split_name(*split_parts(str(one))) == str(one)
        with only_declared():
            discovering = Generator(int, splits=1).discover({"0/1": one})
            with pytest.raises(StopIteration):
                discovering.send(None)


def committables(data: bytes) -> None:
    """Of every sink."""
    for one in _unpacked(data):
        payload = one if isinstance(one, dict) else {"directory": "d", "temporary": one, "final": "f"}
        committable = Committable("id", payload, 1, "what it says")
        with only_declared():
            repr(Prepared.of(committable).where)
        with only_declared():
            prepared = output.Prepared.of(committable)
            assert prepared.hidden.parent == prepared.visible.parent == Path(prepared.directory)
            assert not prepared.hidden.exists()


def worker_frames(data: bytes) -> None:
    """What workers say to each other and to their parent: as it is, and as the body of a frame of each kind."""
    address = ChannelAddress(1, 0, 0, 1)
    for one in (data, *(frames.frame(kind, address, 1, data) for kind in frames.FrameKind)):
        with only_declared():
            kind, _, _, body = frames.parsed(one)
            if kind == frames.FrameKind.BATCH:
                batch = frames.batch_of(body)
                assert all(column is None or len(column) == len(batch) for column in (batch.timestamps, batch.keys))
                assert len([batch.describe_row(row) for row in range(len(batch))]) == len(batch)
            elif kind == frames.FrameKind.ELEMENT:
                assert frames.element_of(frames.element_body(element := frames.element_of(body))) == element
    for read in (messages.from_worker_of, messages.to_worker_of, messages.job_file_of):
        with only_declared():
            read(data)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


_ANSWERS = tuple(bytes([number]) + bytes(40) for number in range(len(APIS)))
TARGETS: dict[str, Target] = {
    "manifest": Target(manifest, (seeds.manifest(),)),
    "log": Target(log, (seeds.log(),)),
    "instance": Target(instance, (seeds.instance(),)),
    "codec": Target(codec, tuple(itertools.chain([seeds.KEYS], map(msgspec.msgpack.encode, (1, "a", [1], {"a": 1}))))),
    "lines": Target(lines, (seeds.JSON_LINES, seeds.CSV)),
    "json": Target(json, (seeds.JSON_LINES, b"[" * 3000, b'{"a":' * 3000, b"1e999", b'"\\ud800"')),
    "kafka_records": Target(kafka_records, tuple(seeds.record_batches())),
    "kafka_answer": Target(kafka_answer, _ANSWERS),
    "keys": Target(keys, (seeds.KEYS,)),
    "positions": Target(positions, (seeds.POSITIONS,)),
    "committables": Target(committables, tuple(seeds.committables())),
    "worker_frames": Target(worker_frames, tuple(seeds.worker_frames())),
    "settings": Target(settings, (seeds.SETTINGS,)),
}
