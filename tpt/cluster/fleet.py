"""Replicas as actors of a Ray cluster: started where there is room, replaced when they are gone, killed at the end.

Ray decides where a replica runs. An actor gets all of its GPUs from one machine, so vLLM's own executor can split a
model over them; in a placement group vLLM would take its executor for Ray instead.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tpt.cluster.nodes import Node, alive_nodes
from tpt.cluster.replica import Opened, Replica
from tpt.engines import Engine
from tpt.errors import EngineError

_LOOK_S = 1.0
_PAUSE_S = 0.1
_QUOTED = 300
_STARTS = 3
"""So many replicas in a row may die while they load the model."""
_LONGEST_BREAK_S = 60.0
_DOUBT_S = 30.0
"""A replica out of reach is given up after so long; by then Ray mostly knows whether its machine is gone."""
Call = Literal["locate", "open", "work", "cancel"]


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many replicas there are to be, and of what size."""

    replicas: int = 0
    """0: as many as the cluster's nodes hold."""
    cpus: float = 1
    gpus: float = 0
    threads: int = 1
    """CPU threads of a replica's tensor library; 0 leaves them as they are."""
    timeout_s: float = 600.0
    """Longest wait for room in the cluster, and for an answer of a replica at work."""


@dataclass(slots=True, eq=False)
class Member:
    """One replica, seen from here."""

    number: int
    actor: Any
    called: float
    """When it was last asked or heard, on the monotonic clock."""
    calls: deque[tuple[Call, Any]] = field(default_factory=deque)
    """Under way, the oldest first: what was called, and Ray's reference to the answer."""
    node: Node | None = None
    opened: Opened | None = None
    doubted: float = 0.0
    """Since when it is out of reach; such a one never serves again."""
    refused: str = ""
    """Why it does not serve; it goes on holding its room, so that no other is started there."""
    ended: str = ""
    completions: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of a call."""

    member: Member
    call: Call
    value: Any = None
    lost: bool = False
    """The replica is gone; it is out of the pool already."""
    blame: bool = False
    """Its process died of itself, rather than with its machine."""


class Pool:
    """The replicas of one stage."""

    def __init__(self, opener: Callable[[], Engine], settings: PoolSettings) -> None:
        self.settings = settings
        self.members: dict[int, Member] = {}
        self.ended: list[Member] = []
        self._opener = opener
        self._started = 0
        self._looked = -_LOOK_S
        self._failed_starts = 0
        self._failed_start = ""
        """Where and how the last of them ended."""
        self._start_after = 0.0
        self._roomless_since = time.monotonic()

    def serving(self) -> list[Member]:
        """Return the replicas that sample."""
        return [each for each in self.members.values() if each.opened is not None and not each.doubted]

    def tend(self) -> None:
        """Have as many replicas as there is room for; looks at the cluster once a second.

        Raises:
            EngineError: There is none, and none can be expected.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        nodes = alive_nodes()
        fitting = sum(node.holds(cpus=self.settings.cpus, gpus=self.settings.gpus) for node in nodes)
        # One that fits nowhere is asked for all the same: a cluster that grows on demand sees the demand.
        wanted = self.settings.replicas or max(1, fitting)
        waiting = [member for member in self.members.values() if member.node is None]
        for _ in range(min(len(waiting), len(self.members) - wanted)):
            self._end(waiting.pop(), "not needed")
        if now >= self._start_after:
            for _ in range(wanted - len(self.members)):
                self._start()
        self._require_some(now, nodes)

    def call(self, member: Member, call: Call, *arguments: Any) -> None:
        """Call a replica; the answer comes by ``answers``."""
        if not member.calls:
            member.called = time.monotonic()
        member.calls.append((call, getattr(member.actor, call).remote(*arguments)))

    def answers(self, timeout_s: float) -> list[Answer]:
        """Wait until a replica has answered, but not for long, and return all answers that are there."""
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

    def close(self) -> None:
        """Kill every replica."""
        for member in list(self.members.values()):
            self._end(member, "done")

    def _start(self) -> None:
        import ray

        options = {
            "num_cpus": self.settings.cpus,
            "num_gpus": self.settings.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
        }
        member = Member(self._started, ray.remote(Replica).options(**options).remote(), time.monotonic())
        self._started += 1
        self.members[member.number] = member
        self.call(member, "locate")
        self.call(member, "open", self._opener, self.settings.threads)

    def _answer(self, member: Member) -> Answer | None:
        """Return the answer to a member's oldest call; None while it is not clear what has become of the member."""
        import ray

        call, reference = member.calls.popleft()
        member.called = time.monotonic()
        try:
            value = ray.get(reference, timeout=self.settings.timeout_s)
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
            self._failed_starts = 0
        return Answer(member, call, value)

    def _doubt(self, member: Member) -> None:
        """Ask a replica that is out of reach again: Ray learns later than we do that a process, or a machine, is gone."""
        member.doubted = member.doubted or time.monotonic()
        time.sleep(_PAUSE_S)
        member.calls.clear()
        self.call(member, "locate")

    def _failed(self, member: Member, call: Call, said: str) -> Answer:
        """Take in an error that the replica's code did not expect; one at work is no longer to be trusted."""
        if call in ("locate", "open"):
            member.refused = member.refused or _gist(said)
            return Answer(member, call, member.refused)
        return self._lose(member, said, blame=True)

    def _lose(self, member: Member, said: str, *, blame: bool) -> Answer:
        opening, node = member.opened is None, member.node
        self._end(member, _gist(said))
        self._looked = -_LOOK_S
        alive = node is None or any(each.id == node.id for each in alive_nodes())
        if opening and alive:
            self._failed_starts += 1
            self._failed_start = f"on node {node.name if node else 'unknown'}: {member.ended}"
            self._start_after = time.monotonic() + min(_LONGEST_BREAK_S, 2.0**self._failed_starts)
        return Answer(member, "work", lost=True, blame=blame and alive)

    def _end(self, member: Member, why: str) -> None:
        import ray

        del self.members[member.number]
        member.ended = why
        member.calls.clear()
        if member.node is not None:
            self.ended.append(member)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(member.actor, no_restart=True)

    def _give_up_the_silent(self) -> list[Answer]:
        """Lose the replicas that have not answered for too long; loading a model may take its time."""
        now = time.monotonic()
        hung = [each for each in self.serving() if each.calls and now - each.called > self.settings.timeout_s]
        gone = [each for each in self.members.values() if each.doubted and now - each.doubted > _DOUBT_S]
        lost = [self._lose(each, f"no answer for {self.settings.timeout_s:g} s", blame=True) for each in hung]
        return lost + [self._lose(each, "out of reach", blame=False) for each in gone]

    def _require_some(self, now: float, nodes: list[Node]) -> None:
        placed = [member for member in self.members.values() if member.node is not None]
        able = [member for member in placed if not member.refused and not member.doubted]
        refused = next((member for member in placed if member.refused), None)
        if able:
            self._roomless_since = now
            return
        if self._failed_starts >= _STARTS:
            raise EngineError(
                f"{self._failed_starts} replicas in a row ended while they loaded the model, the last one "
                f"{self._failed_start}. Memory may have run out there: take a smaller model, fewer engine.replicas, or "
                "more engine.replica_cpus, so that fewer share a node"
            )
        late = now - self._roomless_since > self.settings.timeout_s
        others = any(member.node is None or member.doubted for member in self.members.values())
        if refused is not None and refused.node is not None and (late or not others):
            raise EngineError(f"node {refused.node.name} cannot serve: {refused.refused}")
        if late:
            raise EngineError(
                f"no node of the cluster had room for a replica within {self.settings.timeout_s:g} s (engine.timeout_s): "
                f"one takes {self.settings.cpus:g} CPUs and {self.settings.gpus:g} GPUs, and there are "
                f"{_resources(nodes)}. Add nodes, lower engine.replica_cpus or engine.replica_gpus, or wait for others to "
                "finish; the same command goes on from the finished records"
            )


def _resources(nodes: list[Node]) -> str:
    """Return what the nodes have, for a message."""
    named = [
        f"{each.name}: {each.resources.get('CPU', 0):g} CPUs, {each.resources.get('GPU', 0):g} GPUs" for each in nodes
    ]
    return "; ".join(named[:4]) + (f" and {len(named) - 4} more nodes" if len(named) > 4 else "") or "no nodes"


def _gist(said: str) -> str:
    """Return a message on one line, the middle of a long one left out: errors say what matters first or last."""
    line = " ".join(said.split())
    return line if len(line) <= _QUOTED else f"{line[: _QUOTED // 3]} ... {line[-_QUOTED * 2 // 3 :]}"
