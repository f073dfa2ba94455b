"""The file sink: nothing is visible before its commit, and every step may be cut off and done again."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from streamlet import Bytes, Text
from streamlet.connect import Batch, Committable, Committer, Outcome, SinkContext, SinkWriter, SystemClock
from streamlet.errors import EncodeError, FinalError, JobDefinitionError, OutputLostError, SinkError
from streamlet_connectors.files import FileSink, JsonLines

R = TypeVar("R")
T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def in_place(function: Callable[..., R], /, *args: Any) -> Awaitable[R]:
    async def call() -> R:
        return function(*args)

    return call()


def context(
    subtask: int = 0, uid: str = "out", instance: str = "i-1", run_blocking: Callable[..., Awaitable[Any]] = in_place
) -> SinkContext:
    return SinkContext(
        job="job",
        instance=instance,
        uid=uid,
        subtask=subtask,
        parallelism=2,
        clock=SystemClock(),
        run_blocking=run_blocking,
    )


def committer(sink: FileSink[Any], uid: str = "out", instance: str = "i-1") -> Committer:
    return sink.committer(context(-1, uid, instance))


async def prepare(writer: SinkWriter[Any], checkpoint_id: int, *batches: Sequence[Any]) -> Sequence[Committable]:
    await writer.open()
    for batch in batches:
        await writer.write(Batch(list(batch)))
    return await writer.prepare_commit(checkpoint_id)


def prepared(sink: FileSink[Any], checkpoint_id: int, values: Sequence[Any], **where: Any) -> Committable:
    """What a writer prepared that was then abandoned, as a crash abandons it."""
    (committable,) = run(prepare(sink.writer(context(**where)), checkpoint_id, values))
    return msgspec.msgpack.decode(msgspec.msgpack.encode(committable), type=Committable)


def visible(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if not path.name.startswith(".")}


def hidden(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("."))


def test_nothing_is_visible_before_the_commit_and_all_of_it_after(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    sink: FileSink[Any] = FileSink(out)
    writer = sink.writer(context())
    (committable,) = run(prepare(writer, 7, [{"n": 1}], [], [{"n": 2}, "ü"]))
    assert visible(out) == {}
    assert committable.records == 3
    assert committable.description.startswith(f"file {out}/part-00000007-0-")
    assert run(committer(sink).outcomes([committable])) == [Outcome.OPEN]
    run(committer(sink).commit(committable))
    ((name, content),) = visible(out).items()
    assert name.startswith("part-00000007-0-")
    assert content == '{"n":1}\n{"n":2}\n"ü"\n'.encode()
    assert hidden(out) == []
    assert run(committer(sink).outcomes([committable])) == [Outcome.COMMITTED]


def test_the_output_can_be_read_back_by_the_source(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    run(committer(sink).commit(prepared(sink, 1, [{"n": n} for n in range(5)])))
    prepared(sink, 2, [{"n": 99}])
    assert len(run(JsonLines(str(tmp_path / "*.jsonl")).discover({}))) == 1


def test_a_checkpoint_without_records_makes_no_file(tmp_path: Path) -> None:
    writer = FileSink[Any](tmp_path).writer(context())
    assert run(prepare(writer, 1)) == []
    assert run(prepare(writer, 2, [], [])) == []
    assert list(tmp_path.iterdir()) == []


def test_a_commit_may_be_repeated_by_anyone_at_any_step(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    committable = prepared(sink, 1, ["a"])
    temporary, final = (tmp_path / committable.payload[name] for name in ("temporary", "final"))
    os.link(temporary, final)  # the crash came between the link and the unlink
    assert run(committer(sink).outcomes([committable])) == [Outcome.COMMITTED]
    for _ in range(3):
        run(committer(sink).commit(committable))
        assert visible(tmp_path) == {final.name: b'"a"\n'}
        assert hidden(tmp_path) == []


def test_an_aborted_file_stays_aborted_and_says_so(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    committable = prepared(sink, 1, ["a"])
    for _ in range(2):
        run(committer(sink).abort(committable))
        assert run(committer(sink).outcomes([committable])) == [Outcome.ABORTED]
    with pytest.raises(OutputLostError, match="was aborted"):
        run(committer(sink).commit(committable))
    run(committer(sink).fence(1, [committable]))
    assert run(committer(sink).outcomes([committable])) == [Outcome.ABORTED]
    run(committer(sink).fence(1, []))
    assert list(tmp_path.iterdir()) == []


def test_a_committed_file_cannot_be_aborted(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    committable = prepared(sink, 1, ["a"])
    run(committer(sink).commit(committable))
    with pytest.raises(FinalError, match="is committed and visible"):
        run(committer(sink).abort(committable))
    assert len(visible(tmp_path)) == 1


def test_a_prepared_file_that_vanished_is_unknown_and_lost(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    committable = prepared(sink, 1, ["a"])
    (tmp_path / committable.payload["temporary"]).unlink()
    assert run(committer(sink).outcomes([committable])) == [Outcome.UNKNOWN]
    with pytest.raises(OutputLostError, match="are both gone"):
        run(committer(sink).commit(committable))


def test_a_prepared_file_that_changed_is_not_committed(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    committable = prepared(sink, 1, ["a"])
    with (tmp_path / committable.payload["temporary"]).open("ab") as file:
        file.write(b"more")
    with pytest.raises(OutputLostError, match="has 8 bytes, 4 were prepared"):
        run(committer(sink).commit(committable))


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    committable = prepared(sink, 1, ["a"])
    final = tmp_path / committable.payload["final"]
    final.write_bytes(b'"b"\n')
    assert run(committer(sink).outcomes([committable])) == [Outcome.OPEN]
    with pytest.raises(FinalError, match=r"exists with other content.*\n.*move that file away"):
        run(committer(sink).commit(committable))
    assert final.read_bytes() == b'"b"\n'
    final.unlink()
    run(committer(sink).commit(committable))
    assert final.read_bytes() == b'"a"\n'


def test_a_committed_file_that_was_changed_is_no_longer_the_output(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    committable = prepared(sink, 1, ["a"])
    run(committer(sink).commit(committable))
    (tmp_path / committable.payload["final"]).write_bytes(b'"x"\n')
    assert run(committer(sink).outcomes([committable])) == [Outcome.UNKNOWN]
    with pytest.raises(OutputLostError, match="is not what was prepared"):
        run(committer(sink).commit(committable))


def test_a_file_system_without_hard_links_is_renamed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    sink: FileSink[Any] = FileSink(tmp_path)
    first, second = prepared(sink, 1, ["a"]), prepared(sink, 2, ["b"])
    run(committer(sink).commit(first))
    run(committer(sink).commit(first))
    assert list(visible(tmp_path).values()) == [b'"a"\n']
    (tmp_path / second.payload["final"]).write_bytes(b"other")
    with pytest.raises(FinalError, match="other content"):
        run(committer(sink).commit(second))


def test_the_fence_removes_what_earlier_attempts_left_but_not_what_is_spared(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    spared = prepared(sink, 1, ["spared"])
    prepared(sink, 2, ["left"], subtask=1)
    half_written = sink.writer(context())

    async def leave_half_written() -> None:
        await half_written.write(Batch(["x" * 1_000_000]))

    run(leave_half_written())
    assert len(hidden(tmp_path)) == 3
    run(committer(sink).fence(2, [spared]))
    assert hidden(tmp_path) == [spared.payload["temporary"]]
    run(committer(sink).commit(spared))
    assert list(visible(tmp_path).values()) == [b'"spared"\n']


def test_a_writer_that_lives_on_behind_the_fence_notices(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    zombie = sink.writer(context())

    async def begin() -> None:
        await zombie.write(Batch(["x" * 1_000_000]))

    run(begin())
    run(committer(sink).fence(1, []))
    with pytest.raises(SinkError, match="was removed while it was written"):
        run(zombie.prepare_commit(1))
    assert list(tmp_path.iterdir()) == []


def test_sinks_and_jobs_on_one_directory_leave_each_others_files_alone(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    places = [("out", "i-1"), ("other", "i-1"), ("out", "i-2")]
    ours = [prepared(sink, 1, [uid + instance], uid=uid, instance=instance) for uid, instance in places]
    run(committer(sink, "third").fence(8, []))
    run(committer(sink, *places[0]).fence(8, []))
    assert hidden(tmp_path) == sorted(one.payload["temporary"] for one in ours[1:])
    for one, (uid, instance) in list(zip(ours, places, strict=True))[1:]:
        run(committer(sink, uid, instance).commit(one))
    assert sorted(visible(tmp_path).values()) == [b'"otheri-1"\n', b'"outi-2"\n']


def test_two_subtasks_write_two_files_and_names_sort_by_checkpoint(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path, prefix="sales", suffix=".json")
    for checkpoint_id in (9, 10, 101):
        for subtask in (0, 1):
            one = prepared(sink, checkpoint_id, [[checkpoint_id, subtask]], subtask=subtask)
            run(committer(sink).commit(one))
    assert [json.loads(content) for content in visible(tmp_path).values()] == [
        [9, 0], [9, 1], [10, 0], [10, 1], [101, 0], [101, 1]
    ]  # fmt: skip
    assert all(name.startswith("sales-") and name.endswith(".json") for name in visible(tmp_path))


def test_closing_removes_what_is_not_prepared_and_leaves_the_rest(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path)
    writer = sink.writer(context())

    async def scenario() -> Committable:
        (committable,) = await prepare(writer, 1, ["kept"])
        await writer.write(Batch(["x" * 1_000_000]))
        await writer.close()
        await writer.close()
        return committable

    committable = run(scenario())
    assert hidden(tmp_path) == [committable.payload["temporary"]]
    run(committer(sink).commit(committable))


def test_closing_during_a_write_neither_waits_nor_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Event(), threading.Event()
    write = os.write

    def slow_write(descriptor: int, data: bytes) -> int:
        started.set()
        go_on.wait(10)
        return write(descriptor, data)

    async def scenario() -> None:
        writer = FileSink[Any](tmp_path).writer(context(run_blocking=asyncio.to_thread))
        await writer.open()
        monkeypatch.setattr("streamlet_connectors.files.output.os.write", slow_write)
        writing = asyncio.create_task(writer.write(Batch(["x" * 1_000_000])))
        await asyncio.to_thread(started.wait, 10)
        monkeypatch.undo()
        await writer.close()
        assert not writing.done()
        go_on.set()
        await writing

    run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_holds_a_line_feed_is_refused_by_row(tmp_path: Path) -> None:
    class Where:
        def describe(self, row: int) -> str:
            return f"generator, index {row + 40}"

    writer = FileSink(tmp_path, format=Text()).writer(context())
    with pytest.raises(EncodeError, match=r"sink 'out', .*: generator, index 42: .*line feed") as caught:
        run(writer.write(Batch(["a", "b", "c\nd"], origin=Where())))
    assert caught.value.index == 2
    with pytest.raises(EncodeError, match=r"row 1 of a batch: not bytes but str"):
        run(FileSink[Any](tmp_path, format=Bytes()).writer(context()).write(Batch([b"a", "b"])))


def test_large_output_arrives_whole(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, format=Text())
    lines = [f"{n:05}" * 100 for n in range(2_000)]

    async def scenario() -> Sequence[Committable]:
        writer = sink.writer(context(run_blocking=asyncio.to_thread))
        return await prepare(writer, 1, *(lines[at : at + 250] for at in range(0, 2_000, 250)))

    (committable,) = run(scenario())
    run(committer(sink).commit(committable))
    (content,) = visible(tmp_path).values()
    assert content.decode().splitlines() == lines


def test_names_out_of_a_committable_cannot_leave_the_directory(tmp_path: Path) -> None:
    sink: FileSink[Any] = FileSink(tmp_path / "out")
    good = prepared(sink, 1, ["a"])
    for payload in (
        {"final": "../escaped.jsonl"},
        {"final": "/etc/escaped"},
        {"temporary": "../x.inprogress"},
        {"temporary": "passwd"},
        {"final": ".."},
        {"bytes": "many"},
    ):
        bad = msgspec.structs.replace(good, payload={**good.payload, **payload})
        for act in (committer(sink).commit, committer(sink).abort):
            with pytest.raises(FinalError, match="committable"):
                run(act(bad))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_that_is_away_is_asked_for_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sink: FileSink[Any] = FileSink(out)
    committable = prepared(sink, 1, ["a"])
    out.rename(tmp_path / "away")
    for act in (committer(sink).commit, committer(sink).abort):
        with pytest.raises(SinkError, match=r"is not there\n.*mount it") as caught:
            run(act(committable))
        assert not caught.value.final
    run(committer(sink).fence(1, []))
    (tmp_path / "away").rename(out)
    run(committer(sink).commit(committable))


def test_a_full_or_forbidden_disk_is_an_error_that_names_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(SinkError, match=r"cannot write to .*\n.*name a folder that this user may write to"):
        run(FileSink[Any](tmp_path / "file" / "out").writer(context()).open())


def test_wrong_options_are_refused_when_the_job_is_defined() -> None:
    wrong: list[Callable[[], object]] = [
        lambda: FileSink[Any](""),
        lambda: FileSink[Any]("out", prefix=""),
        lambda: FileSink[Any]("out", prefix=".hidden"),
        lambda: FileSink[Any]("out", prefix="a/b"),
        lambda: FileSink[Any]("out", suffix="/x"),
    ]
    for make in wrong:
        with pytest.raises(JobDefinitionError, match="->"):
            make()
