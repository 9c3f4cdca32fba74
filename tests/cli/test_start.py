"""Where users begin: the short and the full config, its schema, completion of the shell, and the look at the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_line import ENTRY, Tpt

from tpt.cli import doctor
from tpt.cli.actions import EXAMPLES, example_config
from tpt.cli.doctor import Found, examined, findings_text
from tpt.config import PRESETS, RunConfig, config_schema, parse_config, render_toml
from tpt.config.toml import OFTEN_SET

SHIPPED = sorted(
    path.relative_to(EXAMPLES).as_posix()[:-5] for path in [*EXAMPLES.glob("*.toml"), *EXAMPLES.glob("paper/*.toml")]
)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_short_config_is_the_same_config(name: str) -> None:
    config = example_config(name, ["think.top_p=0.9", "stop.patience=3"])
    short, full = render_toml(config, short=True), render_toml(config)
    assert parse_config(tomllib.loads(short)) == parse_config(tomllib.loads(full)) == config
    assert len(short.splitlines()) < len(full.splitlines()) / 2
    assert "patience = 3" in short and "top_p = 0.9" in short and "stderrs" not in short


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "distilled"])
def test_a_presets_values_need_not_be_written(preset: str) -> None:
    config = parse_config({"preset": preset})
    short = render_toml(config, short=True)
    assert parse_config(tomllib.loads(short)) == config and "correct_only" not in short


def test_the_often_set_keys_are_keys() -> None:
    for section, keys in OFTEN_SET.items():
        of: Any = RunConfig.model_fields[section].default if section else RunConfig
        assert set(keys) <= set((of if section == "" else type(of)).model_fields)


def test_init_is_short_and_full_has_every_key(tpt: Tpt) -> None:
    short, full = tpt("init"), tpt("init", "--full")
    assert short.code == full.code == 0 and len(short.out.splitlines()) < 75
    assert "tpt init --full" in short.out and "tpt init --full" not in full.out
    table = tomllib.loads(full.out)
    for name, field in RunConfig.model_fields.items():
        keys = getattr(type(field.default), "model_fields", None)
        assert name in table and (keys is None or set(keys) == set(table[name]))


def test_the_schema_knows_every_key_and_what_it_means(tpt: Tpt) -> None:
    code, out, err = tpt("schema")
    assert (code, err) == (0, "")
    schema = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(schema)
    sections = {name: each["$ref"].split("/")[-1] for name, each in schema["properties"].items() if "$ref" in each}
    assert len(sections) == 12
    for name in sections.values():
        assert all(key.get("description") for key in schema["$defs"][name]["properties"].values()), name
    assert schema["properties"]["preset"]["enum"] == list(PRESETS)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_keeps_to_the_schema(name: str) -> None:
    jsonschema.validate(tomllib.loads((EXAMPLES / f"{name}.toml").read_text()), config_schema())


@pytest.mark.parametrize(
    ("table", "allowed"),
    [
        ({"evaluate": {"also": ["svamp", {"source": "mbpp:x", "max": 3}]}}, True),
        ({"prune": {"size": "all"}, "train": {"learning_rate": 1}}, True),
        ({"prune": {"size": "most"}}, False),
        ({"think": {"sampels": 3}}, False),
        ({"preset": "stra"}, False),
        ({"evaluate": {"also": [3]}}, False),
        ({"train": {"report_to": ["wandbb"]}}, False),
    ],
)
def test_an_editor_marks_what_loading_would_refuse(table: dict[str, Any], allowed: bool) -> None:
    assert jsonschema.Draft202012Validator(config_schema()).is_valid(table) == allowed


def test_help_needs_no_library_but_the_command_lines_own() -> None:
    code = (
        "import sys\nfrom tpt.cli.app import app\nimport contextlib, io\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    app(['--help'], prog_name='tpt')\n"
        "assert 'doctor' in out.getvalue()\n"
        "heavy = {'numpy', 'pydantic', 'msgspec', 'torch', 'httpx', 'httpx2', 'obstore', 'tpt.rounds'}\n"
        "print(*sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", {"COMP_WORDS": "tpt st", "COMP_CWORD": "1"}), ("zsh", {"_TYPER_COMPLETE_ARGS": "tpt st"})],
)
def test_the_shell_completes_commands(shell: str, words: dict[str, str]) -> None:
    environment = {**os.environ, "_TPT_COMPLETE": f"complete_{shell}", **words}
    done = subprocess.run(ENTRY, capture_output=True, text=True, timeout=60, env=environment)
    assert "status" in done.stdout and "report" not in done.stdout


def test_the_shell_completes_options() -> None:
    words = {"_TPT_COMPLETE": "complete_bash", "COMP_WORDS": "tpt report --ht", "COMP_CWORD": "2"}
    done = subprocess.run(ENTRY, capture_output=True, text=True, timeout=60, env={**os.environ, **words})
    assert set(done.stdout.split()) == {"--html", "--html-to", "--html-traces"}


def test_the_completion_script_is_for_the_command_itself() -> None:
    environment = {**os.environ, "_TPT_COMPLETE": "source_bash"}
    done = subprocess.run(ENTRY, capture_output=True, text=True, timeout=60, env=environment)
    assert "complete -o default -F _tpt_completion tpt" in done.stdout


def test_doctor_looks_at_this_machine(tpt: Tpt, tmp_path: Path) -> None:
    code, out, err = tpt("doctor", tmp_path, "--format", "json")
    found = {each["name"]: each for each in json.loads(out)}
    assert err == "" and code == int(any(each["state"] == "broken" for each in found.values()))
    assert {"tpt", "libraries", "processor", "sandbox", "disk", "memory", "Hub token", "extra vllm", "trackers"} <= set(
        found
    )
    import torch

    assert f"torch {torch.__version__}".split("+")[0] in found["libraries"]["said"]
    assert "number format auto takes" in found["processor"]["said"] and str(tmp_path) in found["disk"]["said"]
    for each in found.values():
        assert each["state"] == "ok" or each["mend"] or each["name"] == "sandbox"


def test_doctor_never_prints_the_token(tpt: Tpt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghij")
    out = tpt("doctor").out
    assert "abcdefghij" not in out and "present (not shown)" in out


def test_doctor_says_what_is_broken_and_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_installed", lambda name: name != "trl" and name != "peft")
    found = {each.name: each for each in (*doctor._versions(), *doctor._optional())}
    assert found["extra lora"].mend == "pip install 'think-prune-train[lora]'"
    broken = next(each for each in doctor._versions() if each.state == "broken")
    assert broken.said == "missing: trl" and broken.mend == "pip install trl"
    monkeypatch.setattr(doctor, "_SCARCE_GIB", 1e9)
    assert doctor._disk(tmp_path / "not" / "there").state == "broken"


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_doctors_lines_fit(width: int) -> None:
    found = [
        Found("sandbox", "off", "no bubblewrap: programs of a model cannot be judged " * 3, "apt-get install " * 6)
    ]
    text = findings_text([*found, Found("libraries", "broken", "missing: torch", "pip install torch")], width=width)
    assert max(map(len, text.split("\n"))) <= width
    assert text.endswith("No run can work before this is mended: libraries.")


def test_the_sandbox_is_tried_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    from tpt.sandbox import bubblewrap

    bubblewrap.why_not.cache_clear()
    try:
        found = next(each for each in examined(Path()) if each.name == "sandbox")
        assert found.state == "off" and "apt-get install bubblewrap" in found.mend
    finally:
        bubblewrap.why_not.cache_clear()
