"""The table of slots against a dict, through all its forms: one dict, while keys move over, and many dicts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from streamlet.state.memory import slot_table
from streamlet.state.memory.cells import Slot
from streamlet.state.memory.slot_table import PARTS, SlotTable


def make(key: Any) -> Slot:
    return Slot(0, None, None, 0, key, b"", 0)


@pytest.mark.parametrize("kind", ["text", "numbers", "multiples", "tuples"])
@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_a_dict_finds(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_table, "LARGE", 40)
    monkeypatch.setattr(slot_table, "MOVED", 7)
    rng = random.Random(seed)
    kinds: dict[str, Callable[[int], Any]] = {
        "text": lambda number: f"key-{number}",
        "numbers": lambda number: number - 100,
        "multiples": lambda number: number * PARTS,
        "tuples": lambda number: (number, str(number)),
    }
    key_of = kinds[kind]
    table, model = SlotTable(), dict[Any, Slot]()
    with pytest.raises(KeyError):
        del table["not there"]
    for _ in range(60):
        keys = [key_of(rng.randrange(200)) for _ in range(rng.randrange(12))]
        found = table.look_up(keys, make)
        for key, slot in zip(keys, found, strict=True):
            assert slot.key == key
            assert model.setdefault(key, slot) is slot
        for key in rng.sample(sorted(model), min(len(model), rng.randrange(4))):
            assert table[key] is model[key]
            del table[key], model[key]
            assert table.get(key) is None
        assert len(table) == len(model)
        assert all(table.get(key) is slot for key, slot in model.items())
    with pytest.raises(KeyError):
        table["not there"]
    with pytest.raises(KeyError):
        del table["not there"]
    while table.let_go():
        pass
    assert len(table) == 0


def test_no_dict_is_ever_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_table, "LARGE", 1_000)
    monkeypatch.setattr(slot_table, "MOVED", 200)
    table = SlotTable()
    for start in range(0, 20_000, 100):
        table.look_up([f"key-{number}" for number in range(start, start + 100)], make)
    sizes = [len(part) for part in (table._first, *table._parts)]
    assert sizes[0] == 0
    assert max(sizes) < 1_000
    assert sum(sizes) == len(table) == 20_000
