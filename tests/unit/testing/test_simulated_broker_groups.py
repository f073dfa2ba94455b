"""Consumer groups of the simulated broker: who waits for whom."""

from __future__ import annotations

from streamlet.testing.kafka.model.groups import Group, GroupState, Join, Joined

START = 1_000_000


def joining(member: str = "", *protocols: str, session_ms: int = 6_000, instance: str | None = None) -> Join:
    named = {name: name.encode() for name in protocols or ("range",)}
    return Join(member, instance, "client", session_ms, 30_000, "consumer", named, needs_known_member=False)


def joined(answer: Joined | None) -> Joined:
    assert answer is not None
    assert answer.error == 0
    return answer


def a_stable_group(*members: str) -> Group:
    """A group in which the first member leads and everyone has synced."""
    group = Group("g")
    group.join(joining(), START, members[0])
    for member in members[1:]:
        assert group.join(joining(), START, member) is None
    if len(members) > 1:
        group.join(joining(members[0]), START, "unused")
    shares = {member: member.encode() for member in members}
    for member in members:
        answer = group.sync(member, group.generation, shares if member == group.leader else {}, START)
        assert answer is not None
        assert answer == (0, member.encode())
    return group


def test_one_member_is_its_own_leader() -> None:
    group = a_stable_group("a")
    assert (group.state, group.leader, group.generation) == (GroupState.STABLE, "a", 1)
    assert group.heartbeat("a", 1, START) == 0
    assert group.heartbeat("a", 0, START) == 22
    assert group.heartbeat("b", 1, START) == 25


def test_a_new_client_is_given_its_name_first() -> None:
    group = Group("g")
    asked = joining()._replace(needs_known_member=True)
    assert group.join(asked, START, "c-1") == (79, "c-1", -1, None, None, "", ())
    assert joined(group.join(asked._replace(member="c-1"), START, "unused")).member == "c-1"
    assert group.join(asked._replace(member="c-2"), START, "unused") == Joined(25)


def test_a_second_member_waits_until_the_first_has_joined_again() -> None:
    group = a_stable_group("a")
    assert group.join(joining(), START, "b") is None
    assert group.joined("b") is None
    assert group.heartbeat("a", 1, START) == 27
    leader = joined(group.join(joining("a"), START, "unused"))
    assert [member for member, _, _ in leader.members] == ["a", "b"]
    follower = joined(group.joined("b"))
    assert (follower.generation, follower.leader, follower.members) == (2, "a", ())


def test_a_follower_waits_for_what_the_leader_assigns() -> None:
    group = a_stable_group("a")
    group.join(joining(), START, "b")
    group.join(joining("a"), START, "unused")
    assert group.sync("b", 2, {}, START) is None
    assert group.sync("a", 2, {"a": b"1", "b": b"2"}, START) == (0, b"1")
    assert group.sync("b", 2, {}, START) == (0, b"2")


def test_a_member_that_does_not_join_again_is_left_behind_after_the_rebalance_time_out() -> None:
    group = a_stable_group("a")
    group.members["a"].session_timeout_ms = 60_000
    assert group.join(joining(), START, "b") is None
    group.advance(START + 29_999)
    assert group.joined("b") is None
    assert group.next_event_ms() == START + 30_000
    group.advance(START + 30_000)
    assert joined(group.joined("b")).leader == "b"
    assert group.heartbeat("a", 1, START) == 25


def test_a_silent_member_is_forgotten_and_the_others_share_again() -> None:
    group = a_stable_group("a", "b")
    group.heartbeat("b", 2, START + 5_000)
    group.advance(START + 6_001)
    assert list(group.members) == ["b"]
    assert group.heartbeat("b", 2, START + 6_001) == 27
    assert joined(group.join(joining("b"), START + 6_001, "unused")).leader == "b"


def test_the_group_is_empty_when_the_last_member_leaves() -> None:
    group = a_stable_group("a")
    assert group.leave("a", None, START) == 0
    assert group.state is GroupState.EMPTY
    assert group.leave("a", None, START) == 25


def test_a_protocol_that_everyone_knows_is_chosen() -> None:
    group = Group("g")
    group.join(joining("", "sticky", "range"), START, "a")
    assert group.protocol == "sticky"
    group.join(joining("", "range"), START, "b")
    group.join(joining("a", "sticky", "range"), START, "unused")
    assert group.protocol == "range"


def test_a_static_member_keeps_its_name_when_it_comes_back() -> None:
    group = Group("g")
    first = joined(group.join(joining(instance="i"), START, "a"))
    again = joined(group.join(joining(instance="i"), START, "b"))
    assert first.member == again.member == "a"


def test_offsets_are_taken_from_members_of_this_generation_and_from_anyone_when_there_are_none() -> None:
    assert Group("g").may_commit("", -1, START) == 0
    assert Group("g").may_commit("a", 1, START) == 22
    group = a_stable_group("a")
    assert group.may_commit("a", 1, START) == 0
    assert group.may_commit("a", 0, START) == 22
    assert group.may_commit("b", 1, START) == 25
    assert group.may_commit("", -1, START) == 25
