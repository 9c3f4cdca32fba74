"""Who may reach a run on S3, and what is said to those who may not: rights, buckets, keys, endpoints, names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import QUICKSTART, TINY, sets
from s3_control import Server

from tpt.errors import RunError
from tpt.store import downloaded
from tpt.store.objects import Store, open_store
from tpt.store.url import bucket_region, checked, store_options
from tpt.system.jsonl import write_text

URL = "s3://runs/tests/run"


@pytest.fixture
def store(server: Server) -> Store:
    return open_store(URL, patience_s=5)


def test_no_rights(server: Server, fails: Callable[..., str], tmp_path: Path) -> None:
    server.rights(anybody=False)
    error = fails("run", QUICKSTART, "--out", URL, *sets(*TINY))
    assert "no right to" in error and "AWS_ACCESS_KEY_ID" in error and "something" not in error


def test_no_bucket(server: Server, fails: Callable[..., str]) -> None:
    assert "the bucket does not exist" in fails("run", QUICKSTART, "--out", "s3://nowhere/run", *sets(*TINY))


def test_no_run_and_no_server(server: Server, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "s3://runs/none: no run there. Start one with: tpt run" in fails("status", "s3://runs/none")
    monkeypatch.setenv("TPT_STORE_RETRY_S", "0.1")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    url = f"{URL}?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"
    assert "Check the network and the endpoint" in fails("status", url)


def test_keys_and_endpoint_as_users_set_them(
    server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("config.toml", b"seed = 1\n")
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    url = f"{URL}?endpoint_override={endpoint}&scheme=http"
    # Without keys a request goes unsigned.
    assert "config.toml" in open_store(url, patience_s=1).list()
    write_text(tmp_path / ".aws" / "config", "[profile other]\nregion = eu-west-1\ncredential_process = keys\n")
    write_text(tmp_path / ".aws" / "credentials", "[default]\naws_access_key_id = me\naws_secret_access_key = x\n")
    assert store_options(checked(url), "s3")["access_key_id"] == "me"
    assert "config.toml" in open_store(url, patience_s=1).list()
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(RunError, match="the profile has credential_process, which boto3 is needed for"):
        open_store(url, patience_s=1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    assert store_options(checked(url), "s3")["region"] == "eu-west-1"


def test_the_region_of_a_bucket(server: Server) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    assert bucket_region("runs", endpoint) == "us-east-1"
    assert bucket_region("runs", "http://127.0.0.1:9") is None


def test_a_name_that_leads_out_of_the_run(server: Server, store: Store, tmp_path: Path) -> None:
    for name in ("round-1/%2e%2e/%2e%2e/%2e%2e/evil.txt", f"/{tmp_path}/evil.txt"):
        store.put("config.toml", b"seed = 1\n")
        server.send("PUT", f"/runs/tests/run/{name}", "x")
        with pytest.raises(RunError, match=r"cannot be part of a run. Delete it from the store.*evil.txt"):
            downloaded(URL)
        assert not list(tmp_path.rglob("evil.txt"))
        server.send("POST", "/moto-api/reset")
        server.send("PUT", "/runs")
