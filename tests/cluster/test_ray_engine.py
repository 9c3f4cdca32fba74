"""RayEngine on clusters of several nodes on this machine; with Ray itself, so only where it is installed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray_openers
from ray_cluster import NEEDS_RAY, NODE, cluster_of
from ray_openers import HERE, requests, script

from tpt.cluster.engine import RayEngine, open_ray
from tpt.cluster.nodes import connect
from tpt.config import EngineConfig, RunConfig
from tpt.engines import Completion, Engine, Request, Sampling
from tpt.errors import ClusterError, EngineError
from tpt.sampling.open import open_engine

pytestmark = NEEDS_RAY
EMBEDDED = [(2, 30, 31, 32), (5, 6, 7), (9, 10, 11, 12, 13), (40, 41)]
LONG = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=24)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(2, modules=HERE) as found:
        yield found


@pytest.fixture
def open_on(cluster: Any) -> Iterator[Callable[..., RayEngine]]:
    opened = []

    def open_it(opener: Callable[[], Engine], *, files: list[str] | None = None, **settings: Any) -> RayEngine:
        config = EngineConfig(ray_address=cluster.address, **settings)
        engine = open_ray(opener, config, max_length=64, files=files or [])
        opened.append(engine)
        return engine

    yield open_it
    for engine in opened:
        engine.close()


def finish(
    engine: Engine, wanted: list[Request], *, after: Callable[[int], None] = lambda done: None, limit_s: float = 100
) -> dict[tuple[str, int], Completion]:
    """Add requests and step until all are back, each once."""
    for request in wanted:
        engine.add(request)
    done: dict[tuple[str, int], Completion] = {}
    until = time.monotonic() + limit_s
    while len(done) < len(wanted):
        assert time.monotonic() < until, f"only {len(done)} of {len(wanted)} requests finished"
        for completion in engine.step():
            assert completion.id not in done
            done[completion.id] = completion
        after(len(done))
    assert engine.step() == []
    return done


def await_replicas(engine: RayEngine, count: int) -> None:
    """Step, with something to do, until so many replicas have served."""
    batch = 0
    while sum(row["completions"] > 0 and not row["ended"] for row in engine.describe()["replicas"]) < count:
        finish(engine, requests(10, problem=f"wait{count}.{batch}."))
        batch += 1
        assert batch < 300


def test_every_request_is_served_once_by_two_replicas_and_a_faster_one_serves_more(
    open_on: Callable[..., RayEngine], tmp_path: Path
) -> None:
    engine = open_on(partial(ray_openers.open_by_turns, str(tmp_path / "marker")))
    await_replicas(engine, 2)
    before = {row["replica"]: row["completions"] for row in engine.describe()["replicas"]}
    done = finish(engine, requests(60))
    assert {key: completion.text for key, completion in done.items()} == {r.id: script(r) for r in requests(60)}
    described = engine.describe()
    gained = sorted(row["completions"] - before[row["replica"]] for row in described["replicas"])
    assert gained[1] > 3 * gained[0]
    assert engine.slots == 2 * 5 and engine.guarantee == described["guarantee"] == "batch-invariant"
    assert described["replicas_lost"] == 0 and len(described["nodes"]) == 3
    assert sum(row["tokens"] for row in described["replicas"]) >= sum(len(each.token_ids) for each in done.values())


def test_cancelled_requests_are_counted_and_do_not_come_back(open_on: Callable[..., RayEngine]) -> None:
    engine = open_on(partial(ray_openers.open_paced, 0.05))
    first, second = requests(10, problem="first"), requests(10, problem="second")
    for request in first + second:
        engine.add(request)
    engine.step()
    tokens = engine.cancel({request.id for request in first})
    assert 0 < tokens <= sum(len(script(request)) + 1 for request in first)
    done: set[tuple[str, int]] = set()
    while len(done) < 10:
        done |= {completion.id for completion in engine.step()}
    assert done == {request.id for request in second}
    assert finish(engine, first).keys() == {request.id for request in first}, "they can be asked for again"


def test_the_request_that_replicas_die_of_is_named(open_on: Callable[..., RayEngine]) -> None:
    engine = open_on(ray_openers.open_fatal)
    for request in [*requests(30), *(Request(("fatal", 7), (1,), 1, ray_openers.SAMPLING),)]:
        engine.add(request)
    with pytest.raises(EngineError, match=r"problem 'fatal', sample 7: 3 replicas ended .* nothing else to do"):
        for _ in range(1000):
            engine.step()


def test_a_replica_that_cannot_start_says_where_and_why(open_on: Callable[..., RayEngine]) -> None:
    with pytest.raises(EngineError, match=rf"node {socket.gethostname()} .*: this engine cannot be opened"):
        open_on(ray_openers.open_nothing)


@pytest.mark.slow
def test_replicas_that_die_while_they_load_are_not_started_forever(open_on: Callable[..., RayEngine]) -> None:
    with pytest.raises(EngineError, match=r"\d replicas in a row ended while they loaded the model"):
        open_on(ray_openers.open_fatally)


def test_a_node_without_the_model_is_named(open_on: Callable[..., RayEngine], tmp_path: Path) -> None:
    missing = str(tmp_path / "checkpoint")
    with pytest.raises(ClusterError, match=rf"node {socket.gethostname()} \([\d.]+\) has no {missing}: every node"):
        open_on(ray_openers.open_paced, files=[str(tmp_path), missing])


def test_a_replica_that_fits_nowhere_is_not_waited_for_forever(open_on: Callable[..., RayEngine]) -> None:
    with pytest.raises(
        EngineError, match=r"no node .* within 1 s .*: one takes 1 CPUs and 2 GPUs, and there are .*0 GPUs"
    ):
        open_on(ray_openers.open_paced, replica_gpus=2, timeout_s=1)


def test_a_request_that_can_never_be_served_is_refused(open_on: Callable[..., RayEngine]) -> None:
    engine = open_on(ray_openers.open_paced, replicas=1)
    engine.add(requests(1)[0])
    with pytest.raises(EngineError, match="in flight already"):
        engine.add(requests(1)[0])
    with pytest.raises(EngineError, match=r"more than engine\.max_length = 64"):
        engine.add(Request(("long", 0), (1,) * 60, 1, ray_openers.SAMPLING))


def test_replicas_of_hf_give_the_bits_of_one_hf_engine(cluster: Any, tmp_path: Path, one_thread: None) -> None:
    """The embedded model, batch-invariant; through the config, as a stage opens it."""
    engine = {"batch_invariant": True, "slots": 8, "max_length": 64}
    base = {"model": "embedded", "threads": 1, "problems": {"train": "tiny", "heldout": "tiny"}}
    wanted = [
        Request((f"p{index}", sample), prompt, 100 * index + sample, LONG)
        for index, prompt in enumerate(EMBEDDED)
        for sample in range(6)
    ]
    on_ray = {"name": "ray", "ray_address": cluster.address}
    done = []
    for settings in ({"name": "hf"}, on_ray):
        config = from_config({**base, "engine": {**engine, **settings}})
        opened = open_engine(config, "embedded", cache=tmp_path, longest=64)
        try:
            done.append(finish(opened, wanted))
            assert opened.guarantee == "batch-invariant"
        finally:
            opened.close()
    assert done[0] == done[1]


def from_config(table: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(table)


def test_a_killed_driver_leaves_no_replica_behind(cluster: Any) -> None:
    code = (
        "import ray_openers, time; from tpt.cluster.engine import open_ray; "
        "from tpt.config import EngineConfig; "
        f"config = EngineConfig(ray_address={cluster.address!r}); "
        "engine = open_ray(ray_openers.open_paced, config, max_length=64, files=[]); "
        "print('open', flush=True); time.sleep(100)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None and driver.stdout.readline() == "open\n"
    assert replicas()
    driver.kill()
    driver.wait()
    until = time.monotonic() + 30
    while replicas():
        assert time.monotonic() < until, "replicas live on"
        time.sleep(0.2)


def replicas() -> list[psutil.Process]:
    """Return the processes that Ray calls a replica."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "ray::Replica" in " ".join(process.info["cmdline"] or [])
    ]


def test_nodes_may_be_lost_and_others_join_while_it_works(
    cluster: Any, open_on: Callable[..., RayEngine], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The last test on this cluster, which it changes."""
    engine = open_on(partial(ray_openers.open_paced, 0.03))
    await_replicas(engine, 2)
    lost = []

    def lose_one(done: int) -> None:
        if done > 20 and not lost:
            lost.append(cluster.worker_nodes.copy().pop())
            cluster.remove_node(lost[0], allow_graceful=False)

    # The processes of a lost node may live on for a second.
    wanted = requests(300)
    done = finish(engine, wanted, after=lose_one)
    assert {key: completion.text for key, completion in done.items()} == {r.id: script(r) for r in wanted}
    described = engine.describe()
    assert described["replicas_lost"] == 1 and engine.slots == 5
    assert [bool(row["ended"]) for row in described["replicas"]].count(True) == 1
    without = add_node_without_tpt(cluster, tmp_path)
    until = time.monotonic() + 60
    said = ""
    while "tpt is hidden" not in said:
        finish(engine, requests(5, problem=f"meanwhile{time.monotonic()}."))
        assert time.monotonic() < until
        said += capfd.readouterr().err
    cluster.add_node(**NODE)
    await_replicas(engine, 2)
    assert engine.slots == 10
    engine.close()
    with pytest.raises(ClusterError, match=rf"node {socket.gethostname()} \([\d.]+\) cannot import tpt \(.*hidden\)"):
        open_on(ray_openers.open_paced)
    cluster.remove_node(without)


HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "tpt":
            raise ModuleNotFoundError("tpt is hidden")

sys.meta_path.insert(0, Hidden())
"""


def add_node_without_tpt(cluster: Any, folder: Path) -> Any:
    (folder / "sitecustomize.py").write_text(HIDING, encoding="utf-8")
    return cluster.add_node(**NODE, env_vars={"PYTHONPATH": str(folder)})


@pytest.mark.parametrize("answers", [False, True])
def test_an_address_where_no_cluster_is_is_an_error_soon(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpt.cluster.nodes._ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not answers:
            server.close()
        started = time.monotonic()
        with pytest.raises(ClusterError, match=rf"no Ray cluster answers at '127.0.0.1:{port}'"):
            connect(f"127.0.0.1:{port}")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ray_address": "nowhere"}, "is no address"),
        ({"ray_address": "http://user@host:1"}, "is no address"),
        ({"replica_engine": "vllm", "batch_invariant": True}, "replica_engine = 'vllm' cannot make"),
        ({"replica_gpus": 2}, "uses 1"),
        ({"replica_engine": "vllm", "tensor_parallel_size": 4, "replica_gpus": 2}, "uses 4"),
        ({"device": "cuda"}, "set replica_gpus = 1"),
        ({"device": "cpu", "replica_gpus": 1}, "set replica_gpus = 0"),
        ({"options": {"enforce_eager": True}}, "options are for"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    table = {"model": "embedded", "problems": {"train": "tiny", "heldout": "tiny"}}
    with pytest.raises(ValueError, match=said):
        from_config({**table, "engine": {"name": "ray", **settings}})
