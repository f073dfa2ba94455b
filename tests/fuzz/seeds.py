"""Real bytes of every kind that fuzzing begins from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import msgspec

from streamlet.checkpoint.lock import JobInstance
from streamlet.checkpoint.manifest import ListedCommittable, Manifest, encode
from streamlet.checkpoint.messages import Acknowledge, AddSplits, SubtaskReport
from streamlet.connect import Batch, Committable
from streamlet.elements import Barrier, Watermark
from streamlet.machine.disk import LocalDisk
from streamlet.runtime.processes import frames, messages
from streamlet.state.log.file import write_log
from streamlet.state.snapshot import FileRef, LogRef, StateSpec, StoreSnapshot
from streamlet_connectors.files import output
from streamlet_connectors.kafka.writing.batching import COMPRESSIONS, new_builder, seal
from streamlet_connectors.kafka.writing.transaction import Prepared

_SUM = "0" * 32


def manifest() -> bytes:
    log = LogRef(3, 9, FileRef(f"{_SUM}.log", 7, _SUM, "log"))
    base = FileRef(f"{_SUM}.sst", 7, _SUM, "000001.sst")
    whole = Manifest(
        job="job",
        instance=_SUM,
        checkpoint_id=3,
        attempt=1,
        kind="periodic",
        parent=2,
        key_groups=8,
        parallelism={"out": 1},
        states=[StateSpec(1, "uid", "n", "value", "int")],
        stores=[StoreSnapshot("s", 0, 0, 8, 3, 1, (base,), (log,), (1,))],
        positions={"in": {"t-0": [5, "id", None]}},
        operators={"op/0": {"at": 1}},
        committables=[ListedCommittable("out", 0, 3, Committable("u", {"p": 1}, 1, "d"))],
    )
    return encode(whole)


def log() -> bytes:
    frames = [
        msgspec.msgpack.encode(([repr(value).encode()], [value], [b"gone"])) for value in (1, 2 << 40, "text", [1, 2])
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        write_log(LocalDisk(), path, 7, frames, 8)
        return path.read_bytes()


def instance() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        attempt = Path(folder, "job", "attempt-1")
        attempt.mkdir(parents=True)
        JobInstance(attempt.parent, LocalDisk(), Random(), attempt).record_parallelism({"out": 2})
        return Path(folder, "job", "instance").read_bytes()


def record_batch(compression: str | None, *, offset: int = 0) -> bytes:
    builder = new_builder(100_000, is_transactional=True)
    for number in range(5):
        builder.append(
            number, 1000 + number, b"k%d" % number, b'{"n": [%d, "text"]}' % number, [("h", b"x"), ("n", None)]
        )
    data = bytearray(seal(builder, 4711, 3, 17, compression, is_transactional=True))
    data[:8] = offset.to_bytes(8, "big")
    return bytes(data)


def record_batches() -> list[bytes]:
    kinds = [None, *[name for name in COMPRESSIONS if name != "none"]]
    return [record_batch(kind) + record_batch(kind, offset=5) for kind in kinds]


JSON_LINES = b'{"user":"a","amount":1,"kind":"new","more":[1,2.5,null,true]}\n{"user":"b","amount":2}\n\n[]\n'
CSV = b'user,amount\na,1\n"b ""quoted""\nline",2\n\xc3\xa9,3\n'
KEYS = msgspec.msgpack.encode(["a", b"b", 1, True, ["t", 1], 1.5, None, 2**64 - 1, -1])
SETTINGS = b"500ms\n64MB\nlocalhost:9092,[::1]:9093\nSASL_SSL\n12\n"
POSITIONS = msgspec.msgpack.encode([[5, "ab", None], [5, "ab", 9], [1024, 7, "3f9c2a10"], 7, "t-3", "1/4"])


def committables() -> list[bytes]:
    kafka = Prepared(1, "job.i.out.1.0.0", 4711, 3, [("t", "ab", 0, 7)], "h:1", "c", 5)
    file = output.Prepared("out", f".part-x-0-1{output.IN_PROGRESS}", "part-1.jsonl", 5, _SUM)
    return [msgspec.msgpack.encode(kafka.payload()), msgspec.msgpack.encode(msgspec.to_builtins(file))]


def worker_frames() -> list[bytes]:
    batches = [
        Batch([1, "a", None, [1, {"b": 2.5}]], [1, 2, 3, 4]),
        Batch([(1, "a"), (2, "b")], keys=["k", "l"]),
        Batch([Committable("u", {}, 1, "d"), 5], origin=frames.DescribedOrigins(["one", "two"])),
    ]
    listed = ListedCommittable("out", 0, 3, Committable("u", {"p": 1}, 1, "d"))
    report = SubtaskReport(task="t", subtask=0, positions={"in": {"t-0": [5, "id", None]}}, committables=[listed])
    said = [
        Acknowledge(1, 3, report),
        messages.Failed("SinkError", "m", None, False, True, None),
        messages.Build(_SUM, 1, manifest(), {"in": {"t-0": 1}}),
        messages.Tell("t", 0, AddSplits({"t-0": 1})),
    ]
    bodies = [*map(frames.batch_body, batches), frames.element_body(Barrier(3)), frames.element_body(Watermark(5))]
    return [*bodies, *map(messages.encoded, said)]
