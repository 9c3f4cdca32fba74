"""A local S3 server, and runs on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_control import Server

_PYTHON = os.environ.get("TPT_S3_PYTHON", sys.executable)
"""The Python that has moto, if this one does not."""


@pytest.fixture(scope="session")
def running_server() -> Iterator[Server]:
    search = "from importlib.util import find_spec; raise SystemExit(not all(map(find_spec, ('moto', 'flask'))))"
    if subprocess.run([_PYTHON, "-c", search], capture_output=True).returncode:
        pytest.skip("needs a local S3 server: make test-s3")
    command = [_PYTHON, str(Path(__file__).parent / "s3_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield Server(int(process.stdout.readline()))
        process.kill()


@pytest.fixture
def server(running_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server with an empty bucket ``runs``, and an environment to reach it in; children of the test have it too."""
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{running_server.port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "TPT_CACHE": str(tmp_path / "cache"),
        "TPT_STORE_UPLOAD_S": "0.2",
        "TPT_STORE_LEASE_S": "60",
        "TPT_STORE_RETRY_S": "20",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    running_server.faults()
    running_server.rights(anybody=True)
    running_server.send("POST", "/moto-api/reset")
    running_server.send("PUT", "/runs")
    yield running_server
    running_server.faults()
