"""One training on a Ray cluster, as its nodes see it: the actor that runs Ray Train, and what is around every process.

Ray Train works inside the actor, so that killing the actor ends all that it has started, and what it has to say goes to
Ray's logs. The actor also knows which processes are the training's present ones: after a loss all of them are replaced, and
one that was only out of reach must not write beside its successor. This module imports nothing heavy; what the processes
do comes pickled.
"""

from __future__ import annotations

import os
import pickle
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tpt.cluster.nodes import gist
from tpt.errors import ClusterError, TPTError

Tell = Callable[[int, int, float], None]
Process = Callable[[tuple[int, int, int, int], Tell], dict[str, Any]]
"""What each process does, given its ``Ranks`` (see ``tpt.sft.distributed``) as plain numbers.

It must be picklable, and what it returns must be plain values.
"""

_HEARTBEAT_S = 2.0
_SILENCE_S = 30.0
"""A process that has not reached the session for so long ends: another may have its rank."""
IN_ORDER = "in-order"
"""Ray's concurrency group of the calls that are done one after the other."""
_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # The processes stay in the folder that Ray starts them in.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The processes of a training."""

    size: int
    cpus: int
    gpus: int
    max_failures: int
    """So often they may be replaced after a loss."""

    def __str__(self) -> str:
        """Return what they take, for a message."""
        each = f"{self.cpus} CPUs" + (f" and {self.gpus} GPU" if self.gpus else "")
        return f"{self.size} training processes of {each}"


@dataclass(slots=True)
class SessionUpdates:
    """What a session was told since it was last asked."""

    steps: list[tuple[int, int, float]] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    """Why processes were replaced."""
    refusal: tuple[str, str] | None = None
    """Name and message of a TPTError in a process: the same again would end the same."""
    result: dict[str, Any] | None = None
    nodes: list[str] = field(default_factory=list)
    """Where the processes are, the first one's first."""
    silent_s: float = 0.0
    """Since when no process was heard of."""


class Session:
    """The actor of one training; every method but ``run`` returns at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._updates = SessionUpdates()
        self._tickets: dict[int, str] = {}
        """Rank to what its present process is known by."""
        self._nodes: dict[int, str] = {}
        self._heard = time.monotonic()
        self._loss = ""
        """What became of the processes that were lost last."""

    def limits(self) -> dict[str, float] | None:
        """Return what the cluster may grow to; None where it does not grow by itself."""
        from ray._private.state import state

        most: dict[str, float] | None = state.get_max_resources_from_cluster_config()
        return most

    def run(self, group: WorkerGroup, process: bytes, folder: str) -> str:
        """Train, and return "", or why it ended without success.

        ``process`` is pickled: what each of them does. Ray Train may write into ``folder``.

        Raises:
            ClusterError: Ray Train cannot be imported here.
        """
        import ray

        os.environ.update(_SETTINGS)
        try:
            trainer = _trainer(ray.get_runtime_context().current_actor, group, process, folder)
        except ImportError as error:
            raise ClusterError(
                f'Ray Train cannot be imported on {_node()} ({error}): pip install "think-prune-train[ray]", there and on '
                "every node"
            ) from error
        try:
            trainer.fit()
        except Exception as error:  # Its base classes differ between versions of Ray.
            if self._loss and getattr(error, "worker_failures", None):
                return (
                    f"training processes failed more often than train.max_failures = {group.max_failures} forgives, the last "
                    f"time {self._loss}"
                )
            return f"Ray Train gave up: {_told(error)}"
        return ""

    def enter(self, rank: int, ticket: str, node: str) -> None:
        """Take in a process; the one that had its rank before is none any more."""
        with self._lock:
            if rank == 0 and rank in self._tickets:
                self._updates.restarts.append(self._loss or "it did not get under way")
            self._tickets[rank], self._nodes[rank] = ticket, node
            self._heard = time.monotonic()

    def heartbeat(self, rank: int, ticket: str) -> bool:
        """Return whether a process is still one of the training's."""
        with self._lock:
            present = self._tickets.get(rank) == ticket
            if present:
                self._heard = time.monotonic()
            return present

    def tell(self, ticket: str, step: tuple[int, int, float]) -> None:
        """Note a step of the first process."""
        with self._lock:
            if self._tickets.get(0) == ticket:
                self._updates.steps.append(step)

    def refuse(self, name: str, message: str) -> None:
        """Note a TPTError; the first one told counts."""
        with self._lock:
            self._updates.refusal = self._updates.refusal or (name, message)

    def finish(self, ticket: str, result: dict[str, Any]) -> None:
        """Note what the first process returns."""
        with self._lock:
            if self._tickets.get(0) == ticket:
                self._updates.result = result

    def lose(self, said: dict[int, str]) -> None:
        """Note what has become of the processes with these ranks."""
        with self._lock:
            rank = min(said)
            others = f", and {len(said) - 1} more" if len(said) > 1 else ""
            self._loss = f"process {rank} on node {self._nodes.get(rank, 'unknown')}{others}: {said[rank]}"

    def updates(self) -> SessionUpdates:
        """Return what there is to tell since the last call."""
        with self._lock:
            updates = self._updates
            updates.silent_s = time.monotonic() - self._heard
            updates.nodes = [self._nodes[rank] for rank in sorted(self._nodes)]
            self._updates = SessionUpdates(refusal=updates.refusal, result=updates.result)
            return updates


def _trainer(session: Any, group: WorkerGroup, process: bytes, folder: str) -> Any:
    """Return Ray Train's trainer; ImportError where a package that it needs is missing."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
    from ray.train.torch import TorchConfig, TorchTrainer

    class Losses(UserCallback):  # type: ignore[misc]
        """Tells the session what has become of a process; it works where Ray Train's controller does."""

        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            session.lose.remote({rank: _told(error) for rank, error in _telling(worker_exceptions).items()})

    class Trainer(TorchTrainer):  # type: ignore[misc]
        """Leaves out the detached actor that cleans up after a killed controller; Ray does that for us."""

        def _create_default_callbacks(self) -> list[Any]:
            made: list[Any] = super()._create_default_callbacks()
            return [each for each in made if type(each).__name__ != "PlacementGroupCleanerCallback"]

    # Set before the processes import anything.
    environment = {"OMP_NUM_THREADS": str(group.cpus), "GOMP_SPINCOUNT": "10000"}
    environment |= {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    if not group.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return Trainer(
        _Worker(session, process),
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if group.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=group.size,
            use_gpu=bool(group.gpus),
            resources_per_worker={"CPU": group.cpus} | ({"GPU": group.gpus} if group.gpus else {}),
        ),
        run_config=RunConfig(
            name="ray-train",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=group.max_failures),
            callbacks=[Losses()],
            worker_runtime_env={"env_vars": environment},
        ),
    )


def _telling(exceptions: dict[int, Exception]) -> dict[int, Exception]:
    """Return those of processes that are gone, if there are any: what the others say is of their end."""
    gone = {
        rank: found for rank, error in exceptions.items() if (found := getattr(error, "health_check_failure", None))
    }
    return gone or exceptions


def _told(error: Exception) -> str:
    """Return what to quote of an error."""
    # What Ray says of a process that is gone begins with its numbers and ends with advice.
    _, found, why = " ".join(str(error).split()).partition(" because its ")
    return gist(f"its {why}" if found else f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class _Worker:
    """What Ray Train calls in every process."""

    session: Any
    process: bytes

    def __call__(self) -> None:
        """Do the training's work as one process of several."""
        import ray
        from ray import train

        context = train.get_context()
        rank, ticket = context.get_world_rank(), secrets.token_hex(8)
        ranks = (rank, context.get_world_size(), context.get_local_rank(), context.get_local_world_size())
        ray.get(self.session.enter.remote(rank, ticket, _node()))
        try:
            with _known(self.session, rank, ticket):
                process: Process = pickle.loads(self.process)
                tell = self.session.tell.options(concurrency_group=IN_ORDER)
                result = process(ranks, lambda *step: tell.remote(ticket, step))
        except TPTError as error:
            ray.get(self.session.refuse.remote(type(error).__name__, str(error)))
            raise
        if rank == 0:
            ray.get(self.session.finish.options(concurrency_group=IN_ORDER).remote(ticket, result))


@contextmanager
def _known(session: Any, rank: int, ticket: str) -> Iterator[None]:
    """End this process when it is none of the training's any more: replaced, or the training is gone."""
    over = threading.Event()

    def watch() -> None:
        import ray

        heard = time.monotonic()
        while not over.wait(_HEARTBEAT_S):
            try:
                known = ray.get(session.heartbeat.remote(rank, ticket), timeout=_SILENCE_S)
                heard = time.monotonic()
            except ray.exceptions.ActorUnavailableError:
                known = time.monotonic() - heard < _SILENCE_S
            except ray.exceptions.RayError:
                known = False
            if not known:
                os._exit(1)

    threading.Thread(target=watch, name="tpt-heartbeat", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _node() -> str:
    import ray

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
