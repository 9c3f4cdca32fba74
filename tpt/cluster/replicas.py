"""Replicas of an engine, as many as the cluster has room for, wherever Ray finds it.

An actor gets all of its GPUs from one machine, so vLLM's own executor can split a model over them; in a placement group
vLLM would take its executor for Ray instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tpt.cluster.fleet import Fleet
from tpt.cluster.nodes import Node
from tpt.cluster.replica import Replica
from tpt.config import EngineConfig
from tpt.engines import Engine
from tpt.errors import EngineError

_STARTS = 3
"""So many replicas in a row may die while they load the model."""


class Replicas(Fleet):
    """The replicas of one stage."""

    def __init__(self, opener: Callable[[], Engine], config: EngineConfig) -> None:
        super().__init__(config.timeout_s)
        self._opener = opener
        self._config = config
        self._roomless_since = time.monotonic()

    def tend(self) -> None:
        """Have as many replicas as there is room for; looks at the cluster once a second.

        Raises:
            EngineError: There is none, and none can be expected.
        """
        nodes = self.look()
        if nodes is None:
            return
        fitting = sum(node.holds(cpus=self._config.replica_cpus, gpus=self._config.replica_gpus) for node in nodes)
        # One that fits nowhere is asked for all the same: a cluster that grows on demand sees the demand.
        wanted = self._config.replicas or max(1, fitting)
        waiting = [member for member in self.members.values() if member.node is None]
        for _ in range(min(len(waiting), len(self.members) - wanted)):
            self.end(waiting.pop(), "not needed")
        if self.may_start():
            for _ in range(wanted - len(self.members)):
                member = self.start(Replica, cpus=self._config.replica_cpus, gpus=self._config.replica_gpus)
                self.call(member, "locate")
                self.call(member, "open", self._opener)
        self._require_some(nodes)

    def _require_some(self, nodes: list[Node]) -> None:
        started = [member for member in self.members.values() if member.node is not None]
        refused = next((member for member in started if member.refused), None)
        if any(not member.refused and not member.doubted for member in started):
            self._roomless_since = time.monotonic()
            return
        failed = self.failed_starts.total()
        if failed >= _STARTS:
            raise EngineError(
                f"{failed} replicas in a row ended while they loaded the model, the last one {self.failed_start}. Memory "
                "may have run out there: take a smaller model, fewer engine.replicas, or more engine.replica_cpus, so "
                "that fewer share a node"
            )
        config = self._config
        late = time.monotonic() - self._roomless_since > config.timeout_s
        others = any(member.node is None or member.doubted for member in self.members.values())
        if refused is not None and (late or not others):
            raise EngineError(f"node {refused.node_name} cannot serve: {refused.refused}")
        if late:
            raise EngineError(
                f"no node of the cluster had room for a replica within {config.timeout_s:g} s (engine.timeout_s): "
                f"one takes {config.replica_cpus:g} CPUs and {config.replica_gpus:g} GPUs, and there are "
                f"{_resources(nodes)}. Add nodes, lower engine.replica_cpus or engine.replica_gpus, or wait for others to "
                "finish; the same command goes on from the finished records"
            )


def _resources(nodes: list[Node]) -> str:
    """Return what the nodes have, for a message."""
    named = [
        f"{each.name}: {each.resources.get('CPU', 0):g} CPUs, {each.resources.get('GPU', 0):g} GPUs" for each in nodes
    ]
    return "; ".join(named[:4]) + (f" and {len(named) - 4} more nodes" if len(named) > 4 else "") or "no nodes"
