"""Judging on every node of a Ray cluster, by the verifiers that would judge here.

Each node has one process with the pools and sandboxes of its own; the rows of a batch go to whoever has room. What a lost
node held is judged again elsewhere: verdicts follow from the trace alone, so it makes no difference where.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tpt.cluster.judge_node import Judge, Rules, basis_of, unfit
from tpt.cluster.nodes import Cluster, Node, alive_nodes, check_nodes, connect, disconnect
from tpt.cluster.suspects import STRIKES, Rows
from tpt.errors import ClusterError, VerifierError
from tpt.records import Problem, Trace, Verdict
from tpt.verifiers.code.verify import warn_of_rlimits
from tpt.verifiers.pool.pool import Limits

_LOOK_S = 1.0
_WAIT_S = 0.2
_CHECK_S = 120.0
_CALLS = 2
"""Under way at once, so that a node need not wait for the next."""
_LONGEST_BREAK_S = 60.0


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How the nodes are used."""

    address: str
    """See ``tpt.cluster.nodes.connect``."""
    limits: Limits
    """Its ``workers`` are those of each node; 0: one for each CPU that is set aside, or else that the node has."""
    every_test: bool = False
    """See ``tpt.verifiers.judge.judge``."""
    cpus: int = 0
    """Set aside on every node."""
    timeout_s: float = 600.0
    """Longest wait for a node that can judge."""


@dataclass(slots=True, eq=False)
class _Member:
    """One node's judging process, seen from here."""

    node: Node
    workers: int
    actor: Any
    opened: bool = False
    calls: deque[tuple[Any, list[int]]] = field(default_factory=deque)
    """Under way, the oldest first: Ray's reference to the answer, and the rows that are judged."""


def open_judges(settings: JudgeSettings, kinds: set[str]) -> RayJudges:
    """Join a cluster, see that every node can judge problems of these kinds, and return what judges there.

    Raises:
        ClusterError: there is no such cluster, or a node cannot judge; the message names it.
        VerifierError: there is no such kind.
    """
    limits = settings.limits
    rules = Rules(limits, settings.every_test, frozenset(kinds), basis_of(frozenset(kinds)))
    if limits.sandbox == "rlimits" and "code" in kinds:
        warn_of_rlimits()
    cluster = connect(settings.address)
    try:
        nodes = [node for node in alive_nodes() if _can_hold(node, settings)]
        if not nodes:
            raise ClusterError(
                f"no node of the cluster has the {settings.cpus or 1} CPUs that judging is to have there "
                "(verify.node_cpus); lower it, add nodes, or set verify.where = 'here'"
            )
        if not cluster.own:
            check_nodes(nodes, files=[])
        _require_fit(nodes, rules)
        judges = RayJudges(cluster, settings, rules)
        judges.tend()
    except BaseException:
        disconnect(cluster)
        raise
    return judges


class RayJudges:
    """The judging processes of one stage; opened before anything else that uses the cluster, and closed after it."""

    def __init__(self, cluster: Cluster, settings: JudgeSettings, rules: Rules) -> None:
        self.judged: dict[str, int] = {}
        """Node to how many verdicts came from it."""
        self._cluster = cluster
        self._settings = settings
        self._rules = rules
        self._members: dict[str, _Member] = {}
        self._refused: set[str] = set()
        """Nodes that joined later and cannot judge."""
        self._failures: dict[str, int] = {}
        """Processes in a row that a node has lost."""
        self._start_after: dict[str, float] = {}
        self._looked = -_LOOK_S

    def judge(self, traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
        """Judge traces; verdicts come in the order of the traces.

        Raises:
            VerifierError: as judging here would raise it, or processes die of a trace.
            ClusterError: there is no node to judge on any more.
        """
        rows, found = Rows(len(traces)), dict[int, Verdict]()
        idle_since = time.monotonic()
        try:
            while len(found) < len(traces):
                self.tend()
                self._hand_out(rows, traces, problems)
                for member, given, verdicts in self._answers(rows, traces):
                    found |= zip(given, verdicts, strict=True)
                    self.judged[member.node.name] = self.judged.get(member.node.name, 0) + len(given)
                if any(member.opened for member in self._members.values()):
                    idle_since = time.monotonic()
                self._require_some(idle_since)
        except BaseException:
            # What is under way would answer into the next batch.
            self._end_all()
            raise
        return [found[row] for row in range(len(traces))]

    def tend(self) -> None:
        """Have a process on every node that is there; looks at the cluster once a second."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        for node in alive_nodes():
            new = node.id not in self._members and node.id not in self._refused
            if new and _can_hold(node, self._settings) and now >= self._start_after.get(node.id, now):
                self._start(node)

    def close(self) -> None:
        """End the processes and leave the cluster."""
        self._end_all()
        disconnect(self._cluster)

    def _start(self, node: Node) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cpus = self._settings.cpus
        workers = self._settings.limits.workers or cpus or int(node.resources.get("CPU", 1))
        actor = ray.remote(Judge).options(
            num_cpus=cpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        member = _Member(node, workers, actor.remote(self._rules.with_workers(workers)))
        self._members[node.id] = member
        member.calls.append((member.actor.open.remote(), []))

    def _hand_out(self, rows: Rows, traces: Sequence[Trace], problems: Mapping[str, Problem]) -> None:
        ready = [member for member in self._members.values() if member.opened]
        everyone = sum(member.workers for member in ready)
        for _ in range(_CALLS):
            for member in ready:
                alone = any(rows.is_suspect(row) for _, given in member.calls for row in given)
                if alone or len(member.calls) >= _CALLS:
                    continue
                if given := rows.take(member.workers, everyone, idle=not member.calls):
                    batch = [traces[row] for row in given]
                    needed = {trace.problem_id: problems[trace.problem_id] for trace in batch}
                    member.calls.append((member.actor.judge.remote(batch, needed), given))

    def _answers(self, rows: Rows, traces: Sequence[Trace]) -> list[tuple[_Member, list[int], list[Verdict]]]:
        """Wait until a node has answered, but not for long, and return all verdicts that are there."""
        import ray

        oldest = {member.calls[0][0]: member for member in self._members.values() if member.calls}
        if not oldest:
            time.sleep(_WAIT_S)
            return []
        ready, _ = ray.wait(list(oldest), num_returns=1, timeout=_WAIT_S)
        if ready:
            ready, _ = ray.wait(list(oldest), num_returns=len(oldest), timeout=0)
        answered = []
        for reference in ready:
            member, given = oldest[reference], oldest[reference].calls[0][1]
            try:
                value = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                value = f"{type(error.cause).__name__}: {error.cause}"
            except ray.exceptions.RayError as error:
                self._lose(member, str(error), rows, traces)
                continue
            member.calls.popleft()
            if not given:
                self._welcome(member, value)
            elif isinstance(value, str):
                raise VerifierError(f"{value} (node {member.node.name})")
            else:
                answered.append((member, given, value))
        return answered

    def _welcome(self, member: _Member, refusal: str) -> None:
        if refusal:
            print(f"node {member.node.name} cannot judge and is left out: {refusal}", file=sys.stderr)
            self._refused.add(member.node.id)
            self._end(member)
        member.opened = not refusal
        if member.opened:
            self._failures.pop(member.node.id, None)

    def _lose(self, member: _Member, said: str, rows: Rows, traces: Sequence[Trace]) -> None:
        """Have what a lost process held judged again; VerifierError for a trace that it surely died of."""
        node, held = member.node, [row for _, given in member.calls for row in given]
        self._end(member)
        alive = any(each.id == node.id for each in alive_nodes())
        self._failures[node.id] = self._failures.get(node.id, 0) + 1
        self._start_after[node.id] = time.monotonic() + min(_LONGEST_BREAK_S, 2.0 ** self._failures[node.id] / 2)
        gist = " ".join(said.split())[:300]
        print(f"node {node.name} judges no more, its {len(held)} answers are judged again: {gist}", file=sys.stderr)
        guilty = rows.lose(held, blame=alive)
        if guilty is not None:
            trace = traces[guilty]
            raise VerifierError(
                f"problem {trace.problem_id!r}, sample {trace.sample}: {STRIKES} processes ended while they judged this "
                f"trace, the last one with nothing else to do, on node {node.name}: {gist}. Take the problem out, or lower "
                "verify.memory_mb or verify.workers if memory ran out there"
            )

    def _require_some(self, idle_since: float) -> None:
        waited = time.monotonic() - idle_since
        if waited > self._settings.timeout_s:
            raise ClusterError(
                f"no node of the cluster could judge within {waited:.0f} s (engine.timeout_s); see ray status, lower "
                "verify.node_cpus, or set verify.where = 'here'. The same command goes on from the finished records"
            )

    def _end_all(self) -> None:
        for member in list(self._members.values()):
            self._end(member)

    def _end(self, member: _Member) -> None:
        import ray

        del self._members[member.node.id]
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(member.actor, no_restart=True)


def _can_hold(node: Node, settings: JudgeSettings) -> bool:
    """Return whether a node is one to judge on; a head that is given no work has no CPU."""
    return node.holds(cpus=settings.cpus or 1, gpus=0) > 0


def _require_fit(nodes: list[Node], rules: Rules) -> None:
    """Have every node say whether it can judge; ClusterError names one that cannot."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(unfit)
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(rules): node
        for node in nodes
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=_CHECK_S)
    if late:
        raise ClusterError(
            f"node {asked[late[0]].name} has not answered within {_CHECK_S:.0f} s; see ray status, or take the node out of "
            "the cluster"
        )
    for answer in ready:
        try:
            refusal = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            refusal = f"{type(error.cause).__name__}: {error.cause}"
        except ray.exceptions.RayError:
            continue  # it has died since, and is none of ours any more
        if refusal:
            raise ClusterError(f"node {asked[answer].name} cannot judge: {refusal}")
