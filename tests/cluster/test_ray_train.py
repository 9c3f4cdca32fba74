"""Training under Ray Train on clusters of several nodes on this machine; with Ray itself, so only where it is installed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray_training
from command_line import ENTRY, QUICKSTART, TINY, sets
from ray_cluster import NEEDS_RAY, NODE, cluster_of
from ray_training import LONG

from tpt.config import EngineConfig
from tpt.errors import ClusterError, ModelError, TrainError

pytestmark = NEEDS_RAY
Train = Callable[..., dict[str, Any]]
NOT_CONNECTED = EngineConfig(ray_address="127.0.0.1:1")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with cluster_of(2, modules=tmp_path_factory.mktemp("modules")) as found:
        yield found


@pytest.fixture
def do_train(cluster: Any, tmp_path: Path) -> Train:
    """Trains on the cluster, into a folder of the test."""

    def do(out: str, progress: Any = None, *, timeout_s: float = 60, **settings: Any) -> dict[str, Any]:
        ray = EngineConfig(ray_address=cluster.address, timeout_s=timeout_s)
        return ray_training.do_train(tmp_path / out, ray, progress, where="ray", **settings)

    return do


def train_here(out: Path, **settings: Any) -> dict[str, Any]:
    return ray_training.do_train(out, NOT_CONNECTED, **settings)


def training_processes() -> list[psutil.Process]:
    """Return the processes of trainings; Ray names them by what they run."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if "RayTrainWorker" in " ".join(process.info["cmdline"] or []) and process.info["status"] != "zombie"
    ]


def await_no_processes() -> None:
    until = time.monotonic() + 5
    while training_processes():
        assert time.monotonic() < until, "a training process outlived the one that asked for it"
        time.sleep(0.05)


def lose_all_nodes(cluster: Any) -> None:
    """Have the power fail on every node that trains, and others come."""
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    for _ in range(2):
        cluster.add_node(**NODE)


def assert_same_bytes(one: Path, other: Path) -> None:
    names = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    assert names[0] == names[1]
    assert [name for name in names[0] if (one / name).read_bytes() != (other / name).read_bytes()] == []


def test_two_nodes_train_as_two_processes_here_do(do_train: Train, tmp_path: Path) -> None:
    steps: list[int] = []
    here = train_here(tmp_path / "here" / "out")
    there = do_train("there/out", lambda step, steps_, loss: steps.append(step))
    assert (there["losses"], there["grad_norms"]) == (here["losses"], here["grad_norms"])
    assert_same_bytes(tmp_path / "here" / "out", tmp_path / "there" / "out")
    assert steps == [1, 2, 3, 4, 5, 6]
    assert there["devices"] == 2 and there["ray"]["restarts"] == 0 and len(there["ray"]["nodes"]) == 2
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["out", "train_log.jsonl"]
    await_no_processes()


@pytest.mark.slow
def test_a_training_whose_nodes_die_goes_on_elsewhere_to_the_same_bytes(
    cluster: Any, do_train: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first process comes back on another node too."""
    killed: list[int] = []

    def kill(step: int, steps: int, loss: float) -> None:
        if step == 3 and not killed:
            killed.append(step)
            lose_all_nodes(cluster)

    here = train_here(tmp_path / "here" / "out", **LONG)
    there = do_train("there/out", kill, **LONG)
    assert there["resumed_at"] >= 2 and there["ray"]["restarts"] == 1
    assert there["losses"] == here["losses"]
    assert_same_bytes(tmp_path / "here" / "out", tmp_path / "there" / "out")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["out", "train_log.jsonl"]
    said = capfd.readouterr().err
    assert said.count("training goes on from its last checkpoint, in other processes: process ") == 1
    assert "its node has died" in said


@pytest.mark.slow
def test_killed_with_kill_9_all_processes_end_and_the_next_go_on(cluster: Any, do_train: Train, tmp_path: Path) -> None:
    command = [sys.executable, ray_training.__file__, cluster.address, str(tmp_path / "killed" / "out"), "3"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    await_no_processes()
    log = tmp_path / "killed" / "train_log.jsonl"
    written = log.read_bytes()
    assert not (tmp_path / "killed" / "out").exists()
    there = do_train("killed/out", **LONG)
    assert written and log.read_bytes() != written
    assert there["resumed_at"] >= 2 and there["ray"]["restarts"] == 0
    train_here(tmp_path / "here" / "out", **LONG)
    assert_same_bytes(tmp_path / "here" / "out", tmp_path / "killed" / "out")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["out", "train_log.jsonl"]


@pytest.mark.slow
def test_a_loss_too_many_ends_the_training(do_train: Train) -> None:
    def kill(step: int, steps: int, loss: float) -> None:
        if step == 2:
            training_processes()[-1].kill()

    with pytest.raises(TrainError, match=r"more often than train.max_failures = 0 forgives, .* its worker process has"):
        do_train("out", kill, max_failures=0, epochs=100)


@pytest.mark.slow
def test_one_process_on_a_node_trains_as_one_here_does(do_train: Train, tmp_path: Path) -> None:
    train_here(tmp_path / "here" / "out", devices=0)
    there = do_train("there/out", devices=0)
    assert there["devices"] == 1
    assert_same_bytes(tmp_path / "here" / "out", tmp_path / "there" / "out")


def test_an_error_in_a_process_is_told_as_it_is_and_not_tried_again(
    do_train: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ModelError, match=r"^model = 'gguf:no_such_package/x.gguf': the Python package 'no_such_package' is not"
    ):
        do_train("out", start="gguf:no_such_package/x.gguf")
    assert capfd.readouterr().err == ""


def test_a_cluster_that_can_never_hold_so_many_is_not_waited_for(do_train: Train) -> None:
    with pytest.raises(ClusterError, match=r"no room for 4 training processes of 1 CPUs: it holds 2, with 2 CPUs"):
        do_train("out", devices=4)
    with pytest.raises(ClusterError, match=r"no room for 2 training processes of 2 CPUs: it holds 0"):
        do_train("out", worker_cpus=2)
    with pytest.raises(ClusterError, match=r"2 training processes of 1 CPUs and 1 GPU: .* 0 GPUs"):
        do_train("out", worker_gpus=1)


@pytest.mark.slow
def test_room_that_others_take_is_waited_for_only_so_long(cluster: Any, do_train: Train) -> None:
    """By a program that is in the cluster already, and stays there."""
    import ray

    ray.init(cluster.address, log_to_driver=False)
    try:
        held = ray.util.placement_group([{"CPU": 1}])
        assert held.wait(30)
        with pytest.raises(ClusterError, match=r"had no room for 2 training processes of 1 CPUs within 15 s"):
            do_train("out", timeout_s=15)
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        ray_training.do_train(tmp_path / "out", NOT_CONNECTED, where="ray")
    assert list(tmp_path.iterdir()) == []


def test_a_node_without_the_model_is_named(do_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "model")
    monkeypatch.setattr("tpt.train.seen_by_all", lambda spec: (spec, [missing]))
    with pytest.raises(ClusterError, match=rf"node {socket.gethostname()} \([\d.]+\) has no {missing}: every node"):
        do_train("out", start=missing)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_run_trains_its_rounds_on_the_cluster(cluster: Any, tmp_path: Path) -> None:
    weights = []
    for where in ("here", "ray"):
        run = tmp_path / where
        trained = [
            f"train.where={where}",
            "train.devices=2",
            "train.batch_size=4",
            "train.micro_batch_size=2",
            f"engine.ray_address={cluster.address}",
            "threads=2",
        ]
        settings = sets(*TINY, "rounds=2", "problems.max_train=80", "prune.size=20", *trained)
        done = subprocess.run(
            [*ENTRY, "run", str(QUICKSTART), "--out", str(run), *settings], capture_output=True, text=True, timeout=700
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        manifests = [json.loads((run / f"round-{index}" / "train.json").read_text()) for index in (1, 2)]
        assert ["ray" in each["counts"] for each in manifests] == [where == "ray"] * 2
        weights.append([(run / f"round-{index}/checkpoint/model.safetensors").read_bytes() for index in (1, 2)])
    assert weights[0] == weights[1]
