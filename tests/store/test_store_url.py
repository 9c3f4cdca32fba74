"""URLs of object stores: what is refused, and the calls on one in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from tpt.errors import ConfigError
from tpt.store.binding import Timing, working_copy_of
from tpt.store.objects import Store
from tpt.store.url import folder_name
from tpt.system.url import is_url, whole_url


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/run") and is_url(Path("gs://bucket/run"))
    assert not is_url("runs/first") and not is_url("/runs/first") and not is_url(r"C:\runs")
    assert whole_url(Path("s3://bucket/run")) == "s3://bucket/run"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://me:hunter2@bucket/run", "the URL holds credentials"),
        ("s3://bucket/run?access_key=me&secret_key=hunter2", "the URL holds credentials"),
        ("s3://bucket", "expected a bucket and a name in it"),
        ("s3:///run", "expected a bucket and a name in it"),
        ("s3://bucket/run?colour=red", "unknown option colour; known: endpoint_override, region, scheme"),
        ("abfs://bucket/run", "cannot be opened as an object store: Generic MicrosoftAzure error: Account must be"),
        ("file:///data/run", "file:///data/run: name the path itself: /data/run"),
        ("file:/data/run", "name the path itself: /data/run"),
        (
            "https://example.org/run",
            "files are read from this machine. Download it and name the file. A run may lie on a store: s3, ",
        ),
        ("s4://bucket/run", "s4://bucket/run: s4:// cannot be used for runs"),
    ],
)
def test_urls_that_are_refused(fails: Callable[..., str], url: str, said: str, tmp_path: Path) -> None:
    error = fails("status", url)
    assert said in error
    assert "hunter2" not in error


def test_the_calls_on_a_store(tmp_path: Path) -> None:
    objects = MemoryStore()
    store = Store("memory://bucket/run", 1, lambda _: objects)
    assert store.list() == {}
    store.put("a/b.json", b"1")
    store.put("a/b.json", b"12")
    (tmp_path / "file").write_bytes(b"345")
    store.put("c", tmp_path / "file")
    assert {name: found["size"] for name, found in store.list().items()} == {"a/b.json": 2, "c": 3}
    assert store.get("a/b.json") == b"12"
    store.download("c", tmp_path / "deep" / "copy")
    assert (tmp_path / "deep" / "copy").read_bytes() == b"345"
    (tmp_path / "file").write_bytes(b"")
    store.put("c", tmp_path / "file")
    assert store.get("c") == b""
    store.delete("c")
    store.delete("c")
    with pytest.raises(FileNotFoundError):
        store.get("c")


def test_the_working_copy_of_a_url_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPT_CACHE", str(tmp_path))
    first, again = working_copy_of("s3://bucket/runs/first"), working_copy_of(Path("s3://bucket/runs/first"))
    assert first == again and first.name == "first" and first.is_relative_to(tmp_path)
    assert working_copy_of("s3://bucket/other/first") != first
    assert folder_name("s3://b/r?scheme=http&region=x") == folder_name("s3://b/r/?region=x&scheme=http")
    assert working_copy_of("runs/first") == Path("runs/first")


def test_a_period_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPT_STORE_LEASE_S", "soon")
    with pytest.raises(ConfigError, match="TPT_STORE_LEASE_S=soon: expected a number of seconds above 0"):
        Timing.read()
