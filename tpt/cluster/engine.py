"""A pool of engine replicas, anywhere in a Ray cluster, behind the engine protocol.

Requests wait here and go to whichever replica has room, so slow replicas get fewer; completions come back by value.
Requests carry their seeds, so it makes no difference which replica serves one, or that another had begun it.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tpt.cluster.fleet import Answer, Member
from tpt.cluster.nodes import Cluster, alive_nodes, check_nodes, connect, disconnect
from tpt.cluster.replicas import Replicas
from tpt.cluster.suspects import MAX_CRASHES, SuspectQueue
from tpt.config import EngineConfig
from tpt.engines import Completion, Engine, Guarantee, Request, RequestId
from tpt.engines.requests import check_request
from tpt.errors import EngineError

_STEP_S = 0.2
_CALLS = 2
"""Under way at once, so that a replica need not wait for the next."""
_SPARE = 8
"""One request is queued at a replica for so many that it decodes."""
_CANCEL_S = 60.0
_ANY_TOKEN = 2**63
"""A replica knows its vocabulary; here nobody does."""


def open_ray(opener: Callable[[], Engine], config: EngineConfig, *, max_length: int, files: list[str]) -> RayEngine:
    """Join a cluster and return an engine on replicas there, once the first is ready.

    ``opener`` opens a replica's engine and is sent to the nodes, all of which must see ``files`` under the same path.

    Raises:
        ClusterError: there is no such cluster, or a node lacks tpt or a file.
        EngineError: no replica can be started.
    """
    cluster = connect(config.ray_address)
    replicas = Replicas(opener, config)
    try:
        if not cluster.own:
            able = [each for each in alive_nodes() if each.holds(cpus=config.replica_cpus, gpus=config.replica_gpus)]
            check_nodes(able, files=files)
        engine = RayEngine(replicas, cluster, max_length=max_length)
        engine.await_replica()
    except BaseException:
        replicas.close()
        disconnect(cluster)
        raise
    return engine


class RayEngine:
    """An Engine on replicas in a cluster; see ``tpt.engines.Engine``.

    The guarantee is the weakest of the replicas', and ``seeded`` at most once they have differed in anything that their
    arithmetic depends on. Slots and guarantee change as replicas come and go.
    """

    guarantee: Guarantee
    slots: int

    def __init__(self, replicas: Replicas, cluster: Cluster, *, max_length: int) -> None:
        self.guarantee = "batch-invariant"
        self.slots = 0
        self._replicas = replicas
        self._cluster = cluster
        self._max_length = max_length
        self._requests: dict[RequestId, Request] = {}
        """In flight."""
        self._queue = SuspectQueue[RequestId]()
        self._early: list[Completion] = []
        """Finished while something else was waited for."""
        self._completions: Counter[int] = Counter()
        self._tokens: Counter[int] = Counter()
        self._cancelled_tokens = 0
        self._lost = 0
        self._hardware: list[dict[str, Any]] = []
        self._described: dict[str, Any] = {}
        self._failure: EngineError | None = None

    def await_replica(self) -> None:
        """Wait until one replica serves; EngineError when one says that it cannot, or there is none."""
        while not self._replicas.serving():
            self._replicas.tend()
            for answer in self._replicas.answers(_STEP_S):
                self._take_in(answer)
                if answer.member.refused and answer.member.node is not None:
                    raise EngineError(f"node {answer.member.node.name} cannot serve: {answer.member.refused}")

    def add(self, request: Request) -> None:
        """Queue a request; EngineError when it can never be served."""
        is_known = request.id in self._requests
        check_request(request, is_known=is_known, max_length=self._max_length, vocabulary=_ANY_TOKEN)
        self._requests[request.id] = request
        self._queue.add(request.id)

    def step(self) -> list[Completion]:
        """Hand out requests, wait until a replica has answered, but only briefly, and return what finished.

        Raises:
            EngineError: a request failed for good, or no replica is left; what finished besides was returned before.
        """
        if self._failure is not None:
            raise self._failure
        finished, self._early = self._early, []
        if not self._requests:
            return finished
        try:
            self._replicas.tend()
            self._hand_out()
            for answer in self._replicas.answers(0.0 if finished else _STEP_S):
                finished += self._take_in(answer)
        except EngineError as error:
            if not finished:
                raise
            self._failure = error
        self._hand_out()
        return finished

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests and return how many tokens they had sampled; those of lost replicas are not known."""
        self._cancelled_tokens = 0
        waiting = set()
        self._requests = {key: request for key, request in self._requests.items() if key not in ids}
        for number, keys in self._queue.cancel(ids).items():
            self._replicas.call(self._replicas.members[number], "cancel", keys)
            waiting.add(number)
        until = time.monotonic() + _CANCEL_S
        while waiting and time.monotonic() < until:
            for answer in self._replicas.answers(_STEP_S):
                self._early += self._take_in(answer)
                if answer.lost or answer.call == "cancel":
                    waiting.discard(answer.member.number)
        return self._cancelled_tokens

    def under_way(self) -> int:
        """Return 0: how many tokens its requests have sampled a replica says once they are through."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Return the cluster, its replicas with what each has done, and one replica's own description."""
        import ray

        members = sorted([*self._replicas.ended, *self._replicas.members.values()], key=lambda member: member.number)
        return {
            "engine": "ray",
            "ray": ray.__version__,
            "address": self._cluster.address,
            "nodes": [{"node": each.name, "resources": _counted(each.resources)} for each in alive_nodes()],
            "replicas": [self._row(member) for member in members if member.node is not None],
            "replicas_lost": self._lost,
            "slots": self.slots,
            "max_length": self._max_length,
            "guarantee": self.guarantee,
            "replica_engine": self._described,
        }

    def close(self) -> None:
        """Kill the replicas and leave the cluster; the engine cannot be used again."""
        self._replicas.close()
        disconnect(self._cluster)

    def _row(self, member: Member) -> dict[str, Any]:
        return {
            "replica": member.number,
            "node": member.node_name,
            "hardware": member.opened.hardware if member.opened else {},
            "completions": self._completions[member.number],
            "tokens": self._tokens[member.number],
            "ended": member.ended or member.refused,
        }

    def _hand_out(self) -> None:
        """Give every replica what it has room for, and see that those with work have calls under way."""
        for member in self._replicas.serving():
            taken = self._queue.take(member.number, _capacity(member))
            if taken:
                self._replicas.call(member, "work", [self._requests[key] for key in taken])
            while self._queue.held(member.number) and len(member.calls) < _CALLS:
                self._replicas.call(member, "work", [])

    def _take_in(self, answer: Answer) -> list[Completion]:
        """Book an answer and return the completions in it that are wanted."""
        member = answer.member
        if answer.lost:
            self._book_loss(answer)
        elif answer.call == "open" and member.opened is not None:
            self._welcome(member)
        elif answer.call == "open":
            print(f"node {member.node_name} cannot serve and is left out: {member.refused}", file=sys.stderr)
        elif answer.call == "cancel":
            self._cancelled_tokens += answer.value
        elif answer.call == "work":
            return self._book(member, answer)
        return []

    def _book(self, member: Member, answer: Answer) -> list[Completion]:
        wanted = []
        for completion in answer.value.completions:
            self._tokens[member.number] += len(completion.token_ids)
            if self._queue.complete(member.number, completion.id):
                del self._requests[completion.id]
                self._completions[member.number] += 1
                wanted.append(completion)
            else:
                self._cancelled_tokens += len(completion.token_ids)
        if answer.value.failure and self._failure is None:
            self._failure = EngineError(f"node {member.node_name}: {answer.value.failure}")
        return wanted

    def _book_loss(self, answer: Answer) -> None:
        if answer.member.opened is None:
            print(f"a replica ended before it could serve: {answer.member.ended}", file=sys.stderr)
        self._lost += answer.member.opened is not None
        guilty = self._queue.lose(answer.member.number, blame=answer.blame)
        self._count_slots()
        if guilty is not None:
            raise EngineError(
                f"problem {guilty[0]!r}, sample {guilty[1]}: {MAX_CRASHES} replicas ended while they served this request, "
                f"the last one with nothing else to do, on node {answer.member.node_name}: {answer.member.ended}. Take "
                "the problem out, or lower max_tokens if memory ran out"
            )

    def _welcome(self, member: Member) -> None:
        self._described = self._described or member.opened.described
        if member.opened.hardware not in self._hardware:
            self._hardware.append(member.opened.hardware)
        bits_differ: list[Guarantee] = ["seeded"] if len(self._hardware) > 1 else []
        self.guarantee = min(self.guarantee, member.opened.guarantee, *bits_differ, key=_STRENGTH.index)
        self._count_slots()

    def _count_slots(self) -> None:
        """Keep at least a replica's worth going while all are gone, so that the sampler goes on asking."""
        self.slots = sum(map(_capacity, self._replicas.serving())) or self.slots


_STRENGTH: list[Guarantee] = ["neither", "seeded", "batch-invariant"]


def _capacity(member: Member) -> int:
    """Return how many requests a replica may have: those that it decodes, and a few to go on with."""
    slots: int = member.opened.slots
    return slots + max(1, slots // _SPARE)


def _counted(resources: dict[str, float]) -> dict[str, float]:
    return {kind: count for kind, count in resources.items() if kind in ("CPU", "GPU")}
