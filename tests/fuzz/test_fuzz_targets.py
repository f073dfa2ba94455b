"""Bytes from outside that are broken in any way give declared errors: no other exception, no endless loop."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_a_target_are_taken(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_are_nearly_right_give_only_declared_errors(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def check(random: object) -> None:
        target.check(mutated(random, target.seeds))  # type: ignore[arg-type]

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_give_only_declared_errors(name: str) -> None:
    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=300))
    def check(data: bytes) -> None:
        TARGETS[name].check(data)

    check()
