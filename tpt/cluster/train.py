"""Training in processes of a Ray cluster, under Ray Train; they go on from the last checkpoint when some are lost.

The processes do what those of ``run_in_parallel`` do. Checkpoints are those of ``ResumePoint``, on a file system that all
nodes share: Ray Train replaces the processes, and has nothing to store itself.
"""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import distributed

from tpt import errors
from tpt.cluster.nodes import Node, alive_nodes, check_nodes, connect, disconnect, gist, pinned_to
from tpt.cluster.session import IN_ORDER, Session, Tell, WorkerGroup
from tpt.config import EngineConfig, TrainConfig
from tpt.errors import ClusterError, TrainError
from tpt.sft.distributed import Progress, Ranks, Task, failure, init_rank

_LOOK_S = 0.2
_CALLS = 32
"""Of the session at a time; they are short but for one."""
_FOLDER = ".ray"
_TOKEN = "token"
_TORCHRUN = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def train_on_ray(
    task: Task,
    config: TrainConfig,
    cluster_config: EngineConfig,
    *,
    out: Path,
    files: list[str],
    progress: Progress | None,
) -> dict[str, Any]:
    """Do a task in ``config.devices`` processes of a cluster and return what it returns in the first.

    While it is under way, a folder with the suffix ``.ray`` is beside ``out``. Every node must see ``files`` under the
    same path; ``progress`` is called with what the first process tells.

    Raises:
        TPTError: the task raised it in one of them.
        ClusterError: there is no such cluster, it has no room, or a node lacks something.
        TrainError: processes failed otherwise, or were lost, more often than ``config.max_failures`` times.
    """
    cluster = connect(cluster_config.ray_address)
    try:
        group = WorkerGroup(max(1, config.devices), config.worker_cpus, _gpus(config.worker_gpus), config.max_failures)
        with _shared(out.with_name(out.name + _FOLDER)) as (folder, token):
            session, home = _open_session()
            try:
                if not cluster.own:
                    others = [node for node in _able(group) if node.id != home.id]
                    check_nodes([home, *others], files=[*files, str(folder / _TOKEN)])
                _require_room(group, session)
                process = pickle.dumps(_Process(task, group.cpus, folder, token))
                result = _follow(session, group, process, folder, timeout_s=cluster_config.timeout_s, progress=progress)
            finally:
                _end(session)
    finally:
        disconnect(cluster)
    return result


@dataclass(frozen=True, slots=True)
class _Process:
    """The task, and what a process must be before it begins."""

    task: Task
    threads: int
    folder: Path
    token: str

    def __call__(self, numbers: tuple[int, int, int, int], tell: Tell) -> dict[str, Any]:
        """Do the task as one process of several."""
        ranks = Ranks(*numbers)
        self._require_shared()
        if ranks.world == 1:
            _be_alone()
        init_rank(ranks, threads=self.threads)
        try:
            return self.task(tell)
        except torch.OutOfMemoryError as error:
            # The same again would end the same.
            raise TrainError(failure(ranks.rank, error)) from error

    def _require_shared(self) -> None:
        """Raise ClusterError on a node that has a folder of its own under this path; it may have joined since."""
        found = ""
        with suppress(OSError):
            found = (self.folder / _TOKEN).read_text(encoding="utf-8")
        if found != self.token:
            raise ClusterError(
                f"node {os.uname().nodename} does not see {self.folder.parent} as the machine of the run does: put the run "
                "directory on a file system that all nodes share"
            )


def _be_alone() -> None:
    """Leave the group of one process that Ray Train has made: what is alone trains as it does without Ray."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
    for name in (*_TORCHRUN, "ACCELERATE_TORCH_DEVICE"):
        os.environ.pop(name, None)


def _gpus(wanted: Literal["auto", 0, 1]) -> int:
    """Return a process's GPUs."""
    if wanted == "auto":
        return int(any(node.resources.get("GPU", 0) >= 1 for node in alive_nodes()))
    return wanted


@contextmanager
def _shared(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield a folder by which a node knows whether it shares the file system, and what is written there."""
    token = secrets.token_hex(16)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        (folder / _TOKEN).write_text(token, encoding="utf-8")
        yield folder, token
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_session() -> tuple[Any, Node]:
    """Start the training's actor on this node, and return both."""
    import ray

    id_here = ray.get_runtime_context().get_node_id()
    here = next(node for node in alive_nodes() if node.id == id_here)
    session = ray.remote(concurrency_groups={IN_ORDER: 1})(Session).options(
        num_cpus=0,
        max_restarts=0,
        max_concurrency=_CALLS,
        scheduling_strategy=pinned_to(here),
    )
    return session.remote(), here


def _able(group: WorkerGroup) -> list[Node]:
    """Return the nodes that can hold a process."""
    return [node for node in alive_nodes() if node.holds(cpus=group.cpus, gpus=group.gpus)]


def _require_room(group: WorkerGroup, session: Any) -> None:
    """Raise ClusterError for what the cluster can never hold; Ray Train would wait for it for ever."""
    import ray

    held = sum(node.holds(cpus=group.cpus, gpus=group.gpus) for node in alive_nodes())
    if held >= group.size:
        return
    most = ray.get(session.limits.remote())
    wanted = {"CPU": group.size * group.cpus, "GPU": group.size * group.gpus}
    if most is not None and all(most.get(kind, 0) >= count for kind, count in wanted.items()):
        return  # It grows on demand.
    there = alive_nodes()
    cpus, gpus = (sum(node.resources.get(kind, 0) for node in there) for kind in ("CPU", "GPU"))
    raise ClusterError(
        f"the Ray cluster has no room for {group}: it holds {held}, with {cpus:g} CPUs and {gpus:g} GPUs on {len(there)} "
        "nodes. Lower train.devices, train.worker_cpus or train.worker_gpus, add nodes, or set train.where = 'here'"
    )


def _follow(
    session: Any, group: WorkerGroup, process: bytes, folder: Path, *, timeout_s: float, progress: Progress | None
) -> dict[str, Any]:
    """Have the session train, pass on what it is told, and return the first process's result."""
    import ray

    ended = session.run.remote(group, process, str(folder))
    restarts = 0
    try:
        while True:
            done, _ = ray.wait([ended], timeout=_LOOK_S)
            updates = ray.get(session.updates.remote())
            for why in updates.restarts:
                restarts += 1
                print(f"training goes on from its last checkpoint, in other processes: {why}", file=sys.stderr)
            for step in updates.steps:
                if progress is not None:
                    progress(*step)
            if updates.refusal is not None:
                name, message = updates.refusal
                raise getattr(errors, name, TrainError)(message)
            if done:
                break
            if updates.result is None and updates.silent_s > timeout_s:
                raise ClusterError(
                    f"the Ray cluster had no room for {group} within {timeout_s:g} s (engine.timeout_s). See ray "
                    "status, add nodes, or wait for others to finish; the same command goes on from the last checkpoint"
                )
        said = ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, errors.TPTError):
            raise error.cause from None
        raise TrainError(f"training on Ray failed: {gist(str(error.cause))}") from error
    except ray.exceptions.RayError as error:
        raise TrainError(
            f"training on Ray ended: {gist(str(error))}. The same command goes on from the last checkpoint"
        ) from error
    if said or updates.result is None:
        raise TrainError(
            f"{said or 'the first training process returned nothing'}. The same command goes on from the last checkpoint; if "
            "memory ran out, lower train.micro_batch_size, or set train.gradient_checkpointing = true"
        )
    told = {"version": ray.__version__, "nodes": updates.nodes, "restarts": restarts}
    return {**updates.result, "ray": told}


def _end(session: Any) -> None:
    """Kill the session, and with it all that it has started."""
    import ray

    with suppress(ray.exceptions.RayError):
        ray.kill(session, no_restart=True)
