"""Samples of other tools, made into problems, traces and verdicts that the statistics here read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tpt.audit.check import check_problems
from tpt.audit.import_rows import read_samples
from tpt.errors import ProblemError, RunError
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.system.jsonl import digest, replace_records, write_json
from tpt.verifiers.judge import judge

R = TypeVar("R")

_SHOWN = 5


class ImportedDir:
    """Where imported samples lie."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.problems = self.path / "problems.jsonl"
        self.traces = self.path / "traces.jsonl"
        self.verdicts = self.path / "verdicts.jsonl"
        self.manifest = self.path / "import.json"

    def exists(self) -> bool:
        """Return whether a finished import is there; its manifest is written last."""
        return self.manifest.is_file()


class _Read(NamedTuple):
    problems: dict[str, Problem]
    traces: list[Trace]
    given: list[Verdict]
    """The other tool's verdicts; empty where there are none."""


def import_samples(file: Path, to: Path, *, kind: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """Read a file of samples, judge them by the verifier of ``kind`` unless verdicts came along, and write the folder.

    Returns:
        What was done, as it stands in import.json.

    Raises:
        ConfigError: a field that columns are mapped to is unknown.
        ProblemError: the file is no file of samples, or most gold answers fail the verifier.
        RunError: the folder is taken.
    """
    out = ImportedDir(to)
    ours = {out.problems, out.traces, out.verdicts}
    if out.exists() or (out.path.exists() and any(each not in ours for each in out.path.iterdir())):
        raise RunError(f"{out.path}: not an empty folder. Name another one with --to, or delete it")
    read = _read(file, kind, columns)
    bad = [] if read.given else _bad_golds(read.problems, kind, file)
    verdicts = read.given or judge(read.traces, read.problems)
    replace_records(out.problems, read.problems.values())
    replace_records(out.traces, read.traces)
    replace_records(out.verdicts, verdicts)
    told = {
        "file": file.name,
        "digest": digest(file),
        "kind": kind,
        "columns": dict(columns),
        "problems": len(read.problems),
        "traces": len(read.traces),
        "verdicts": "the file's own" if read.given else "verified here",
        "golds that fail their own verifier": len(bad),
        "such as": bad[:_SHOWN],
    }
    write_json(out.manifest, told)
    return told


def _read(file: Path, kind: str, columns: Mapping[str, str]) -> _Read:
    problems: dict[str, Problem] = {}
    traces: dict[tuple[str, int], Trace] = {}
    given: dict[tuple[str, int], Verdict] = {}
    taken: dict[str, int] = defaultdict(int)
    for each in read_samples(file, columns):
        problem = Problem(each.problem_id, each.question, each.answer, kind, source=file.name)
        known = problems.setdefault(problem.id, problem)
        # Tools reword a question here and there; what a sample is judged by is the answer.
        if known.answer != problem.answer:
            raise ProblemError(
                f"{each.where}: problem {problem.id!r} has another answer than before, {problem.answer!r:.60} and not "
                f"{known.answer!r:.60}. Map a problem_id whose samples agree on it"
            )
        key = (problem.id, taken[problem.id] if each.sample is None else each.sample)
        taken[problem.id] += 1
        if key in traces:
            raise ProblemError(f"{each.where}: sample {key[1]} of problem {problem.id!r} was there before")
        traces[key] = Trace(*key, each.completion, "stop", 0, 0)
        if each.correct is not None:
            given[key] = Verdict(*key, Outcome.CORRECT if each.correct else Outcome.WRONG, each.correct, each.extracted)
    if given and given.keys() != traces.keys():
        raise ProblemError(
            f"{file}: {len(given):,} of {len(traces):,} samples say whether they are correct. All or none must"
        )
    return _Read(dict(sorted(problems.items())), _in_order(traces), _in_order(given))


def _in_order(records: Mapping[tuple[str, int], R]) -> list[R]:
    return [records[key] for key in sorted(records)]


def _bad_golds(problems: Mapping[str, Problem], kind: str, file: Path) -> list[str]:
    failures = check_problems(list(problems.values()), judge).gold_failures
    if 2 * len(failures) > len(problems):
        first = failures[0]
        raise ProblemError(
            f"{file}: {len(failures):,} of {len(problems):,} gold answers fail their own verifier ({kind}), such as "
            f"{first.answer!r:.80}: {first.outcome} {first.detail}. Take another --kind, map the answer to a column with "
            "nothing but the final answer, or keep the file's own verdicts with --column correct=COLUMN"
        )
    return [failure.problem_id for failure in failures]
