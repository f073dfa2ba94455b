"""What may change in the type of a state goes on exactly where only a part of the state fits into memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streamlet import Job
from streamlet.state.backends.rocksdb import CACHE_MIN_BYTES, RocksDbKeyedStore
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import Waiting, checkpoint_at, files, lines, make_job, run
from tests.unit.state.evolution.test_evolution import GOES_ON, _class, _function

KEYS, IN_MEMORY = 100, 600
"""The steps share a store: with all keys it has three times as many cells."""
CELL_BYTES = 460
"""About what a cell of these states takes."""

Make = Callable[[Any, int], Any]
Row = tuple[Any, Any, Make, Make, Callable[[int], str], dict[str, Any]]
"""The old type and the new one, how a value of each is made, how an old one is shown, options of the new state."""


def _text(old: dict[str, int]) -> Any:
    return TEXT(str(old["v"]))


PAIR, TEXT = _class(("v", int), ("w", int)), _class(("v", str))
ROWS: dict[str, Row] = {
    **{name: (old, new, make, make, shown, {}) for name, (old, new, make, shown) in GOES_ON.items()},
    "gone": (PAIR, _class(("v", int)), lambda S, n: S(n, 5), lambda S, n: S(n), lambda n: f"S(v={n})", {}),
    "renamed": (
        PAIR,
        _class(("w", int), ("x", int)),
        lambda S, n: S(n, -n),
        lambda S, n: S(0, n),
        lambda n: f"S(w={-n}, x={n})",
        {"renamed": {"v": "x"}},
    ),
    "upgraded": (PAIR, TEXT, lambda S, n: S(n, 0), lambda S, n: S(""), lambda n: f"S(v='{n}')", {"upgrade": _text}),
}


def _job(folder: Path, function: Callable[[Row], Any]) -> Job:
    """Each row is a step with a state of its own."""
    job = make_job(folder, state_backend="rocksdb", checkpoint_interval=timedelta(milliseconds=50), retain=2_000)
    keyed = job.source(Waiting(2 * KEYS, KEYS), uid="numbers").key_by(lambda n: n % KEYS, uid="by")
    for place, row in enumerate(ROWS.values()):
        keyed.process(function(row), uid=f"p{place}").sink(FileSink(str(folder / f"out{place}")), uid=f"out{place}")
    return job


@pytest.mark.outside
def test_every_change_of_a_type_is_exact_where_state_is_larger_than_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[RocksDbKeyedStore] = []

    def tight(store: RocksDbKeyedStore, *args: Any, **kwargs: Any) -> None:
        super(RocksDbKeyedStore, store).__init__(*args, **kwargs)
        store.memory_bound = store.eviction.bound_bytes = CACHE_MIN_BYTES + IN_MEMORY * CELL_BYTES
        stores.append(store)

    monkeypatch.setattr(RocksDbKeyedStore, "__init__", tight)
    ran = run(_job(tmp_path, lambda row: _function("value", row[0], row[2], {})))
    assert ran.code == 0, ran
    at = str(checkpoint_at(tmp_path, KEYS))
    evicted = [store.evictions for store in stores]
    before = {place: files(tmp_path / f"out{place}") for place in range(len(ROWS))}
    edited = _job(tmp_path, lambda row: _function("value", row[1], row[3], row[5]))
    ran = run(edited, from_checkpoint=at, allow_dropped_state=[f"p{list(ROWS).index('gone')}.held.w"])
    assert ran.code == 0, ran
    for place, (name, row) in enumerate(ROWS.items()):
        found = dict(lines(tmp_path / f"out{place}", but=before[place]))
        assert found == {n: [row[4](n - KEYS)] for n in range(KEYS, 2 * KEYS)}, name
    assert all(evicted) and len(evicted) >= 1, "all of it was in memory"
