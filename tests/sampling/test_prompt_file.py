"""Prompt ids on disk come back as they were, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpt.sampling.prompt_file import PromptFile


def test_prompts_come_back_as_they_were(tmp_path: Path) -> None:
    prompts = {"a": (1, 2, 3), "b/é": (), "c": tuple(range(0, 2**31, 2**20)), "d": (0,)}
    with PromptFile(prompts.items(), tmp_path) as found:
        assert dict(found) == prompts
        assert len(found) == 4 and found.longest == 2048
        assert "e" not in found
        with pytest.raises(KeyError):
            found["e"]
        assert not list(tmp_path.iterdir()), "the file has no name"


def test_no_prompts_are_no_tokens(tmp_path: Path) -> None:
    with PromptFile([], tmp_path) as found:
        assert found.longest == 0 and not found
