"""Judging on every node of a Ray cluster, by the verifiers that would judge here.

Each node has one process with the pools and sandboxes of its own; the rows of a batch go to whoever has room. What a lost
node held is judged again elsewhere: verdicts follow from the trace alone, so it makes no difference where.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from tpt.cluster.fleet import Answer, Fleet
from tpt.cluster.judge_node import NodeJudge, Rules, basis_of, unfit
from tpt.cluster.nodes import Cluster, Node, alive_nodes, ask, check_nodes, connect, disconnect
from tpt.cluster.suspects import MAX_CRASHES, SuspectQueue
from tpt.config import EngineConfig, VerifyConfig
from tpt.errors import ClusterError, VerifierError
from tpt.records import Problem, Trace, Verdict
from tpt.verifiers.code.verify import warn_of_rlimits

_WAIT_S = 0.2
_CALLS = 2
"""Under way at once, so that a node need not wait for the next."""
_MOST = 16
"""Rows a worker gets at once, at most: little is judged again when a node is lost."""


def open_judges(
    config: VerifyConfig, cluster_config: EngineConfig, kinds: set[str], *, every_test: bool = False
) -> RayJudges:
    """Join a cluster, see that every node can judge problems of these kinds, and return what judges there.

    ``config.workers`` are those of each node; 0: one for each CPU that is set aside, or else that the node has. The
    cluster's ``timeout_s`` is the longest wait for a node that can judge.

    Raises:
        ClusterError: there is no such cluster, or a node cannot judge; the message names it.
        VerifierError: there is no such kind.
    """
    rules = Rules(config, every_test, frozenset(kinds), basis_of(frozenset(kinds)))
    if config.sandbox == "rlimits" and "code" in kinds:
        warn_of_rlimits()
    cluster = connect(cluster_config.ray_address)
    try:
        nodes = [node for node in alive_nodes() if _can_hold(node, config)]
        if not nodes:
            raise ClusterError(
                f"no node of the cluster has the {config.node_cpus or 1} CPUs that judging is to have there "
                "(verify.node_cpus); lower it, add nodes, or set verify.where = 'here'"
            )
        if not cluster.own:
            check_nodes(nodes, files=[])
        for node, refusal in ask(nodes, unfit, rules, what="judge"):
            if refusal:
                raise ClusterError(f"node {node.name} cannot judge: {refusal}")
        judges = RayJudges(cluster, rules, timeout_s=cluster_config.timeout_s)
        judges.tend()
    except BaseException:
        disconnect(cluster)
        raise
    return judges


class RayJudges:
    """The judging processes of one stage; opened before anything else that uses the cluster, and closed after it."""

    def __init__(self, cluster: Cluster, rules: Rules, *, timeout_s: float) -> None:
        self.judged: Counter[str] = Counter()
        """Node to how many verdicts came from it."""
        self._cluster = cluster
        self._rules = rules
        self._timeout_s = timeout_s
        self._fleet = Fleet()
        self._refused: set[str] = set()
        """Nodes that joined later and cannot judge."""

    def judge(self, traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
        """Judge traces; verdicts come in the order of the traces.

        Raises:
            VerifierError: as judging here would raise it, or processes die of a trace.
            ClusterError: there is no node to judge on any more.
        """
        queue, found = SuspectQueue[int](), dict[int, Verdict]()
        for row in range(len(traces)):
            queue.add(row)
        idle_since = time.monotonic()
        try:
            while len(found) < len(traces):
                self.tend()
                self._hand_out(queue, traces, problems)
                for answer in self._fleet.answers(_WAIT_S):
                    found |= self._take_in(answer, queue, traces)
                if self._fleet.serving():
                    idle_since = time.monotonic()
                self._require_some(idle_since)
        except BaseException:
            # What is under way would answer into the next batch.
            self._fleet.close()
            raise
        return [found[row] for row in range(len(traces))]

    def tend(self) -> None:
        """Have a process on every node that is there; looks at the cluster once a second."""
        limits = self._rules.limits
        taken = {member.home for member in self._fleet.members.values()} | self._refused
        for node in self._fleet.look() or []:
            if node.id in taken or not _can_hold(node, limits) or not self._fleet.may_start(node.id):
                continue
            workers = limits.workers or limits.node_cpus or int(node.resources.get("CPU", 1))
            rules = self._rules.with_workers(workers)
            self._fleet.call(self._fleet.start(NodeJudge, rules, cpus=limits.node_cpus, node=node), "open")

    def close(self) -> None:
        """End the processes and leave the cluster."""
        self._fleet.close()
        disconnect(self._cluster)

    def _hand_out(self, queue: SuspectQueue[int], traces: Sequence[Trace], problems: Mapping[str, Problem]) -> None:
        serving = self._fleet.serving()
        everyone = sum(member.opened for member in serving)
        for _ in range(_CALLS):
            for member in serving:
                if len(member.calls) >= _CALLS:
                    continue
                room = share(queue.waiting, member.opened, everyone)
                if rows := queue.take(member.number, len(queue.held(member.number)) + room):
                    batch = {row: traces[row] for row in rows}
                    needed = {trace.problem_id: problems[trace.problem_id] for trace in batch.values()}
                    self._fleet.call(member, "judge", batch, needed)

    def _take_in(self, answer: Answer, queue: SuspectQueue[int], traces: Sequence[Trace]) -> dict[int, Verdict]:
        """Book an answer and return the verdicts in it, by row."""
        member = answer.member
        if answer.lost:
            self._book_loss(answer, queue, traces)
        elif answer.call == "open" and member.refused:
            print(f"node {member.node_name} cannot judge and is left out: {member.refused}", file=sys.stderr)
            self._refused.add(member.home)
            self._fleet.end(member, member.refused)
        elif answer.call == "judge" and isinstance(answer.value, str):
            raise VerifierError(f"{answer.value} (node {member.node_name})")
        elif answer.call == "judge":
            verdicts: dict[int, Verdict] = answer.value
            for row in verdicts:
                queue.complete(member.number, row)
            self.judged[member.node_name] += len(verdicts)
            return verdicts
        return {}

    def _book_loss(self, answer: Answer, queue: SuspectQueue[int], traces: Sequence[Trace]) -> None:
        """Have what a lost process held judged again; VerifierError for a trace that it surely died of."""
        member = answer.member
        held = len(queue.held(member.number))
        print(
            f"node {member.node_name} judges no more, its {held} answers are judged again: {member.ended}",
            file=sys.stderr,
        )
        guilty = queue.lose(member.number, blame=answer.blame)
        if guilty is not None:
            trace = traces[guilty]
            raise VerifierError(
                f"problem {trace.problem_id!r}, sample {trace.sample}: {MAX_CRASHES} processes ended while they judged this "
                f"trace, the last one with nothing else to do, on node {member.node_name}: {member.ended}. Take the "
                "problem out, or lower verify.memory_mb or verify.workers if memory ran out there"
            )

    def _require_some(self, idle_since: float) -> None:
        waited = time.monotonic() - idle_since
        if waited > self._timeout_s:
            raise ClusterError(
                f"no node of the cluster could judge within {waited:.0f} s (engine.timeout_s); see ray status, lower "
                "verify.node_cpus, or set verify.where = 'here'. The same command goes on from the finished records"
            )


def share(waiting: int, workers: int, everyone: int) -> int:
    """Return how many rows a node gets at once; shares shrink towards the end, so that all nodes end together.

    Nobody judges the ``waiting`` rows yet; ``everyone`` counts the workers of all nodes.
    """
    return min(-(-waiting // (2 * everyone)), _MOST) * workers


def _can_hold(node: Node, config: VerifyConfig) -> bool:
    """Return whether a node is one to judge on; a head that is given no work has no CPU."""
    return node.holds(cpus=config.node_cpus or 1, gpus=0) > 0
