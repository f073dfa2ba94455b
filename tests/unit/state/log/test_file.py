"""Delta logs: what was written comes back, and any damage is seen."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from xxhash import xxh3_64_intdigest

from streamlet.errors import CheckpointDamagedError, CheckpointError
from streamlet.machine.disk import LocalDisk
from streamlet.state.backends.folding import fold_logs, main, merge_logs
from streamlet.state.backends.rocksdb_database import RocksBase
from streamlet.state.log.file import read_header, read_log, write_log


def frame(values: dict[bytes, int], deletes: list[bytes]) -> bytes:
    return msgspec.msgpack.encode((list(values), list(values.values()), deletes))


def key(group: int, name: str) -> bytes:
    return group.to_bytes(2, "big") + b"\x00\x01" + len(name).to_bytes(4, "big") + name.encode()


def a_log(path: Path) -> Path:
    write_log(LocalDisk(), path, 7, [frame({b"a": 1, b"b": 2}, [b"c"]), frame({b"d": 3}, []), frame({}, [b"e"])], 5)
    return path


def test_a_log_gives_back_its_frames(tmp_path: Path) -> None:
    path = a_log(tmp_path / "log")
    assert [
        (keys, [bytes(value) for value in values], deletes) for keys, values, deletes in read_log(LocalDisk(), path)
    ] == [
        ([b"a", b"b"], [b"\x01", b"\x02"], [b"c"]),
        ([b"d"], [b"\x03"], []),
        ([], [], [b"e"]),
    ]
    header = read_header(LocalDisk(), path)
    assert (header.cut, header.frames, header.entries) == (7, 3, 5)


def test_every_flipped_bit_of_a_log_is_seen(tmp_path: Path) -> None:
    data = a_log(tmp_path / "log").read_bytes()
    damaged = tmp_path / "damaged"
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            damaged.write_bytes(changed)
            with pytest.raises(CheckpointDamagedError, match="damaged"):
                list(read_log(LocalDisk(), damaged))


def test_every_cut_of_a_log_is_seen(tmp_path: Path) -> None:
    data = a_log(tmp_path / "log").read_bytes()
    damaged = tmp_path / "damaged"
    for length in range(len(data)):
        damaged.write_bytes(data[:length])
        with pytest.raises(CheckpointDamagedError):
            list(read_log(LocalDisk(), damaged))
    damaged.write_bytes(data + b"x")
    with pytest.raises(CheckpointDamagedError, match="more in it"):
        list(read_log(LocalDisk(), damaged))


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointDamagedError, match="gone"):
        list(read_log(LocalDisk(), tmp_path / "gone"))


def test_merged_logs_hold_the_last_word_on_each_key(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    write_log(LocalDisk(), first, 1, [frame({key(0, "a"): 1, key(0, "b"): 1, key(5, "c"): 1}, [key(0, "d")])], 4)
    write_log(LocalDisk(), second, 2, [frame({key(0, "a"): 2, key(0, "d"): 2}, [key(0, "b")])], 3)
    merged = merge_logs(LocalDisk(), [first, second], 0, 5)
    assert merged == {key(0, "a"): b"\x02", key(0, "b"): None, key(0, "d"): b"\x02"}


def test_a_fold_in_parts_writes_the_same_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    entries = {key(group, f"k{number}"): number for group in range(16) for number in range(20)}
    write_log(LocalDisk(), log, 1, [frame(entries, [key(3, "gone")])], len(entries) + 1)
    assert fold_logs(LocalDisk(), [log], tmp_path / "one.sst", 0, 16) == len(entries) + 1
    monkeypatch.setattr("streamlet.state.backends.folding.PART_ENTRIES", 30)
    assert fold_logs(LocalDisk(), [log], tmp_path / "parts.sst", 0, 16) == len(entries) + 1
    found = []
    for name in ("one", "parts"):
        base = RocksBase(tmp_path / name, 1 << 20, create=True)
        base.ingest(tmp_path / f"{name}.sst")
        found.append(list(base.range(b"")))
        base.close()
    assert found[0] == found[1] == sorted((name, msgspec.msgpack.encode(value)) for name, value in entries.items())


def test_a_fold_of_a_damaged_log_ends_with_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_bytes(b"nonsense")
    assert main(LocalDisk(), [str(tmp_path / "out"), "0", "16", str(tmp_path / "log")]) == 1
    assert "delta log" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_log_of_a_later_format_is_refused_by_it_and_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "later.log"
    write_log(LocalDisk(), path, 5, [], 0)
    data = bytearray(path.read_bytes())
    data[8:10] = (99).to_bytes(2, "big")
    data[-8:] = xxh3_64_intdigest(bytes(data[:-8])).to_bytes(8, "big")
    path.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"is a delta log of format 99; this streamlet reads format 1\n"
    ) as refused:
        read_header(LocalDisk(), path)
    assert type(refused.value) is CheckpointError, "a start does not fall back as from a damaged one"
