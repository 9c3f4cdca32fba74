"""The line that says how far sampling is."""

from __future__ import annotations

import json
from pathlib import Path

from tpt.sampling.collect import Progress
from tpt.sampling.sample import _shown_on
from tpt.system.progress import Display


def notes(folder: Path, *passes: list[Progress]) -> list[str]:
    """Show the states of passes, each one's in turn, and return the notes in the file beside a run."""
    found, file = [], folder / "progress.json"
    with Display("think", total=10, enabled=False, file=file) as display:
        show = _shown_on(display)
        for states in passes:
            now = Progress(target=10)
            for state in states:
                for name in ("reached", "correct", "tokens", "under_way", "longest_s"):
                    setattr(now, name, getattr(state, name))
                display._last_file = -10.0
                show(now)
                found.append(json.loads(file.read_text())["note"])
    return found


def rate_of(note: str) -> int:
    return int(note.split(", ")[1].split(" tokens/s")[0].replace(",", ""))


def test_tokens_under_way_count_before_anything_has_finished(tmp_path: Path) -> None:
    (note,) = notes(tmp_path, [Progress(10, under_way=5000, longest_s=3.0)])
    assert rate_of(note) > 0 and note.startswith("0 correct, ") and "under way" not in note
    (note,) = notes(tmp_path, [Progress(10, under_way=5000, longest_s=61.4)])
    assert note.endswith("5,000 tokens under way, the longest for 61 s")


def test_tokens_of_finished_samples_count_through_all_passes(tmp_path: Path) -> None:
    first = [Progress(10, reached=3, correct=2, tokens=100_000)]
    one, other = notes(tmp_path, first, [Progress(10, reached=1, correct=1, tokens=50)])
    assert one.startswith("2 correct, ") and other.startswith("3 correct, ")
    assert rate_of(one) > 1000 and rate_of(other) > 1000
