"""What needs no Ray: the keys of training on it, a process's ranks, and what a session makes of what it is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from paper_models import GEMMA_2_2B

from tpt.cluster.session import Session, WorkerGroup, _told
from tpt.cluster.train import _Process
from tpt.config import TrainConfig, parse_config
from tpt.errors import ClusterError, ConfigError, TrainError
from tpt.model.adapter_folder import seen_by_all
from tpt.sft import check_devices, device_of, ranks
from tpt.sft.distributed import Ranks, init_rank
from tpt.sft.memory import GIB, Plan, shape_of
from tpt.sft.memory_check import check_host
from tpt.train import NO_EFFECT_ON_WEIGHTS


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.where=cluster", r"train\.where = 'cluster': should be 'here' or 'ray'"),
        ("train.worker_gpus=2", r"train\.worker_gpus = 2: should be 'auto', 0 or 1"),
        ("train.worker_cpus=0", r"train\.worker_cpus = 0: should be greater than or equal to 1"),
        ("train.max_failures=-1", r"train\.max_failures = -1: should be greater than or equal to 0"),
        ("engine.ray_address=somewhere", r"engine: ray_address = 'somewhere' is no address"),
    ],
)
def test_keys_are_checked(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({}, ["train.where=ray", override])


def test_where_training_is_done_may_change_and_how_may_not() -> None:
    config = parse_config(
        {}, ["train.where=ray", "train.devices=2", "train.worker_gpus=1", "engine.ray_address=h:6379"]
    )
    assert (config.train.where, config.train.worker_gpus, config.train.max_failures) == ("ray", 1, 3)
    assert {"where", "worker_cpus", "worker_gpus", "max_failures"} <= NO_EFFECT_ON_WEIGHTS
    assert not {"devices", "strategy"} & NO_EFFECT_ON_WEIGHTS


def test_devices_of_a_cluster_are_not_counted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    check_devices(TrainConfig(devices=4, where="ray"))


def test_a_process_trains_on_the_device_of_its_rank_on_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks() == Ranks(0, 1, 0, 1)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    init_rank(Ranks(rank=5, world=8, local_rank=1, local_world=4), threads=3)
    assert ranks() == Ranks(5, 8, 1, 4)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")
    assert [os.environ[name] for name in names] == ["5", "8", "1", "4", "3"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(ranks()) == torch.device("cuda", 1)


def test_only_the_shares_on_the_first_ones_machine_count() -> None:
    plan = Plan(micro_batch_size=1, length=512, devices=4, device="cpu")
    check_host(shape_of(GEMMA_2_2B), plan, TrainConfig(), available=40 * GIB, together=1)
    with pytest.raises(TrainError, match="about 58 GiB"):
        check_host(shape_of(GEMMA_2_2B), plan, TrainConfig(), available=40 * GIB)


def test_a_process_that_was_replaced_is_no_longer_known() -> None:
    session = Session()
    session.enter(0, "old", "a")
    session.enter(1, "other", "b")
    session.tell("old", (1, 9, 0.5))
    assert session.heartbeat(0, "old")
    session.lose({1: "its node has died", 0: "it cannot reach another"})
    session.enter(1, "new other", "c")
    session.enter(0, "new", "c")
    assert not session.heartbeat(0, "old") and not session.heartbeat(1, "other")
    assert session.heartbeat(0, "new") and session.heartbeat(1, "new other")
    session.tell("old", (2, 9, 0.4))
    session.finish("old", {"steps": 9})
    updates = session.updates()
    assert updates.steps == [(1, 9, 0.5)] and updates.result is None and updates.nodes == ["c", "c"]
    assert updates.restarts == ["process 0 on node a, and 1 more: it cannot reach another"]
    session.finish("new", {"steps": 9})
    session.refuse("ModelError", "first")
    session.refuse("TrainError", "second")
    updates = session.updates()
    assert (updates.steps, updates.restarts, updates.result, updates.refusal) == (
        [],
        [],
        {"steps": 9},
        ("ModelError", "first"),
    )
    assert session.updates().refusal == ("ModelError", "first"), "it holds until the session ends"


def test_what_ray_says_of_a_lost_process_is_put_shortly() -> None:
    said = "The actor died.\n\tclass_name: RayTrainWorker\n\tpid: 7\nThe actor is dead because its worker process has died."
    assert _told(RuntimeError(said)) == "its worker process has died."
    assert _told(ValueError("a\nb")) == "ValueError: a b"
    assert len(_told(ValueError("x" * 5000))) < 300


def test_a_node_with_a_folder_of_its_own_under_the_runs_path_does_not_train(tmp_path: Path) -> None:
    def task(tell: object) -> dict[str, object]:
        raise AssertionError("not to be done")

    for written in (None, "of another run"):
        if written is not None:
            (tmp_path / "token").write_text(written)
        process = _Process(task, 1, tmp_path, "mine")
        with pytest.raises(ClusterError, match="put the run directory on a file system that all nodes share"):
            process((0, 2, 0, 1), lambda step, steps, loss: None)


def test_a_models_folder_is_named_as_every_node_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "embedded").mkdir()
    monkeypatch.chdir(tmp_path)
    assert seen_by_all("embedded") == ("embedded", [])
    assert seen_by_all("./embedded") == (str(tmp_path / "embedded"), [str(tmp_path / "embedded")])
    assert seen_by_all("someone/model") == ("someone/model", [])


def test_a_message_says_what_a_training_takes() -> None:
    assert str(WorkerGroup(4, 2, 1, 3)) == "4 training processes of 2 CPUs and 1 GPU"
