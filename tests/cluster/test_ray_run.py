"""Whole runs on a Ray cluster whose nodes come and go, and a cluster of separate hosts; minutes, so marked slow."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import ENTRY, QUICKSTART, TINY, sets
from ray_cluster import NEEDS_RAY, NODE, cluster_of
from ray_openers import HERE

pytestmark = [*NEEDS_RAY, pytest.mark.slow, pytest.mark.timeout(1500)]
SMALL = [*TINY, "rounds=2", "evaluate.samples=20", "problems.max_train=80", "prune.size=20"]
RECORDS = ("traces.jsonl", "verdicts.jsonl", "examples.jsonl", "evaluate/traces.jsonl", "evaluate/verdicts.jsonl")


def start(path: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [*ENTRY, "run", str(QUICKSTART), "--out", str(path), *sets(*SMALL, *overrides)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def records(run: Path) -> dict[str, bytes]:
    names = [f"round-{index}/{name}" for index in range(3) for name in RECORDS]
    return {name: (run / name).read_bytes() for name in names if (run / name).exists()}


def await_progress(process: subprocess.Popen[str], run: Path) -> None:
    """Wait until the run has written something: a replica that is killed whenever it has loaded gets nowhere."""

    def written() -> int:
        return sum(path.stat().st_size for name in RECORDS for path in run.glob(f"round-*/{name}"))

    before = written()
    while process.poll() is None and written() <= before:
        time.sleep(0.1)


def engines(run: Path) -> list[dict[str, Any]]:
    """Return what the stages' manifests say of their engines."""
    thought = [json.loads((run / f"round-{index}/think.json").read_text())["counts"]["engine"] for index in (1, 2)]
    scored = [
        json.loads((run / f"round-{index}/evaluate.json").read_text())["settings"]["engine"] for index in range(3)
    ]
    return thought + scored


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hf") / "run"
    run = start(path, "engine.name=hf")
    _, err = run.communicate(timeout=1000)
    assert run.returncode == 0, err
    return path


@pytest.mark.parametrize(("seed", "where"), [(1, "here"), (2, "ray")])
def test_two_rounds_with_nodes_killed_at_random_leave_the_bytes_of_one_hf_engine(
    seed: int, where: str, undisturbed: Path, tmp_path: Path
) -> None:
    moments = random.Random(seed)
    killed = 0
    with cluster_of(2, modules=HERE) as cluster:
        on_nodes = ["engine.name=ray", f"engine.ray_address={cluster.address}", f"verify.where={where}"]
        run = start(tmp_path / "run", *on_nodes)
        while run.poll() is None:
            await_progress(run, tmp_path / "run")
            # Every other one right away: sampling takes a second or two of a stage, and must be hit as well.
            time.sleep(moments.uniform(0, 3) if killed % 2 else moments.uniform(0, 0.2))
            if run.poll() is None:
                workers = sorted(cluster.worker_nodes, key=lambda node: str(node.unique_id))
                cluster.remove_node(moments.choice(workers), allow_graceful=False)
                cluster.add_node(**NODE)
                killed += 1
        _, err = run.communicate()
    assert run.returncode == 0, err
    assert "Traceback" not in err
    assert killed >= 3
    assert records(tmp_path / "run") == records(undisturbed)
    assert len(records(undisturbed)) == 12
    described = engines(tmp_path / "run")
    assert {each["guarantee"] for each in described} == {"batch-invariant"}
    assert sum(each["replicas_lost"] for each in described) >= 1


def test_a_ray_of_its_own_is_started_for_every_stage_and_leaves_nothing_behind(
    undisturbed: Path, tmp_path: Path
) -> None:
    before = ray_processes()
    run = start(tmp_path / "run", "engine.name=ray", "engine.ray_address=local", "engine.replicas=1")
    _, err = run.communicate(timeout=1000)
    assert run.returncode == 0, err
    assert records(tmp_path / "run") == records(undisturbed)
    assert {each["address"] for each in engines(tmp_path / "run")} == {"local"}
    assert ray_processes() <= before


def test_a_run_killed_with_its_own_ray_takes_all_of_it_along(tmp_path: Path) -> None:
    before = ray_processes()
    run = start(tmp_path / "run", "engine.name=ray", "engine.ray_address=local", "engine.replicas=1")
    until = time.monotonic() + 120
    while not (tmp_path / "run/round-0/evaluate/traces.jsonl").exists():
        assert time.monotonic() < until and run.poll() is None
        time.sleep(0.1)
    assert ray_processes() > before
    run.kill()
    run.communicate()
    # Ray's agents of a node notice after a minute that it is gone; all others end at once.
    until = time.monotonic() + 150
    while not ray_processes() <= before:
        assert time.monotonic() < until, "Ray lives on"
        time.sleep(0.2)


def ray_processes() -> set[int]:
    names = ("raylet", "gcs_server", "ray::")
    return {
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["cmdline"]
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and any(name in process.info["cmdline"][0] for name in names)
    }


def may_make_hosts() -> bool:
    """Return whether network namespaces can be made here."""
    if shutil.which("ip") is None or os.geteuid():
        return False
    made = subprocess.run(["ip", "netns", "add", "tpt-try"], capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "delete", "tpt-try"], capture_output=True)
    return made


@contextmanager
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces joined by a cable; the cable ends in each as eth0."""
    names = ["tpt-head", "tpt-far"]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "eth0", "netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            # Ray finds a machine's address by the way it would take out.
            ip("-n", name, "route", "add", "default", "via", "10.77.0.254")
        yield names
    finally:
        for name in names:
            inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in inside:
                subprocess.run(["kill", "-9", pid], capture_output=True)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for those of Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="tpt-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


DRIVER = """
import functools, json, sys
import ray_openers
from tpt.cluster.engine import open_ray
from tpt.config import EngineConfig

opener = functools.partial(ray_openers.open_paced, 0.1)
engine = open_ray(opener, EngineConfig(ray_address="10.77.0.1:6379"), max_length=64, files=[])
wanted = ray_openers.requests(int(sys.argv[1]))
for request in wanted:
    engine.add(request)
done, told = {}, False
while len(done) < len(wanted):
    for completion in engine.step():
        assert completion.id not in done
        done[completion.id] = completion.text
    if not told and sum(row["completions"] > 5 for row in engine.describe()["replicas"]) == 2:
        print("both", flush=True)
        told = True
assert done == {request.id: ray_openers.script(request) for request in wanted}
print(json.dumps(engine.describe()), flush=True)
engine.close()
"""


@pytest.mark.skipif(not may_make_hosts(), reason="no network namespaces here: they need root and iproute2")
def test_requests_of_a_host_that_is_cut_off_go_to_another(short_folder: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": str(short_folder),
    }
    soon = {"health_check_period_ms": 1000, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 2}
    common = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *common]
    with two_hosts() as (head, far):
        heading = ["--head", "--port=6379", "--node-ip-address=10.77.0.1", "--include-dashboard=false"]
        for host, role in (
            (head, [*heading, f"--system-config={json.dumps(soon)}"]),
            (far, ["--address=10.77.0.1:6379", "--node-ip-address=10.77.0.2"]),
        ):
            done = subprocess.run(
                ["ip", "netns", "exec", host, *ray, *role], env=environment, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stdout + done.stderr
        driver = subprocess.Popen(
            ["ip", "netns", "exec", head, sys.executable, "-c", DRIVER, "300"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert driver.stdout is not None and driver.stdout.readline() == "both\n"
        ip("-n", far, "link", "set", "eth0", "down")
        out, _ = driver.communicate(timeout=200)
    described = json.loads(out)
    assert driver.returncode == 0 and described["replicas_lost"] == 1
    assert [row["node"].split()[-1] for row in described["replicas"] if row["ended"]] == ["(10.77.0.2)"]
