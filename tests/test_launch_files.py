"""The launch files and their guide: they parse, name commands, keys and recipes that exist, and the Slurm script runs."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from command_line import QUICKSTART, TINY

from tpt.cli.actions import example_config
from tpt.cli.app import app
from tpt.config import RunConfig, Section, load_config, parse_config, render_toml
from tpt.errors import RunError
from tpt.run.directory import RunDir
from tpt.run.lock import lock

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "launch"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
GUIDES = [ROOT / "docs" / "launch.md", ROOT / "docs" / "results" / "paper.md"]
COMMANDS: Any = typer.main.get_command(app)


def fenced(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def shell_texts() -> list[tuple[str, str]]:
    """Every piece of shell there is, by where it stands."""
    found = [(path.name, path.read_text(encoding="utf-8")) for path in FILES if path.suffix == ".sbatch"]
    found += [(f"{path.name} {number}", text) for path in GUIDES for number, text in enumerate(fenced(path, "sh"))]
    sky = yaml.safe_load((FOLDER / "sky.yaml").read_text(encoding="utf-8"))
    found += [(f"sky.yaml {key}", sky[key]) for key in ("setup", "run")]
    _, job = yaml.safe_load_all((FOLDER / "job.yaml").read_text(encoding="utf-8"))
    return [*found, ("job.yaml", job["spec"]["template"]["spec"]["containers"][0]["args"][0])]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in shell_texts()])
def test_the_shell_is_shell(text: str) -> None:
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [*FILES, *GUIDES], ids=lambda path: path.name)
def test_the_commands_keys_and_recipes_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = "\n".join(each for language in ("sh", "toml", "dockerfile") for each in fenced(path, language))
    text = text.replace("\\\n", " ")
    # At the start of a line, in a comment that shows a command, or after what starts it.
    called = re.findall(r"(?:^ *|^#  +|'|\b(?:exec|srun|nohup) )tpt ([a-z][a-z-]*)(.*)", text, re.MULTILINE)
    assert called
    for name, rest in called:
        assert name in COMMANDS.commands, name
        options = {option for each in COMMANDS.commands[name].params for option in each.opts}
        given = re.split(r" (?:&&|>>?|\||#) ", rest)[0]
        assert set(re.findall(r" (--[a-z-]+)", given)) <= options, rest
    for key in re.findall(r"--set ([a-z_.]+)=", text):
        assert known_key(key), key
    for recipe in re.findall(r"\b(paper/[a-z0-9.-]+[a-z0-9])(?![\w/-])", text):
        example_config(recipe.removesuffix(".toml"), [])


def known_key(key: str) -> bool:
    section, _, name = key.rpartition(".")
    model: Any = RunConfig.model_fields[section].annotation if section else RunConfig
    return issubclass(model, Section) and name in model.model_fields


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_the_keys_that_a_guide_speaks_of_exist(path: Path) -> None:
    sections = [name for name, value in RunConfig() if isinstance(value, Section)]
    spoken = re.findall(rf"`((?:{'|'.join(sections)})\.[a-z_]+)", path.read_text(encoding="utf-8"))
    assert spoken
    assert [key for key in spoken if not known_key(key)] == []
    for block in fenced(path, "toml"):
        parse_config(tomllib.loads(block), where=path.name)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_links_of_a_guide_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not link.startswith("http") and not (path.parent / link).exists()] == []


def test_every_launch_file_is_in_the_guide() -> None:
    guide = GUIDES[0].read_text(encoding="utf-8")
    assert [path.name for path in FILES if f"examples/launch/{path.name}" not in guide] == []


def test_kubernetes_files_hold_together() -> None:
    claim, job = yaml.safe_load_all((FOLDER / "job.yaml").read_text(encoding="utf-8"))
    pod = job["spec"]["template"]["spec"]
    assert (claim["kind"], job["kind"], pod["restartPolicy"]) == ("PersistentVolumeClaim", "Job", "Never")
    shared, cluster = yaml.safe_load_all((FOLDER / "kuberay.yaml").read_text(encoding="utf-8"))
    assert shared["spec"]["accessModes"] == ["ReadWriteMany"]
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    pods = [each["template"]["spec"] for each in groups]
    assert len({each["containers"][0]["image"] for each in pods}) == 1
    for each, volume in [(pod, claim), *((each, shared) for each in pods)]:
        mounted = {mount["name"] for mount in each["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in each["volumes"]}
        assert each["volumes"][0]["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
    # The pods that train have as many GPUs as the recipe they run wants; the one that only runs tpt has none.
    assert "limits" not in pods[0]["containers"][0]["resources"]
    for trains, named in ((pod, "paper/gemma-2-9b-it"), (pods[1], "paper/gemma-2-9b-it")):
        assert (
            trains["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == example_config(named, []).train.devices
        )


def test_a_recipe_can_be_sampled_and_trained_on_a_ray_cluster() -> None:
    text = (FOLDER / "kuberay.yaml").read_text(encoding="utf-8")
    overrides = re.findall(r"--set ([a-z_.]+=\w+)", text)
    config = example_config("paper/gemma-2-9b-it", overrides)
    assert (config.engine.name, config.engine.replica_engine, config.train.where) == ("ray", "vllm", "ray")


def test_the_slurm_script_begins_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    """With an srun that does the command here."""
    for name, line in (("srun", 'exec "$@"'), ("tpt", f'exec {sys.executable} -m tpt "$@"')):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    config, run = tmp_path / "small.toml", tmp_path / "runs" / "small"
    config.write_text(render_toml(load_config(QUICKSTART, TINY)), encoding="utf-8")
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "RUN": str(run)}
    environment |= {"RECIPE": str(config), "HF_HOME": str(tmp_path / "hub")}
    environment.pop("TPT_ENV", None)
    script = ["bash", str(FOLDER / "slurm.sbatch")]
    first = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=140)
    assert first.returncode == 0, first.stderr
    report = (run / "report.md").read_bytes()
    config.unlink()
    second = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=140)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout
    assert (run / "report.md").read_bytes() == report
    environment.pop("RECIPE")
    assert "RECIPE" in subprocess.run(script, env=environment, capture_output=True, text=True, timeout=10).stderr


def test_the_slurm_script_for_several_nodes_begins_a_run_on_ray_and_goes_on_with_it(tmp_path: Path) -> None:
    """With an srun and a ray that do the command here, and a tpt that writes down what it is asked."""
    told = tmp_path / "told"
    commands = {
        "srun": 'exec "$@"',
        "ray": f'printf "%s " "$@" >> {told}; while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
        "tpt": f'if [ "$1" = init ]; then exec {sys.executable} -m tpt "$@"; fi; printf "%s\\n" "$*" >> {told}',
    }
    for name, line in commands.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
    run = tmp_path / "run"
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "RUN": str(run),
        "HEAD": "10.0.0.1",
    }
    environment |= {"RECIPE": "paper/gemma-2-9b-it", "SLURM_JOB_NUM_NODES": "3", "TMPDIR": str(tmp_path)}
    environment.pop("TPT_ENV", None)
    for _ in range(2):
        done = subprocess.run(
            ["bash", str(FOLDER / "slurm-ray.sbatch")], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        run.mkdir(exist_ok=True)
        (run / "config.toml").touch()
    first, second = told.read_text().splitlines()
    started = "symmetric-run --address 10.0.0.1:6379 --min-nodes 3 -- tpt run "
    assert first.startswith(started) and second == f"{started}{run} run {run}"
    begun = first.rpartition(" run ")[2].split()
    config = load_config(Path(begun[0]), begun[4::2])
    assert begun[1:3] == ["--out", str(run)] and set(begun[3::2]) == {"--set"}
    assert (config.engine.name, config.verify.where, config.train.where) == ("ray", "ray", "ray")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_explained(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match="cannot be locked on this file system"), lock(RunDir(tmp_path / "run")):
        pass
