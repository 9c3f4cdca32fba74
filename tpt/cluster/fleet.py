"""Actors of a Ray cluster that serve one stage: started, called, watched, given up when they are gone, killed at the end.

Which there are to be, and where, is for those to say who have them.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from tpt.cluster.nodes import Node, alive_nodes, gist, pinned_to

_LOOK_S = 1.0
_PAUSE_S = 0.1
_LONGEST_BREAK_S = 60.0
_DOUBT_S = 30.0
"""An actor out of reach is given up after so long; by then Ray mostly knows whether its machine is gone."""


@dataclass(slots=True, eq=False)
class Member:
    """One actor, seen from here."""

    number: int
    actor: Any
    called: float
    """When it was last asked or heard, on the monotonic clock."""
    node: Node | None
    home: str
    """The id of the node that it must be on; "": any."""
    calls: deque[tuple[str, Any]] = field(default_factory=deque)
    """Under way, the oldest first: what was called, and Ray's reference to the answer."""
    opened: Any = None
    """What it answered to ``open``; None before."""
    doubted: float = 0.0
    """Since when it is out of reach; such a one never serves again."""
    refused: str = ""
    """Why it does not serve; it goes on holding its room, so that no other is started there."""
    ended: str = ""

    @property
    def node_name(self) -> str:
        """What messages call its node."""
        return self.node.name if self.node else "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of a call."""

    member: Member
    call: str
    value: Any = None
    lost: bool = False
    """The actor is gone; it is out of the fleet already."""
    blame: bool = False
    """Its process died of itself, rather than with its machine."""


class Fleet:
    """The actors of one kind; their ``open`` returns a text when they cannot serve, and ``locate`` the id of their node."""

    def __init__(self, timeout_s: float | None = None) -> None:
        """Start nothing yet.

        ``timeout_s`` is the longest wait for an answer of an actor at work; None: as long as it lives.
        """
        self.members: dict[int, Member] = {}
        self.ended: list[Member] = []
        self.failed_starts: Counter[str] = Counter()
        """Home to how many in a row ended before they had opened."""
        self.failed_start = ""
        """Where and how the last of them ended."""
        self._timeout_s = timeout_s
        self._started = 0
        self._looked = -_LOOK_S
        self._start_after: dict[str, float] = {}

    def serving(self) -> list[Member]:
        """Return the actors that can be given work."""
        return [each for each in self.members.values() if each.opened is not None and not each.doubted]

    def look(self) -> list[Node] | None:
        """Return the nodes of the cluster; None when that was less than a second ago."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return None
        self._looked = now
        return alive_nodes()

    def may_start(self, home: str = "") -> bool:
        """Return whether one may be started; after those that ended at once, only after a while."""
        return time.monotonic() >= self._start_after.get(home, 0.0)

    def start(self, actor: type, *arguments: Any, cpus: float, gpus: float = 0, node: Node | None = None) -> Member:
        """Start an actor, on a certain node or where Ray finds room."""
        import ray

        options = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": pinned_to(node) if node else "SPREAD",
        }
        handle = ray.remote(actor).options(**options).remote(*arguments)
        member = Member(self._started, handle, time.monotonic(), node, node.id if node else "")
        self._started += 1
        self.members[member.number] = member
        return member

    def call(self, member: Member, call: str, *arguments: Any) -> None:
        """Call an actor; the answer comes by ``answers``."""
        if not member.calls:
            member.called = time.monotonic()
        member.calls.append((call, getattr(member.actor, call).remote(*arguments)))

    def answers(self, timeout_s: float) -> list[Answer]:
        """Wait until an actor has answered, but not for long, and return all answers that are there."""
        import ray

        oldest = {member.calls[0][1]: member for member in self.members.values() if member.calls}
        if not oldest:
            time.sleep(timeout_s)
            return []
        ready, _ = ray.wait(list(oldest), num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(list(oldest), num_returns=len(oldest), timeout=0)
        answers = [answer for reference in ready if (answer := self._answer(oldest[reference])) is not None]
        return [*answers, *self._give_up_the_silent()]

    def end(self, member: Member, why: str) -> None:
        """Kill an actor."""
        import ray

        del self.members[member.number]
        member.ended = why
        member.calls.clear()
        if member.node is not None:
            self.ended.append(member)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(member.actor, no_restart=True)

    def close(self) -> None:
        """Kill every actor."""
        for member in list(self.members.values()):
            self.end(member, "done")

    def _answer(self, member: Member) -> Answer | None:
        """Return the answer to a member's oldest call; None while it is not clear what has become of the member."""
        import ray

        call, reference = member.calls.popleft()
        member.called = time.monotonic()
        try:
            value = ray.get(reference, timeout=self._timeout_s)
        except ray.exceptions.RayTaskError as error:
            member.node = member.node or next((node for node in alive_nodes() if node.address == error.ip), None)
            return self._failed(member, call, f"{type(error.cause).__name__}: {error.cause}")
        except ray.exceptions.ActorUnavailableError:
            self._doubt(member)
            return None
        except ray.exceptions.RayError as error:
            return self._lose(member, str(error), blame=True)
        if member.doubted:
            # Back again, but what it had finished meanwhile is lost.
            return self._lose(member, "out of reach for a while", blame=False)
        if call == "locate":
            member.node = next((node for node in alive_nodes() if node.id == value), None)
        if call == "open" and isinstance(value, str):
            member.refused = value
        elif call == "open":
            member.opened = value
            self.failed_starts.pop(member.home, None)
        return Answer(member, call, value)

    def _doubt(self, member: Member) -> None:
        """Ask an actor that is out of reach again: Ray learns later than we do that a process, or a machine, is gone."""
        member.doubted = member.doubted or time.monotonic()
        time.sleep(_PAUSE_S)
        member.calls.clear()
        self.call(member, "__ray_ready__")

    def _failed(self, member: Member, call: str, said: str) -> Answer:
        """Take in an error that the actor's code did not expect; one at work is no longer to be trusted."""
        if call in ("locate", "open"):
            member.refused = member.refused or gist(said)
            return Answer(member, call, member.refused)
        return self._lose(member, said, blame=True)

    def _lose(self, member: Member, said: str, *, blame: bool) -> Answer:
        self.end(member, gist(said))
        self._looked = -_LOOK_S
        alive = member.node is None or any(each.id == member.node.id for each in alive_nodes())
        if member.opened is None and alive:
            self.failed_starts[member.home] += 1
            self.failed_start = f"on node {member.node_name}: {member.ended}"
            pause_s = min(_LONGEST_BREAK_S, 2.0 ** self.failed_starts[member.home])
            self._start_after[member.home] = time.monotonic() + pause_s
        return Answer(member, "", lost=True, blame=blame and alive)

    def _give_up_the_silent(self) -> list[Answer]:
        """Lose the actors that have not answered for too long; opening may take its time."""
        now, longest = time.monotonic(), self._timeout_s
        gone = [each for each in self.members.values() if each.doubted and now - each.doubted > _DOUBT_S]
        lost = [self._lose(each, "out of reach", blame=False) for each in gone]
        if longest is not None:
            hung = [each for each in self.serving() if each.calls and now - each.called > longest]
            lost += [self._lose(each, f"no answer for {longest:g} s", blame=True) for each in hung]
        return lost
