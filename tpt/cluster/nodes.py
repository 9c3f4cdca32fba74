"""A Ray cluster to work on: joining it, its nodes, and what every one of them must have.

A stage joins the cluster when it starts and leaves it when it ends; nothing it started there outlives it. Where no
cluster is given, a Ray of the stage's own is started on this machine and ended with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tpt.errors import ClusterError
from tpt.system.child_python import is_installed

_ENVIRONMENT = {
    # Errors reach the user as ours; RAY_BACKEND_LOG_LEVEL=info shows Ray's own.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray would give the replicas of a Ray of our own less of the CPU than anything else on the machine.
    "RAY_worker_niceness": "0",
    # The coming default of Ray: who asked for no GPU keeps the environment as it is. Unset, Ray warns of it.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_ANSWER_S = 5.0
_CHECK_S = 120.0
_GIST = 280
"""Characters of a quoted message."""
_OBJECT_STORE_BYTES = 128 * 2**20
"""Enough for completions; Ray would take a third of the memory."""
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""Every gRPC server answers this with its settings."""
_SETTINGS = 4


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that this process has joined."""

    address: str
    own: bool
    """Started for this process, and ended with it."""
    joined_before: bool = False
    """By the program around us, which leaves it too."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster, as Ray sees it."""

    id: str
    host: str
    address: str
    resources: dict[str, float]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.host} ({self.address})"

    def holds(self, *, cpus: float, gpus: float) -> int:
        """Return how many workers of that size the node's resources hold; at least one of the two must be above 0."""
        room = [self.resources.get(kind, 0.0) / size for kind, size in (("CPU", cpus), ("GPU", gpus)) if size]
        return int(min(room) + 1e-6)


def connect(address: str) -> Cluster:
    """Join the cluster at an address, or start one here.

    The address is ``host:port``, ``ray://host:port``, ``local`` for a Ray of this process's own, or ``auto``: what the
    environment variable RAY_ADDRESS says, else what ``ray start`` runs on this machine, else ``local``.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster to join at the address.
    """
    if not is_installed("ray"):
        raise ClusterError('Ray is not installed: pip install "think-prune-train[ray]", here and on every node')
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    if ray.is_initialized():
        return Cluster(ray.get_runtime_context().gcs_address, own=False, joined_before=True)
    target = _target(address)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if target == "local":
        _init(target, **quiet, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
        return Cluster("local", own=True)
    _require_answer(target)
    _init(target, **quiet)
    return Cluster(target, own=False)


def disconnect(cluster: Cluster) -> None:
    """Leave the cluster; what this process has started there ends, and with it a Ray of its own."""
    if not cluster.joined_before:
        import ray

        ray.shutdown()


def alive_nodes() -> list[Node]:
    """Return the nodes that the cluster counts as alive."""
    import ray

    return [
        Node(each["NodeID"], each["NodeManagerHostname"], each["NodeManagerAddress"], dict(each["Resources"]))
        for each in ray.nodes()
        if each["Alive"]
    ]


def check_nodes(nodes: list[Node], *, files: list[str]) -> None:
    """Check that tpt can be imported on every node, by the same Python, and that it has these files.

    Needs no more than Ray there.

    Raises:
        ClusterError: A node does not answer, or lacks something; the message names it.
    """
    for node, found in ask(nodes, _look(), files, what="run a task"):
        _require(node, found)


def ask(nodes: list[Node], function: Callable[[Any], Any], argument: Any, *, what: str) -> Iterator[tuple[Node, Any]]:
    """Call a function on every node and yield what it returns there; it takes none of the node's resources.

    Raises:
        ClusterError: A node does not answer, or cannot do ``what``; the message names it.
    """
    import ray

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    asked = {task.options(scheduling_strategy=pinned_to(node)).remote(argument): node for node in nodes}
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=_CHECK_S) if asked else ([], [])
    if late:
        raise ClusterError(
            f"node {asked[late[0]].name} has not answered within {_CHECK_S:.0f} s; see whether Ray is well there "
            "(ray status), or take the node out of the cluster"
        )
    for answer in ready:
        try:
            value = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            said = f"{type(error.cause).__name__}: {error.cause}"
            raise ClusterError(f"node {asked[answer].name} cannot {what}: {gist(said)}") from error
        except ray.exceptions.RayError:
            continue  # it has died since, and is none of ours any more
        yield asked[answer], value


def pinned_to(node: Node) -> Any:
    """Return the scheduling strategy that has Ray start something on this node, or not at all."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def gist(said: str) -> str:
    """Return a message on one line, the middle of a long one left out: errors say what matters first or last."""
    line = " ".join(said.split())
    return line if len(line) <= _GIST else f"{line[: _GIST // 3]} ... {line[-_GIST * 2 // 3 :]}"


def _look() -> Callable[[list[str]], dict[str, Any]]:
    """Return what looks at a node: a nested function, which Ray sends by value, as tpt may be missing there."""

    def look(files: list[str]) -> dict[str, Any]:
        import importlib
        import os
        import sys

        try:
            importlib.import_module("tpt")
            said = ""
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        return {"tpt": said, "python": sys.executable, "missing": [file for file in files if not os.path.exists(file)]}

    return look


def _require(node: Node, found: dict[str, Any]) -> None:
    if found["tpt"]:
        raise ClusterError(
            f"node {node.name} cannot import tpt ({found['tpt']}): install think-prune-train into the Python that Ray runs "
            f"there, {found['python']}, or start Ray from an environment that has it"
        )
    if found["missing"]:
        raise ClusterError(
            f"node {node.name} has no {found['missing'][0]}: every node must see the model under the same path, so put "
            "the run directory and the model on a file system that all nodes share"
        )


def _target(address: str) -> str:
    """Return ``local`` or the address of a cluster that is believed to be there."""
    if address != "auto":
        return address
    if given := os.environ.get("RAY_ADDRESS"):
        return _target(given) if given != "auto" else "local"
    from ray._private.services import find_bootstrap_address

    # The file that `ray start` writes outlives it.
    found = find_bootstrap_address(None)
    return str(found) if found and _answers(str(found)) else "local"


def _init(address: str, **settings: Any) -> None:
    """Call ray.init; ClusterError for what it raises."""
    import ray
    from ray._private import worker

    # What befalls nodes is for us to say; Ray would print it on stdout, whatever log_to_driver is.
    worker._worker_logs_enabled = False
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        with _quiet():
            ray.init(address=address, **settings)
        if in_main_thread:
            # Ray makes SIGTERM an exception; for us it ends the process, and Ray sees to what was started.
            signal.signal(signal.SIGTERM, on_term)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError, ray.exceptions.RayError) as error:
        said = " ".join(str(error).split())
        cause = " ".join(str(error.__cause__ or "").split())
        hint = "" if "uthenticat" not in said else " A cluster that asks for a token wants RAY_AUTH_MODE=token here."
        raise ClusterError(
            f"cannot join the Ray cluster at {address!r}: {said[:400]} {cause[:400]}".rstrip() + hint
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence this process's stderr: Ray's native part writes there of its own settings and of every attempt."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _require_answer(address: str) -> None:
    """Raise ClusterError when nothing like Ray listens at the address; ray.init would take minutes to say so."""
    if not _answers(address):
        raise ClusterError(
            f"no Ray cluster answers at {address!r} within {_ANSWER_S:.0f} s; expected host:port of a head node "
            "(usually port 6379) or ray://host:port (usually 10001). See that `ray start --head` runs there and that its "
            "port can be reached from here, or take the address out to use a Ray on this machine"
        )


def _answers(address: str) -> bool:
    """Return whether a gRPC server answers at ``host:port``; with TLS, whether anything does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return True
            connection.sendall(_HTTP2_HELLO)
            answer = connection.recv(9)
    except (OSError, ValueError, OverflowError):
        return False
    return len(answer) >= 4 and answer[3] == _SETTINGS
