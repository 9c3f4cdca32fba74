"""Traces that the model to be trained did not sample: human solutions, or those of another model's file or import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tpt.audit.import_samples import ImportedDir
from tpt.config import RunConfig
from tpt.errors import ConfigError
from tpt.problems.overlap import normalised
from tpt.records import Problem, Trace, well_formed
from tpt.system.jsonl import iterate_records, read_json
from tpt.verifiers.gold import human_trace


def given_traces(problems: Mapping[str, Problem], config: RunConfig) -> Iterator[Trace]:
    """Yield what ``data.source`` gives of a run's problems.

    Raises:
        ConfigError: at the end, if ``data.file`` gave nothing; it is no file of traces.
        RunError: a line of it is no trace.
    """
    if config.data.source == "human":
        yield from (human_trace(problem) for problem in problems.values() if problem.solution)
        return
    found, traces = False, iterate_records(given_file(config), Trace)
    for trace in _of_this_run(traces, ImportedDir(config.data.file), problems):
        if trace.problem_id in problems:
            found = True
            yield _of_this_model(trace)
    if not found:
        raise ConfigError(f"{config.data.file}: no trace is of a problem of this run (data.file)")


def require_given(problems: Mapping[str, Problem], config: RunConfig) -> None:
    """Read what ``data.file`` gives to the end, before anything is spent on a run that needs it.

    Raises:
        ConfigError, RunError: as ``given_traces``.
    """
    if config.data.source == "file":
        for _ in given_traces(problems, config):
            pass


def given_file(config: RunConfig) -> Path:
    """Return the traces that ``data.file`` names: a file, or those of an import.

    Raises:
        ConfigError: it names neither.
    """
    path = config.data.file
    if ImportedDir(path).exists():
        return ImportedDir(path).traces
    if not Path(path).is_file():
        raise ConfigError(f"data.file = {path!r}: no such file, and no folder that tpt import made")
    return Path(path)


def _of_this_run(traces: Iterator[Trace], imported: ImportedDir, problems: Mapping[str, Problem]) -> Iterator[Trace]:
    """Yield the traces under this run's ids: an import may call a problem otherwise, but asks the same question.

    A problem whose question the run does not ask is none of the run's, whatever it is called.
    """
    if not imported.exists():
        yield from traces
        return
    asked = {normalised(problem.question): problem.id for problem in problems.values()}
    known = iterate_records(imported.problems, Problem)
    ids = {each.id: asked.get(normalised(each.question), "") for each in known if each.question}
    taken: Counter[str] = Counter()
    for trace in traces:
        problem_id = ids.get(trace.problem_id, trace.problem_id)
        # Two ids of an import may stand for one question, so its samples are counted anew.
        yield replace(trace, problem_id=problem_id, sample=taken[problem_id])
        taken[problem_id] += 1


def lineage(path: str) -> dict[str, Any]:
    """Return what an import says of where its samples come from; empty where the traces are no import's."""
    return {"imported": read_json(ImportedDir(path).manifest)} if ImportedDir(path).exists() else {}


def _of_this_model(trace: Trace) -> Trace:
    """Return another model's trace without its tokens, which may not be this model's."""
    return replace(trace, completion=well_formed(trace.completion), token_ids=None, token_digest="")
