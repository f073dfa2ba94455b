"""Retention on a real directory, against references counted from scratch: no file that anything names ever goes, and
nothing stays for ever that nothing names."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamlet.checkpoint.manifest import Manifest
from streamlet.checkpoint.retention import CheckpointInfo, releasable, unreferenced
from streamlet.checkpoint.storage import CheckpointStorage
from streamlet.machine.disk import LocalDisk
from streamlet.state.snapshot import FileRef, LogRef, StoreSnapshot

STORES = ["a", "b"]


class Retention(RuleBasedStateMachine):
    """Two stores make files with few different contents, name them in checkpoints, and drop them again."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="streamlet-retention-"))
        self.storage = CheckpointStorage(self.root, "job", LocalDisk())
        self.attempt = self.storage.begin_attempt()
        self.next = 0
        self.live: dict[str, dict[str, FileRef]] = {store: {} for store in STORES}
        """What each store would name in its next snapshot."""
        self.marked: list[int] = []
        self.there: dict[int, frozenset[str]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(store=st.sampled_from(STORES), content=st.sampled_from("vwxyz"))
    def make(self, store: str, content: str) -> None:
        files = self.storage.attempt.store_files(store, 0)
        path = files.scratch() / "made"
        path.unlink(missing_ok=True)
        path.write_text(content)
        self.live[store][content] = files.keep(path, "log", suffix=".log")

    @rule(store=st.sampled_from(STORES), content=st.sampled_from("vwxyz"))
    def drop(self, store: str, content: str) -> None:
        self.live[store].pop(content, None)

    @rule(marked=st.booleans())
    def checkpoint(self, marked: bool) -> None:
        number, self.next = self.next, self.next + 1
        stores = [
            StoreSnapshot(store, 0, 0, 8, number, 0, (), tuple(LogRef(number, 1, ref) for ref in live.values()))
            for store, live in self.live.items()
        ]
        manifest = Manifest(
            job="job", checkpoint_id=number, attempt=self.attempt, kind="periodic", key_groups=8, stores=stores
        )
        self.storage.write_manifest(manifest)
        self.there[number] = manifest.file_names()
        if marked:
            self.storage.write_marker(number)
            self.marked.append(number)

    @rule(retain=st.integers(0, 3))
    def release(self, retain: int) -> None:
        removed = self.storage.release(retain=retain)
        expected = set()
        if self.marked:
            spare = [number for number in self.marked if number < self.marked[-1]][-retain:] if retain else []
            expected = {number for number in self.there if number < self.marked[-1] and number not in spare}
        assert set(removed) == expected
        for number in removed:
            del self.there[number]
        self.marked = [number for number in self.marked if number in self.there]

    @precondition(lambda self: self.there)
    @rule()
    def restart(self) -> None:
        self.storage = CheckpointStorage(self.root, "job", LocalDisk())
        self.attempt = self.storage.begin_attempt()
        self.storage.clean_orphans()
        assert self.storage.next_checkpoint_id() == self.next
        named = frozenset[str]().union(*self.there.values())
        assert {path.name for path in self.storage.files.iterdir()} == named
        newest = self.storage.load(max(self.there)).manifest
        assert newest is not None
        for store in newest.stores:
            self.live[store.store] = {ref.name: ref for ref in store.files()}

    @invariant()
    def every_checkpoint_is_whole(self) -> None:
        infos = self.storage.checkpoints()
        assert [info.id for info in infos] == sorted(self.there)
        for info in infos:
            assert info.manifest is not None and info.manifest.file_names() == self.there[info.id]
            self.storage.verify(info.manifest, full=True)

    @invariant()
    def every_file_that_a_store_will_name_is_there(self) -> None:
        for live in self.live.values():
            for ref in live.values():
                assert (self.storage.files / ref.name).exists()


TestRetention = Retention.TestCase
TestRetention.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

file_sets = st.lists(st.frozensets(st.sampled_from("abcdef")), max_size=5)


def named(number: int, names: frozenset[str]) -> Manifest:
    refs = tuple(FileRef(name=name, size=1, checksum=name, role="log") for name in sorted(names))
    store = StoreSnapshot("s", 0, 0, 8, number, 0, refs, ())
    return Manifest(job="j", checkpoint_id=number, attempt=1, kind="periodic", key_groups=8, stores=[store])


@given(file_sets, file_sets, st.frozensets(st.sampled_from("abcdef")))
def test_a_file_goes_exactly_when_only_removed_manifests_name_it(
    removed: list[frozenset[str]], kept: list[frozenset[str]], protect: frozenset[str]
) -> None:
    going = unreferenced([named(1, one) for one in removed], [named(2, one) for one in kept], protect)
    for name in "abcdef":
        is_needed = name in protect or any(name in one for one in kept)
        assert (name in going) == (any(name in one for one in removed) and not is_needed)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=8), st.integers(0, 3))
def test_what_a_restart_may_need_is_never_released(facts: list[tuple[bool, bool]], retain: int) -> None:
    infos = [
        CheckpointInfo(
            id=number,
            path=Path(f"/{number}"),
            manifest=named(number, frozenset()) if readable else None,
            problem=None if readable else "damaged",
            is_marked=marked,
        )
        for number, (marked, readable) in enumerate(facts)
    ]
    gone = {info.id for info in releasable(infos, retain)}
    good = [info.id for info in infos if info.is_marked and info.manifest is not None]
    kept = {info.id for info in infos} - gone
    if not good:
        assert not gone
        return
    assert set(range(good[-1], len(infos))) <= kept
    assert {number for number in kept if number < good[-1]} == set(good[max(0, len(good) - 1 - retain) : -1])
