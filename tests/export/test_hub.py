"""To the Hub and as a dataset: the real client against a stand-in server, the real reader on the folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import ENTRY, Finished
from datasets import load_dataset
from hub_stub import HubStub

from tpt.export.hub import check_repo
from tpt.records import Example
from tpt.run.directory import RunDir
from tpt.system.jsonl import read_records


@pytest.fixture
def hub() -> Iterator[HubStub]:
    with HubStub() as stub:
        yield stub


def tpt(hub: HubStub | None, *arguments: object, token: str = "hf_test") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1", "HF_HOME": "/nonexistent"}
    if hub:
        environment["HF_ENDPOINT"] = hub.url
    command = [*ENTRY, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)


def test_a_model_is_pushed_private_with_its_card_and_result(finished: Finished, hub: HubStub, tmp_path: Path) -> None:
    out = tmp_path / "my-model"
    result = ("--eval-result", "me/bench:words")
    done = tpt(hub, "export", finished.path, "--round", 1, "--to", out, "--push", "me/my-model", *result)
    assert done.returncode == 0, done.stderr
    assert hub.created[0]["name"] == "my-model" and hub.created[0]["visibility"] == "private"
    assert hub.tokens == {"Bearer hf_test"} and "hf_test" not in done.stdout + done.stderr
    there = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert hub.files == there
    entry = there[".eval_results/tpt.yaml"].decode()
    assert "id: me/bench" in entry and "task_id: words" in entry and "pass@1 over" in entry


def test_a_dry_run_asks_nobody_and_needs_no_token(finished: Finished, hub: HubStub, tmp_path: Path) -> None:
    out = tmp_path / "my-model"
    options = ("--push", "me/my-model", "--public", "--dry-run", "--format", "json")
    done = tpt(hub, "export", finished.path, "--round", 0, "--to", out, *options, token="")
    assert done.returncode == 0, done.stderr
    assert '"visibility": "public"' in done.stdout and "model.safetensors" in done.stdout
    assert not hub.asked and (out / "model.safetensors").exists()


def test_what_the_hub_refuses_is_said_and_the_folder_stays(finished: Finished, hub: HubStub, tmp_path: Path) -> None:
    hub.refuse = 403
    done = tpt(hub, "export", finished.path, "--round", 1, "--to", tmp_path / "m", "--push", "me/m")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--push me/m: the Hub did not take it" in done.stderr and "hf upload me/m" in done.stderr
    assert (tmp_path / "m" / "README.md").exists()
    done = tpt(None, "export", finished.path, "--round", 1, "--to", tmp_path / "n", "--push", "me/m", token="")
    assert done.returncode == 2 and "no token of the Hub here: hf auth login, or set HF_TOKEN" in done.stderr


@pytest.mark.parametrize("name", ["model", "a/b/c", "a b/c", "-x/y", "me/" + "n" * 200])
def test_a_name_that_is_none_is_refused_first(finished: Finished, tmp_path: Path, name: str) -> None:
    from tpt.errors import ConfigError

    with pytest.raises(ConfigError, match="--push"):
        check_repo(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--public"], "--public says how to upload: add --push OWNER/NAME"),
        (["--dry-run"], "--dry-run says how to upload: add --push OWNER/NAME"),
        (["--dataset", "--gguf", "--round", "1"], "leave out --round, --gguf"),
        (["--dataset", "--dtype", "bfloat16", "--merge"], "leave out --dtype, --merge"),
        (["--dataset", "--eval-result", "openai/gsm8k"], "leave out --eval-result"),
    ],
)
def test_an_option_without_what_it_is_for_is_not_passed_over(
    options: list[str], said: str, finished: Finished, tmp_path: Path, fails: Callable[..., str]
) -> None:
    assert said in fails("export", finished.path, "--to", tmp_path / "m", *options, code=2)
    assert not (tmp_path / "m").exists()


def test_a_dataset_of_examples_and_traces(finished: Finished, hub: HubStub, tmp_path: Path) -> None:
    out = tmp_path / "my-traces"
    done = tpt(hub, "export", finished.path, "--dataset", "--to", out, "--push", "me/my-traces")
    assert done.returncode == 0, done.stderr
    assert hub.created[0]["type"] == "dataset" and "traces/round_1.parquet" in hub.files
    examples = load_dataset(str(out), "examples", split="round_1", cache_dir=str(tmp_path / "cache"))
    kept = read_records(RunDir(finished.path).round(1).examples, Example)
    assert [row["messages"] for row in examples] == [each.messages for each in kept]
    traces = load_dataset(str(out), "traces", split="round_1", cache_dir=str(tmp_path / "cache"))
    assert {"question", "answer", "completion", "outcome", "strict"} <= set(traces.column_names)
    again = tpt(None, "export", finished.path, "--dataset", "--to", out)
    assert again.returncode == 1 and "exists already" in again.stderr
    assert tpt(None, "export", finished.path, "--dataset", "--to", out, "--force").returncode == 0


def test_an_export_of_the_base_model_says_why(finished: Finished, tmp_path: Path) -> None:
    done = tpt(None, "export", finished.path, "--to", tmp_path / "m")
    best = (finished.path / "best").read_text()
    assert ("no round was significantly better" in done.stdout) == (best == "round-0\n")
