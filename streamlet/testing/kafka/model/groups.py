"""Consumer groups of the classic protocol.

```text
EMPTY --join--> PREPARING --everyone has joined--> COMPLETING --the leader has assigned--> STABLE
                    ^                                                                        |
                    +------------ a member joins, leaves, or is not heard of ----------------+
```
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamlet.testing.kafka.model import codes
from streamlet.testing.kafka.model.offsets import GroupOffset, GroupOffsets
from streamlet.testing.kafka.model.transactions import Place


class GroupState(enum.Enum):
    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


class Joined(NamedTuple):
    """The answer to JoinGroup; only the leader sees the members."""

    error: int
    member: str = ""
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()


class Synced(NamedTuple):
    error: int
    assignment: bytes = b""


@dataclass(slots=True)
class Member:
    """A member; it is forgotten when nothing was heard of it for its session time-out."""

    id: str
    instance: str | None
    client_id: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: dict[str, bytes]
    heard_ms: int
    is_joining: bool = True
    is_syncing: bool = False
    assignment: bytes = b""


class Join(NamedTuple):
    """What a JoinGroup says."""

    member: str
    instance: str | None
    client_id: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: dict[str, bytes]
    needs_known_member: bool


class Group:
    """One group: members, who is given what, and offsets."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.state = GroupState.EMPTY
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol: str | None = None
        self.leader = ""
        self.members: dict[str, Member] = {}
        self.offsets = GroupOffsets()
        self._promised: set[str] = set()
        self._deadline_ms = 0

    # -- joining

    def join(self, asked: Join, now_ms: int, new_id: str) -> Joined | None:
        """Gives the answer, or None when it has to wait for others: then ask `joined`. `Joined.member` names it."""
        if self.members and asked.protocol_type != self.protocol_type:
            return Joined(codes.INCONSISTENT_GROUP_PROTOCOL)
        member = asked.member or self._same_instance(asked.instance)
        if not member:
            if asked.needs_known_member and asked.instance is None:
                self._promised.add(new_id)
                return Joined(codes.MEMBER_ID_REQUIRED, new_id)
            member = new_id
        elif member not in self.members and member not in self._promised:
            return Joined(codes.UNKNOWN_MEMBER_ID)
        self._promised.discard(member)
        known = self.members.get(member)
        if (
            known is not None
            and self.state is GroupState.STABLE
            and known.protocols == asked.protocols
            and member != self.leader
        ):
            known.heard_ms = now_ms
            return self._answer(known)
        self.protocol_type = asked.protocol_type
        self.members[member] = Member(
            member, asked.instance, asked.client_id, asked.session_timeout_ms, asked.rebalance_timeout_ms,
            asked.protocols, now_ms,
        )  # fmt: skip
        self._rebalance(now_ms)
        self.advance(now_ms)
        return self.joined(member)

    def _same_instance(self, instance: str | None) -> str:
        same = (member.id for member in self.members.values() if instance is not None and member.instance == instance)
        return next(same, "")

    def joined(self, member: str) -> Joined | None:
        """The answer to a join that had to wait, or None while it still has to."""
        known = self.members.get(member)
        if known is None:
            return Joined(codes.UNKNOWN_MEMBER_ID, member)
        return None if known.is_joining else self._answer(known)

    def _answer(self, member: Member) -> Joined:
        members: tuple[tuple[str, str | None, bytes], ...] = ()
        if member.id == self.leader:
            protocol = self.protocol or ""
            members = tuple((one.id, one.instance, one.protocols.get(protocol, b"")) for one in self.members.values())
        return Joined(
            codes.NONE, member.id, self.generation, self.protocol_type, self.protocol, self.leader, members
        )  # fmt: skip

    def _rebalance(self, now_ms: int) -> None:
        if self.state is not GroupState.PREPARING:
            self.state = GroupState.PREPARING
            longest = max((member.rebalance_timeout_ms for member in self.members.values()), default=0)
            self._deadline_ms = now_ms + longest

    # -- time

    def advance(self, now_ms: int) -> None:
        """Forgets silent members and ends a rebalance that has waited long enough."""
        silent = [
            member.id
            for member in self.members.values()
            if not member.is_joining and not member.is_syncing and member.heard_ms + member.session_timeout_ms < now_ms
        ]
        for member in silent:
            self._remove(member, now_ms)
        if self.state is GroupState.PREPARING:
            late = [member.id for member in self.members.values() if not member.is_joining]
            if not late or now_ms >= self._deadline_ms:
                for member in late:
                    del self.members[member]
                self._start_generation(now_ms)

    def next_event_ms(self) -> int | None:
        times = [one.heard_ms + one.session_timeout_ms + 1 for one in self.members.values() if not one.is_joining]
        if self.state is GroupState.PREPARING:
            times.append(self._deadline_ms)
        return min(times, default=None)

    def _start_generation(self, now_ms: int) -> None:
        self.generation += 1
        if not self.members:
            self.state, self.leader, self.protocol = GroupState.EMPTY, "", None
            return
        if self.leader not in self.members:
            self.leader = next(iter(self.members))
        everyone = [set(member.protocols) for member in self.members.values()]
        shared = set.intersection(*everyone)
        preferred = self.members[self.leader].protocols
        self.protocol = next((name for name in preferred if name in shared), None)
        self.state = GroupState.COMPLETING
        for member in self.members.values():
            member.is_joining, member.heard_ms, member.assignment = False, now_ms, b""

    def _remove(self, member: str, now_ms: int) -> None:
        del self.members[member]
        self._rebalance(now_ms)

    # -- members

    def sync(self, member: str, generation: int, assignments: Mapping[str, bytes], now_ms: int) -> Synced | None:
        """Gives the member's share, or None while the leader has not said it: then ask again without assignments."""
        if error := self._not_current(member, generation):
            return Synced(error)
        known = self.members[member]
        known.heard_ms = now_ms
        if self.state is GroupState.PREPARING:
            return Synced(codes.REBALANCE_IN_PROGRESS)
        if self.state is GroupState.COMPLETING and member == self.leader:
            for one in self.members.values():
                one.assignment = assignments.get(one.id, b"")
                one.is_syncing = False
                one.heard_ms = now_ms
            self.state = GroupState.STABLE
        known.is_syncing = self.state is GroupState.COMPLETING
        return None if known.is_syncing else Synced(codes.NONE, known.assignment)

    def heartbeat(self, member: str, generation: int, now_ms: int) -> int:
        if error := self._not_current(member, generation):
            return error
        self.members[member].heard_ms = now_ms
        return codes.REBALANCE_IN_PROGRESS if self.state is GroupState.PREPARING else codes.NONE

    def leave(self, member: str, instance: str | None, now_ms: int) -> int:
        member = member or self._same_instance(instance)
        if member in self._promised:
            self._promised.discard(member)
            return codes.NONE
        if member not in self.members:
            return codes.UNKNOWN_MEMBER_ID
        self._remove(member, now_ms)
        self.advance(now_ms)
        return codes.NONE

    def _not_current(self, member: str, generation: int) -> int:
        if member not in self.members:
            return codes.UNKNOWN_MEMBER_ID
        return codes.NONE if generation == self.generation else codes.ILLEGAL_GENERATION

    def may_commit(self, member: str, generation: int, now_ms: int) -> int:
        """An error code unless offsets may be stored by this member, or by anyone while the group is empty."""
        if generation < 0 and not member:
            return codes.UNKNOWN_MEMBER_ID if self.members else codes.NONE
        if error := self._not_current(member, generation):
            return error if self.members else codes.ILLEGAL_GENERATION
        self.members[member].heard_ms = now_ms
        return codes.REBALANCE_IN_PROGRESS if self.state is GroupState.COMPLETING else codes.NONE


class Groups:
    """All groups by name."""

    def __init__(self, randomness: random.Random) -> None:
        self._randomness = randomness
        self._groups: dict[str, Group] = {}

    def get(self, id: str) -> Group | None:
        return self._groups.get(id)

    def need(self, id: str) -> Group:
        """The group, which is made when it is not there."""
        return self._groups.setdefault(id, Group(id))

    def all(self) -> Sequence[Group]:
        return list(self._groups.values())

    def new_member_id(self, client_id: str) -> str:
        return f"{client_id or 'consumer'}-{self._randomness.getrandbits(128):032x}"

    def delete(self, id: str) -> int:
        group = self._groups.get(id)
        if group is None:
            return codes.GROUP_ID_NOT_FOUND
        if group.members:
            return codes.NON_EMPTY_GROUP
        del self._groups[id]
        return codes.NONE

    def end_transaction(self, groups: Iterable[str], producer_id: int, *, commit: bool) -> None:
        for id in groups:
            self.need(id).offsets.end_transaction(producer_id, commit=commit)

    def forget_topic(self, name: str) -> None:
        for group in self._groups.values():
            group.offsets.forget_topic(name)

    def store_in_transaction(self, id: str, producer_id: int, offsets: Mapping[Place, GroupOffset]) -> None:
        self.need(id).offsets.store_in_transaction(producer_id, offsets)

    def advance(self, now_ms: int) -> None:
        for group in self._groups.values():
            group.advance(now_ms)

    def next_event_ms(self) -> int | None:
        times = [at for group in self._groups.values() if (at := group.next_event_ms()) is not None]
        return min(times, default=None)
