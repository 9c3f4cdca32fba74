"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NEEDS_RAY = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed; make test-ray tests with it"),
    pytest.mark.filterwarnings("ignore"),
]
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@contextmanager
def cluster_of(workers: int, *, modules: Path) -> Iterator[Any]:
    """A head that is given no work, and nodes of one CPU each, which find what lies in ``modules``."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(modules), *filter(None, [before])])
    # Ray's own settings take a quarter of a minute to find out that a machine is gone.
    soon = {"health_check_period_ms": 1000, "health_check_failure_threshold": 2, "health_check_initial_delay_ms": 1000}
    os.environ.setdefault("RAY_worker_niceness", "0")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "_system_config": soon})
    try:
        for _ in range(workers):
            cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
