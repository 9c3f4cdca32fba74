"""A run takes a folder of its own, and no folder that holds something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpt.config import RunConfig
from tpt.errors import RunError
from tpt.rounds import Run


def config() -> RunConfig:
    return RunConfig.model_validate({"model": "embedded", "problems": {"train": "word_problems?size=4"}})


@pytest.mark.parametrize("name", ["notes.txt", "src", "round-01", "round-1.bak", "config.toml.old"])
def test_a_folder_of_other_files_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(RunError, match=rf"'{name}'.*--out {tmp_path}/run"):
        Run(tmp_path, config())
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["lock", "logs", "cache", "problems.jsonl", "round-1", ".git"])
def test_what_a_killed_start_left_behind_is_a_runs_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert Run(tmp_path, config()).dir.path == tmp_path
