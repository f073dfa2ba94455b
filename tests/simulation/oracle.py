"""What the output of a job must be, found by plain Python from its input alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.simulation.functions import BATCH, LASTS_MS, PLAIN, REPLAY, Output, Record, marks, mix
from tests.simulation.scenario import Scenario


class WrongOutput(AssertionError):
    """The committed output is not that of any run without failures."""


class JobFailed(AssertionError):
    """The job gave up, with nothing going wrong around it."""


def inputs_of(one: Scenario, pinned: Mapping[str, int]) -> dict[str, list[Record]]:
    """What reaches the keyed function, per split and in order, from where reading began (see `SimulatedReader`)."""
    found = {}
    for source in one.sources:
        for split, records in source.splits.items():
            now = records[(pinned.get(split, 0) + 1) // 2 :]
            for kind in one.before:
                now = [output for record in now for output in PLAIN[kind](record)]
            found[split] = now
    return found


def check_output(one: Scenario, visible: Mapping[str, list[Any]], pinned: Mapping[str, int]) -> None:
    """Raises `WrongOutput` unless what was committed is what some run without failures commits."""
    inputs = inputs_of(one, pinned)
    for sink in one.sinks:
        values = visible.get(sink.uid, [])
        if sink.at == "before" or one.keyed is None:
            _check_records(sink.uid, values, inputs, one.keeps_order)
        elif sink.at != "end":
            _check_beside(sink.uid, one.beside[int(sink.at.removeprefix("beside"))], values, inputs, one)
        elif one.regroups:
            _check_regrouped(sink.uid, values, inputs, one)
        else:
            _check_keyed(sink.uid, one.keyed, values, inputs, one)


def check_nothing_doubled(one: Scenario, visible: Mapping[str, list[Any]], pinned: Mapping[str, int]) -> None:
    """After output was given up as asked: what is there came once, and from the input."""
    expected = Counter(record for records in inputs_of(one, pinned).values() for record in records)
    for sink in one.sinks:
        is_second = one.regroups and sink.at == "end"
        found = Counter((value[4] if is_second else value[0], value[1]) for value in visible.get(sink.uid, []))
        if more := found - expected:
            raise WrongOutput(f"{sink.uid}: too many {sorted(more.elements())[:8]}, though output was only given up")


def _check_records(uid: str, values: list[Any], inputs: dict[str, list[Record]], is_ordered: bool) -> None:
    expected = Counter(record for records in inputs.values() for record in records)
    _require_same(uid, Counter(map(tuple, values)), expected)
    if is_ordered:
        for split, records in inputs.items():
            mine = set(records)
            if [value for value in values if value in mine] != records:
                raise WrongOutput(f"{uid}: the records of {split} are out of order")


def _check_beside(uid: str, kind: str, values: list[Any], inputs: dict[str, list[Record]], one: Scenario) -> None:
    if kind == "batched":
        if wrong := [batch for batch in values if not 0 < len(batch) <= BATCH or len({key for key, _ in batch}) > 1]:
            raise WrongOutput(f"{uid}: batches {wrong[:4]}")
        _check_records(uid, [record for batch in values for record in batch], inputs, is_ordered=False)
    elif kind == "lasting":
        _check_lasting(uid, values, inputs)
    else:
        _check_keyed(uid, kind, values, inputs, one)


def _check_lasting(uid: str, values: list[Any], inputs: dict[str, list[Record]]) -> None:
    """A mark is seen until it is over, and never after; and time never goes back for a key."""
    expected = Counter(record for records in inputs.values() for record in records)
    _require_same(uid, Counter((value[0], value[1]) for value in values), expected)
    marked: dict[int, tuple[int, int]] = {}
    latest: dict[int, int] = {}
    for key, id, seen, now in values:
        if now < latest.get(key, 0):
            raise WrongOutput(f"{uid}: the clock of key {key} went back from {latest[key]} to {now}")
        latest[key] = now
        mark, at = marked.get(key, (0, 0))
        mark = 0 if now >= at + LASTS_MS else mark
        if seen != mark:
            raise WrongOutput(f"{uid}: {id} of key {key} saw the mark {seen} and not {mark}, {now - at} ms after it")
        marked[key] = (id, now) if not mark and marks(id) else (mark, at)


def _check_keyed(uid: str, kind: str, values: list[Any], inputs: dict[str, list[Record]], one: Scenario) -> None:
    expected = Counter(record for records in inputs.values() for record in records)
    if kind == "pair":
        values = _with_ids(values)
    _require_same(uid, Counter((value[0], value[1]) for value in values), expected)
    by_key: dict[int, list[Output]] = {}
    for value in values:
        by_key.setdefault(value[0], []).append(value)
    for key, mine in by_key.items():
        ids = [value[1] for value in mine]
        if [(value[2], value[3]) for value in mine] != REPLAY[kind](ids):
            raise WrongOutput(f"{uid}: key {key} came as {mine}, which no order of its input gives")
        if one.keeps_order:
            _require_order(uid, key, ids, inputs)


def _with_ids(values: list[Any]) -> list[Output]:
    """Outputs of `functions.paired` with the id of the input: what the total of its key has grown by."""
    totals: dict[int, int] = {}
    found: list[Output] = []
    for key, _, count, total in values:
        found.append((key, total - totals.get(key, 0), count, total))
        totals[key] = total
    return found


def _check_regrouped(uid: str, values: list[Any], inputs: dict[str, list[Record]], one: Scenario) -> None:
    assert one.keyed is not None
    expected = Counter(record for records in inputs.values() for record in records)
    _require_same(uid, Counter((value[4], value[1]) for value in values), expected)
    groups: dict[int, tuple[int, int]] = {}
    by_key: dict[int, list[Output]] = {}
    for group, id, count, checksum, key, first_count, first_checksum in values:
        before = groups.get(group, (0, 0))
        now = groups[group] = before[0] + 1, mix(before[1], id + first_checksum)
        if (count, checksum) != now:
            raise WrongOutput(f"{uid}: group {group} says {(count, checksum)} where it should say {now}")
        by_key.setdefault(key, []).append((key, id, first_count, first_checksum))
    for key, mine in by_key.items():
        mine.sort(key=lambda output: output[2])
        if [(value[2], value[3]) for value in mine] != REPLAY[one.keyed]([value[1] for value in mine]):
            raise WrongOutput(f"{uid}: key {key} came to the second stage as {mine}")


def _require_order(uid: str, key: int, ids: list[int], inputs: dict[str, list[Record]]) -> None:
    for split, records in inputs.items():
        wanted = [id for one, id in records if one == key]
        mine = set(wanted)
        if [id for id in ids if id in mine] != wanted:
            raise WrongOutput(f"{uid}: key {key} has the records of {split} out of order")


def _require_same(uid: str, found: Counter[Any], expected: Counter[Any]) -> None:
    if found != expected:
        lost, more = expected - found, found - expected
        raise WrongOutput(f"{uid}: lost {sorted(lost.elements())[:8]}, too many {sorted(more.elements())[:8]}")
