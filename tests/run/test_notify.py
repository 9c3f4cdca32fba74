"""Commands that are told of a run, and trackers: they hear what happened, and whatever they do, the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import ENTRY, QUICKSTART, TINY, Finished, Tpt, sets

from tpt.config import load_config, parse_config
from tpt.errors import RunError
from tpt.evidence import evidence_of
from tpt.evidence.round_numbers import round_numbers, sentence_of
from tpt.report.summary import summary_of
from tpt.rounds import Run
from tpt.run import trackers
from tpt.run.directory import RunDir
from tpt.run.notify import notify
from tpt.run.trackers import Trackers, require_trackers


def told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def resumed(run: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ENTRY, "run", str(run), *sets(*overrides)], capture_output=True, text=True, timeout=280)


def test_a_rounds_numbers_are_those_of_the_report(finished: Finished) -> None:
    run = RunDir(finished.path)
    summary = summary_of(run)
    numbers = round_numbers(summary.records[1], summary.evidence, summary.alarms)
    row = summary.rows[1]
    assert numbers["pass_at_1/strict"] == row.strict.mean and numbers["pass_at_1/lenient"] == row.lenient.mean
    assert row.greedy and numbers["pass_at_1/greedy"] == row.greedy.mean
    parts = sum(numbers[f"gain/{part}"] for part in ("format", "sharpening", "skill"))
    assert parts == pytest.approx(numbers["gain/strict"]) and row.gain and numbers["gain/strict"] == row.gain.mean
    assert numbers["pass_at_k/strict/2"] == row.pass_at_k.mean and numbers["examples"] == row.examples
    assert numbers["tokens/think"] + numbers["tokens/evaluate"] == row.tokens and numbers["tokens/trained"] > 0
    assert numbers["alarms/count"] == sum(alarm.round == 1 for alarm in summary.alarms)
    assert all(isinstance(value, float) for value in numbers.values())
    base = round_numbers(summary.records[0], summary.evidence, summary.alarms)
    assert "gain/strict" not in base and "tokens/think" not in base
    assert sentence_of(summary.records[1], summary.evidence).startswith(f"round 1: {row.strict.mean:.1%} strict")


def test_commands_hear_of_every_round_and_of_the_end(tmp_path: Path) -> None:
    heard = tmp_path / "heard.jsonl"
    keys = [f"notify.on_round=cat >> {heard}", f"notify.on_end=cat >> {heard}; echo no network >&2; exit 7"]
    command = [*ENTRY, "run", str(QUICKSTART), "--out", str(tmp_path / "run"), *sets(*TINY, *keys)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and "gain [95 %]" in done.stdout
    assert "notify.on_end:" in done.stderr and "exit code 7: no network; the run is not affected" in done.stderr
    base, first, end = told(heard)
    assert [each["event"] for each in (base, first, end)] == ["round", "round", "end"]
    assert (base["round"], first["round"], first["rounds"], first["name"]) == (0, 1, 1, "run")
    assert end["ended"] == "finished" and end["numbers"] == first["numbers"]
    run = RunDir(tmp_path / "run")
    records = Run(run.path).records()
    assert first["numbers"] == round_numbers(records[1], evidence_of(run, records), [])
    # A finished run that is resumed with another command has no new round to tell of.
    again = resumed(run.path, f"notify.on_round=cat >> {heard}", "notify.on_end=")
    assert again.returncode == 0 and len(told(heard)) == 3


def test_an_error_is_an_end_too(tmp_path: Path, finished_copy: Path) -> None:
    heard = tmp_path / "heard.jsonl"
    (finished_copy / "round-1" / "round.json").unlink()
    (finished_copy / "round-1" / "evaluate.json").write_text("{}")
    done = resumed(finished_copy, f"notify.on_end=cat > {heard}")
    assert done.returncode == 1
    (end,) = told(heard)
    assert end["event"] == "end" and end["ended"] == "error" and "evaluate.json" in end["why"]


def test_ctrl_c_is_an_end_too(tmp_path: Path) -> None:
    heard, run = tmp_path / "heard.jsonl", tmp_path / "run"
    command = [*ENTRY, "run", str(QUICKSTART), "--out", str(run), *sets(*TINY, f"notify.on_end=cat > {heard}")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (run / "logs" / "events.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert told(heard)[0]["ended"] == "interrupted"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exit 3", "ended with exit code 3;"),
        ("no-such-command-here", "ended with exit code 127: "),
        ("printf 'a\\nb\\033[2J\\n' >&2; false", "exit code 1: b\\u{1b}[2J;"),
        ("sleep 60", "was ended after 0.5 s (notify.timeout_s)"),
        ("sleep 61 & sleep 62", "was ended after 0.5 s"),
        ("\0", "could not be run"),
        ("true", ""),
        ("exec 0<&-; yes | head -c 100000", ""),
    ],
)
def test_whatever_a_command_does_is_one_line(command: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    notify("notify.on_round", command, {"round": 1}, timeout_s=0.5)
    assert time.monotonic() - begun < 20
    out, err = capfd.readouterr()
    assert out == "" and (said in err if said else err == "") and err.count("\n") <= 1
    left = [each for each in psutil.Process().children(recursive=True) if each.name() == "sleep"]
    assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE]


def test_a_process_that_a_command_leaves_behind_holds_nobody_up() -> None:
    begun = time.monotonic()
    notify("notify.on_end", "sleep 5 &", {}, timeout_s=30)
    assert time.monotonic() - begun < 4


def test_a_tracker_that_is_not_there_is_refused_before_anything_is_computed(tpt: Tpt, tmp_path: Path) -> None:
    missing = [name for name in ("mlflow", "wandb") if not trackers.is_installed(name)]
    if not missing:
        pytest.skip("all trackers are installed")
    config = parse_config({"train": {"report_to": missing}})
    with pytest.raises(RunError, match=f"not installed: .*pip install {missing[0]}"):
        require_trackers(config)
    require_trackers(parse_config({"rounds": 0, "train": {"report_to": missing}}))
    reported = f"train.report_to={json.dumps(missing)}"
    result = tpt("run", QUICKSTART, "--out", tmp_path / "run", *sets(*TINY, reported))
    assert result.code == 1 and "pip install" in result.err and not (tmp_path / "run" / "round-0").exists()


def test_a_tracker_that_fails_is_given_what_it_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[tuple[int, float]] = []
    reachable = False

    def opened(run: RunDir, config: object, known: dict[str, Any]) -> Any:
        def log(numbers: Mapping[str, float], index: int) -> None:
            if not reachable:
                raise ConnectionError("no route to host")
            taken.append((index, numbers["pass_at_1/strict"]))
            print("see https://example.org/run")

        return log, lambda: None

    monkeypatch.setitem(trackers._OPENERS, "mlflow", opened)
    config = parse_config({"train": {"report_to": ["mlflow"]}})
    rounds = {index: {"pass_at_1/strict": index / 10} for index in range(3)}
    first = Trackers(RunDir(tmp_path), config)
    first.log({0: rounds[0]})
    assert "mlflow did not take the round's numbers: ConnectionError: no route to host" in capsys.readouterr().err
    reachable = True
    first.log({index: rounds[index] for index in (0, 1)})
    first.close()
    # Another process: what was taken is not given again.
    Trackers(RunDir(tmp_path), config).log(rounds)
    assert taken == [(0, 0.0), (1, 0.1), (2, 0.2)]
    out, err = capsys.readouterr()
    assert out == "" and "example.org" in err


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_real_tracker_is_resumed_by_the_next_process(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    code = (
        "import sys, json; from tpt.config import parse_config; from tpt.run.trackers import Trackers\n"
        "from tpt.run.directory import RunDir\n"
        f"config = parse_config({{'train': {{'report_to': ['{name}']}}}})\n"
        f"trackers = Trackers(RunDir({str(tmp_path / 'run')!r}), config)\n"
        "trackers.log({index: {'pass_at_1/strict': index / 8} for index in range(int(sys.argv[1]))})\n"
        "trackers.close()"
    )
    own = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }
    for count in ("2", "3"):
        command = [sys.executable, "-c", code, count]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, env={**os.environ, **own})
        assert done.returncode == 0 and "not affected" not in done.stderr, done.stderr
        assert done.stdout == ""
    assert json.loads((tmp_path / "run" / "logs" / "trackers.json").read_text())[name]["rounds"] == [0, 1, 2]
    expected = [(0, 0.0), (1, 0.125), (2, 0.25)]
    assert READERS[name](tmp_path) in (expected, None)


def _of_tensorboard(folder: Path) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "run" / "logs" / "tensorboard"))
    events.Reload()
    return [(each.step, each.value) for each in events.Scalars("pass_at_1/strict")]


def _of_mlflow(folder: Path) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs(["0"])
    assert run.info.run_name == "run-rounds" and run.info.status == "FINISHED"
    return [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "pass_at_1/strict")]


def _of_trackio(folder: Path) -> list[tuple[int, float]]:
    import sqlite3

    (path,) = (folder / "trackio").glob("*.db")
    with sqlite3.connect(path) as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert len({row[0] for row in rows}) == 1
    return [(step, json.loads(metrics)["pass_at_1/strict"]) for _, step, metrics in rows]


READERS: dict[str, Any] = {
    "tensorboard": _of_tensorboard,
    "mlflow": _of_mlflow,
    "wandb": lambda folder: None,  # its offline files are its own format
    "trackio": _of_trackio,
}


def test_notifying_needs_no_new_run(finished: Finished) -> None:
    config = load_config(finished.path / "config.toml", ["notify.on_round=cat", "notify.timeout_s=3"])
    assert not Run(finished.path, config).stop_reason([])
    from tpt.run.resumed_config import changed_keys

    assert changed_keys(RunDir(finished.path), config) == ""
