"""What may change in the type of a state: it goes on as if every value had been upgraded, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, make_dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pytest

from streamlet import Job, KeyedProcessFunction, ListState, MapState, ProcessContext, ValueState
from streamlet_connectors.files import FileSink
from tests.unit.job_kit import BACKENDS, Waiting, checkpoint_at, files, lines, make_job, run


def _class(*fields: Any, name: str = "S", frozen: bool = False) -> Any:
    return make_dataclass(name, fields, frozen=frozen)


def _new(name: str, kind: Any, default: Any) -> Any:
    return (name, kind, field(default=default))


KINDS = ("value", "list", "map", "ttl")


def _function(kind: str, type: Any, make: Callable[[Any, int], Any], options: dict[str, Any]) -> Any:
    """Shows what a key has, and keeps a value."""

    class Keeps(KeyedProcessFunction[int, int, list[Any]]):
        if kind == "list":
            held: Any = ListState(type, **options)
        elif kind == "map":
            held = MapState(str, type, **options)
        elif kind == "ttl":
            held = ValueState(type, ttl=timedelta(days=36500), **options)
        else:
            held = ValueState(type, **options)

        def process_element(self, value: int, ctx: ProcessContext[int]) -> Any:
            made = make(type, value)
            if kind == "list":
                yield [value, list(map(repr, self.held.get()))[-1:]]
                self.held.add(made)
            elif kind == "map":
                yield [value, [repr(one) for _, one in self.held.items()]]
                self.held.put("one", made)
            else:
                held = self.held.value()
                yield [value, [] if held is None else [repr(held)]]
                self.held.update(made)

    return Keeps()


def _job(folder: Path, function: Any, backend: str, **settings: Any) -> Job:
    job = make_job(folder, state_backend=backend, **settings)
    keyed = job.source(Waiting(30, 10, 20), uid="numbers").key_by(lambda n: n % 5, uid="by")
    keyed.process(function, uid="p").sink(FileSink(str(folder / "out")), uid="out")
    return job


class Evolving:
    """A job with one state, which is edited."""

    def __init__(self, folder: Path, kind: str = "value", backend: str = "memory") -> None:
        self.folder, self.kind, self.backend = folder, kind, backend

    def start(self, type: Any, make: Callable[[Any, int], Any]) -> None:
        assert run(_job(self.folder, _function(self.kind, type, make, {}), self.backend)).code == 0

    def edit(
        self, type: Any, make: Callable[[Any, int], Any], at: int = 10, allow: Sequence[str] = (), **options: Any
    ) -> list[str]:
        """What the edited job finds of the last five values."""
        before = files(self.folder / "out")
        job = _job(self.folder, _function(self.kind, type, make, options), self.backend)
        ran = run(job, from_checkpoint=str(checkpoint_at(self.folder, at)), allow_dropped_state=allow)
        assert ran.code == 0, ran
        return [seen for _, (seen,) in lines(self.folder / "out", but=before)[:5]]

    def refused(self, type: Any, make: Callable[[Any, int], Any], **options: Any) -> str:
        before = files(self.folder / "out")
        job = _job(self.folder, _function(self.kind, type, make, options), self.backend)
        ran = run(job, from_checkpoint=str(checkpoint_at(self.folder, 10)))
        assert ran.code == 2 and files(self.folder / "out") == before, ran
        assert len(ran.said.splitlines()) <= 12
        return ran.said


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=KINDS)
def evolving(request: pytest.FixtureRequest, backend: str, tmp_path: Path) -> Evolving:
    return Evolving(tmp_path, request.param, backend)


def _of(type: Any, value: int) -> Any:
    return type(value)


OLD = [5, 6, 7, 8, 9]
"""What the keys of the first five numbers behind the first checkpoint have."""


def test_a_field_that_is_added_begins_as_its_default(evolving: Evolving) -> None:
    evolving.start(_class(("v", int)), _of)
    wider = _class(_new("w", str, "new"), _new("v", int, 0))
    assert evolving.edit(wider, lambda S, n: S(v=n)) == [f"S(w='new', v={n})" for n in OLD]


def test_a_field_that_is_gone_is_refused_until_it_is_named(evolving: Evolving) -> None:
    evolving.start(_class(("v", int), ("w", str)), lambda S, n: S(n, "x"))
    said = evolving.refused(_class(("v", int)), _of)
    assert "state p.held.w: field w is gone" in said and "--allow-dropped-state p.held.w" in said
    assert evolving.edit(_class(("v", int)), _of, allow=["p.held.w"]) == [f"S(v={n})" for n in OLD]


def test_a_field_that_comes_back_begins_as_its_default_and_never_from_a_stale_byte(evolving: Evolving) -> None:
    evolving.start(_class(("v", int), ("w", str)), lambda S, n: S(n, "stale"))
    evolving.edit(_class(("v", int)), _of, allow=["p.held.w"])
    # Those of the last ten numbers were written without it, and 15 to 19 are what is found: at 20 all were.
    again = _class(("v", int), _new("w", str, "fresh"))
    assert evolving.edit(again, _of, at=20) == [f"S(v={n}, w='fresh')" for n in range(15, 20)]


def _struct(default: Any) -> Any:
    return msgspec.defstruct("S", [("v", int), ("w", str, default)])


def _dataclass(default: Any) -> Any:
    return _class(("v", int), _new("w", str, default))


def _made(default: Any) -> Any:
    return _class(("v", int), ("w", str, field(default_factory=lambda: default)))


@pytest.mark.parametrize("widened", [_struct, _dataclass, _made])
def test_a_default_that_changes_later_does_not_reach_values_that_had_the_former(
    widened: Any, tmp_path: Path, backend: str
) -> None:
    evolving = Evolving(tmp_path, "value", backend)
    evolving.start(_class(("v", int)), _of)
    function = _function("value", widened("former"), lambda S, n: None, {})
    # It reads and writes nothing: what was upgraded at the restore is what the checkpoint has.
    type(function).process_element = lambda self, value, ctx: None
    ran = run(_job(tmp_path, function, backend), from_checkpoint=str(checkpoint_at(tmp_path, 10)))
    assert ran.code == 0, ran
    assert evolving.edit(widened("later"), _of, at=20) == [f"S(v={n}, w='former')" for n in OLD]


def test_a_field_that_is_renamed_goes_on_under_its_new_name(evolving: Evolving) -> None:
    evolving.start(_class(("v", int), ("w", int)), lambda S, n: S(n, -n))
    renamed = _class(("w", int), ("x", int))
    assert "field x is new and has no default" in evolving.refused(renamed, lambda S, n: S(0, n))
    found = evolving.edit(renamed, lambda S, n: S(0, n), renamed={"v": "x"})
    assert found == [f"S(w={-n}, x={n})" for n in OLD]


class Colour(Enum):
    RED = "red"


class Shade(Enum):
    RED = "red"
    BLUE = "blue"


GOES_ON: dict[str, tuple[Any, Any, Callable[[Any, int], Any], Callable[[int], str]]] = {
    "order": (
        _class(("v", int), ("w", int)),
        _class(("w", int), ("v", int)),
        lambda S, n: S(v=n, w=-n),
        lambda n: f"S(w={-n}, v={n})",
    ),
    "name of the class": (_class(("v", int)), _class(("v", int), name="T"), _of, lambda n: f"T(v={n})"),
    "frozen": (_class(("v", int)), _class(("v", int), frozen=True), _of, lambda n: f"S(v={n})"),
    "a struct": (
        _class(("v", int)),
        msgspec.defstruct("S", [("v", int), ("w", int, 3)]),
        _of,
        lambda n: f"S(v={n}, w=3)",
    ),
    "optional": (_class(("v", int)), _class(("v", int | None)), _of, lambda n: f"S(v={n})"),
    "float": (_class(("v", int)), _class(("v", float)), _of, lambda n: f"S(v={float(n)})"),
    "float of a choice": (int | None, float | None, lambda S, n: n, lambda n: repr(float(n))),
    "float in a list": (list[int], list[float], lambda S, n: [n], lambda n: f"[{float(n)}]"),
    "members": (Colour, Shade, lambda S, n: S.RED, lambda n: repr(Shade.RED)),
    "literals": (Literal["a"], Literal["a", "b"], lambda S, n: "a", lambda n: "'a'"),
    "places of a named tuple": (
        NamedTuple("S", [("v", int), ("w", str)]),
        NamedTuple("S", [("w", str), ("v", int)]),
        lambda S, n: S(v=n, w="x"),
        lambda n: f"S(w='x', v={n})",
    ),
    "an array": (
        msgspec.defstruct("S", [("v", int), ("w", int, 7)], array_like=True),
        msgspec.defstruct("S", [("u", int, 1), ("w", int, 2), ("v", int, 3)], array_like=True, kw_only=True),
        lambda S, n: S(v=n),
        lambda n: f"S(u=1, w=7, v={n})",
    ),
    "a tag": (
        msgspec.defstruct("S", [("v", int)]),
        msgspec.defstruct("S", [("v", int)], tag="s") | msgspec.defstruct("T", [("v", int)], tag="t"),
        lambda S, n: (S if isinstance(S, type) else S.__args__[0])(n),
        lambda n: f"S(v={n})",
    ),
    "a default that is not written": (
        msgspec.defstruct("S", [("v", int), ("w", int, 1)], omit_defaults=True),
        msgspec.defstruct("S", [("v", int), ("w", int, 2)], omit_defaults=True),
        lambda S, n: S(n),
        lambda n: f"S(v={n}, w=1)",
    ),
    "a class in a dict in a tuple": (
        tuple[dict[str, _class(("v", int))], int],  # type: ignore[misc]
        tuple[dict[str, _class(("v", int), _new("w", int, 4))], int],  # type: ignore[misc]
        lambda S, n: ({"a": S.__args__[0].__args__[1](n)}, n),
        lambda n: f"({{'a': S(v={n}, w=4)}}, {n})",
    ),
}


@pytest.mark.parametrize("change", GOES_ON)
@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_by_itself(change: str, kind: str, tmp_path: Path) -> None:
    old, new, make, shown = GOES_ON[change]
    evolving = Evolving(tmp_path, kind)
    evolving.start(old, make)
    assert evolving.edit(new, make) == [shown(n) for n in OLD]


def test_anything_else_is_refused_naming_both_types_and_each_field(evolving: Evolving) -> None:
    evolving.start(_class(("v", int), ("w", int)), lambda S, n: S(n, n))
    said = evolving.refused(_class(("v", str), ("w", list[int])), lambda S, n: S("", []))
    assert "state p.held.v: was int and is str" in said and "state p.held.w: was int and is list[int]" in said
    assert "upgrade=function, which gets S{v: int, w: int}" in said and "--allow-dropped-state p.held" in said
    text = _class(("v", str))
    made = evolving.edit(text, lambda S, n: S(str(n)), upgrade=lambda old: text(f"{old['v']}+{old['w']}"))
    assert made == [f"S(v='{n}+{n}')" for n in OLD]


def test_an_upgrade_gets_the_class_of_its_annotation_where_the_checkpoint_holds_that(evolving: Evolving) -> None:
    evolving.start(_class(("v", int)), _of)
    former, text = _class(("v", int), name="Former"), _class(("v", str))

    def upgrade(old: Any) -> Any:
        assert isinstance(old, former)
        return text(str(old.v))

    upgrade.__annotations__["old"] = former
    assert evolving.edit(text, lambda S, n: S(str(n)), upgrade=upgrade) == [f"S(v='{n}')" for n in OLD]


def test_an_upgrade_that_is_left_in_the_file_is_not_called_for_what_it_is_not_for(tmp_path: Path) -> None:
    evolving = Evolving(tmp_path)
    evolving.start(_class(("v", int)), _of)
    text = _class(("v", str))
    evolving.edit(text, lambda S, n: S(str(n)), upgrade=lambda old: text(str(old["v"])))

    def never(old: Any) -> Any:
        raise AssertionError("called")

    wider = _class(("v", str), _new("w", int, 0))
    found = evolving.edit(wider, lambda S, n: S(str(n)), at=20, upgrade=never)
    assert found == [f"S(v='{n}', w=0)" for n in range(15, 20)]


def test_an_upgrade_that_fails_names_its_line_and_changes_nothing(tmp_path: Path, backend: str) -> None:
    evolving = Evolving(tmp_path, "value", backend)
    evolving.start(_class(("v", int)), _of)
    text = _class(("v", str))
    said = evolving.refused(text, lambda S, n: S(""), upgrade=lambda old: text(old["nothing"]))
    assert "test_evolution.py" in said and "cannot be upgraded" in said and "KeyError: 'nothing'" in said
    assert evolving.edit(_class(("v", int)), _of) == [f"S(v={n})" for n in OLD]


def test_a_state_that_is_named_begins_empty(evolving: Evolving) -> None:
    evolving.start(_class(("v", int)), _of)
    before = files(evolving.folder / "out")
    job = _job(evolving.folder, _function(evolving.kind, str, lambda S, n: "new", {}), evolving.backend)
    at = str(checkpoint_at(evolving.folder, 10))
    assert run(job, from_checkpoint=at, allow_dropped_state=["p.held"]).code == 0
    assert [seen for _, seen in lines(evolving.folder / "out", but=before)[:5]] == [[]] * 5


def test_a_crash_before_the_first_checkpoint_upgrades_again(tmp_path: Path, backend: str) -> None:
    evolving = Evolving(tmp_path, "value", backend)
    evolving.start(_class(("v", int)), _of)
    wider = _class(("v", int), _new("w", int, 1))
    before = files(tmp_path / "out")

    def fails(S: Any, n: int) -> Any:
        raise RuntimeError("before any checkpoint")

    ran = run(
        _job(tmp_path, _function("value", wider, fails, {}), backend), from_checkpoint=str(checkpoint_at(tmp_path, 10))
    )
    assert ran.code == 1, ran
    assert run(_job(tmp_path, _function("value", wider, _of, {}), backend)).code == 0
    assert [seen for _, (seen,) in lines(tmp_path / "out", but=before)[:5]] == [f"S(v={n}, w=1)" for n in OLD]
