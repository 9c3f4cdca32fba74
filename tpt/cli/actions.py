"""What the commands of the command line do: plain functions from paths to plain values."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from msgspec.structs import replace

from tpt.audit.audit import Audit
from tpt.audit.check import check
from tpt.audit.import_rows import Reading
from tpt.audit.import_samples import Gold, import_samples
from tpt.audit.label_noise import TraceCheck, check_traces
from tpt.config import RunConfig, VerifyConfig, load_config
from tpt.errors import ConfigError, RunError, did_you_mean
from tpt.problems import load_problems, load_wrong_programs, told_apart
from tpt.problems.table import FIELDS as TABLE_FIELDS
from tpt.records import Example, Problem, Trace, Verdict, well_formed
from tpt.report.answer_form import answer_form
from tpt.report.audit import ask_marks, html_page, item_text
from tpt.report.html import Findings, write_page
from tpt.report.summary import Summary
from tpt.run.directory import RunDir, stage_of
from tpt.run.manifest import require_unchanged, require_unchanged_run
from tpt.sandbox import Mode
from tpt.sandbox.bubblewrap import hide_source
from tpt.scoring.score import count_verdicts, default_ks, read_counts
from tpt.system.jsonl import iterate_records, to_table, write_text
from tpt.system.terminal import columns_of
from tpt.verifiers.code.tests import tests_of
from tpt.verifiers.judge import judge

_BATCH = 500
"""Traces that are judged together, so that every worker has some."""
EXAMPLES = Path(__file__).parents[1] / "examples"


def example_config(name: str, overrides: list[str]) -> RunConfig:
    """Return the config of a shipped example; those of the paper are named ``paper/NAME``.

    Raises:
        ConfigError: there is no such example.
    """
    paths = [*EXAMPLES.glob("*.toml"), *(EXAMPLES / "paper").glob("*.toml")]
    known = {path.relative_to(EXAMPLES).as_posix().removesuffix(".toml"): path for path in sorted(paths)}
    if name not in known:
        raise ConfigError(f"no example {name!r}, there are: {', '.join(known)}.{did_you_mean(name, known)}")
    return load_config(known[name], overrides)


def config_and_folder(path: Path, out: Path | None, overrides: list[str]) -> tuple[RunConfig, Path]:
    """Return the config that a path means, of a file or of a run directory, and the run directory.

    Raises:
        RunError: the path is a folder without a run.
        ConfigError: the config is not valid.
    """
    if path.is_dir():
        RunDir(path).require()
        out = out or path
        path = path / "config.toml"
    return load_config(path, overrides), out or Path("runs") / path.stem


def problem_traces(run: RunDir, index: int, problem_id: str) -> dict[str, Any]:
    """Return a problem's traces with verdicts in a round; without an id, every problem's score.

    Raises:
        RunError: the round or the problem is not there.
    """
    run.require()
    require_unchanged_run(run)
    round_dir = run.round(index)
    config = load_config(run.config)
    further = [each.stage for each in config.evaluate.also if run.also(each.stage).exists()]
    paths = (run.problems, run.heldout, *map(run.also, further))
    problems = {problem.id: problem for path in paths for problem in iterate_records(path, Problem)}
    scored = [round_dir.scored, *map(round_dir.also, further)]
    parts = [(round_dir.traces, round_dir.verdicts), *((each.traces, each.verdicts) for each in scored)]
    parts = [part for part in parts if part[0].exists()]
    if not parts:
        there = ", ".join(str(each.index) for each in run.rounds())
        raise RunError(f"{run.path}: round {index} has no traces yet; rounds there: {there or 'none'}")
    judged = (each for _, path in parts if path.exists() for each in iterate_records(path, Verdict))
    if not problem_id:
        counts = count_verdicts(judged)
        scores = zip(counts.problem_ids, counts.lenient.tolist(), counts.samples.tolist(), strict=True)
        return {key: f"{correct} of {total} correct" for key, correct, total in scores}
    if problem_id not in problems:
        raise RunError(f"{run.path}: no problem {problem_id!r}.{did_you_mean(problem_id, problems)}")
    verdicts = {each.sample: each for each in judged if each.problem_id == problem_id}
    examples = iterate_records(round_dir.examples, Example) if round_dir.examples.exists() else iter(())
    trained = {example.sample for example in examples if example.problem_id == problem_id}
    found, verify = [], config.verify
    for path, _ in parts:
        for trace in iterate_records(path, Trace):
            if trace.problem_id == problem_id:
                verdict = verdicts.get(trace.sample)
                form = answer_form(trace, verdict, problems[problem_id], verify) if verdict else ""
                trained_on = trace.sample in trained
                told = {"verdict": to_table(verdict), "answer_format": form, "trained_on": trained_on}
                found.append({**to_table(trace), **told})
    return {"problem": to_table(problems[problem_id]), "traces": found}


class Source(NamedTuple):
    """A source of problems as the command line names it, ready to be read."""

    spec: str
    columns: dict[str, str]
    kind: str

    def load(self) -> list[Problem]:
        """Load the problems, and hide their files from programs to come."""
        hide_source(self.spec)
        return load_problems(self.spec, columns=self.columns, kind=self.kind or None)


def check_sources(
    source: Source, against: str, traces: Path | None, *, sandbox: Mode
) -> tuple[dict[str, Any], TraceCheck | None]:
    """Check a problem source, its overlap with a held-out one, and what a file of traces says about its problems."""
    wrong_programs = load_wrong_programs(source.spec)
    loaded = source.load()
    heldout = told_apart(loaded, source._replace(spec=against).load(), "heldout") if against else None
    for each in (*loaded, *(heldout or ())):
        if each.kind == "code":
            tests_of(each)  # also where there is no solution to try them with
    judge_here = partial(judge, limits=VerifyConfig(sandbox=sandbox))
    found = check(loaded, heldout, judge=judge_here, wrong_programs=wrong_programs)
    by_id = {problem.id: problem for problem in loaded}
    told = check_traces(list(_foreign_traces(traces, by_id, source.spec)), by_id, judge=judge_here) if traces else None
    return {**{key: value for key, value in to_table(found).items() if value is not None}, "ok": found.ok}, told


def verify_file(source: Source, traces: Path, *, sandbox: Mode) -> Iterator[Verdict]:
    """Yield the verdicts of a trace file against a problem source.

    The file may be another tool's: ``problem_id`` and ``completion`` suffice; ``sample`` is counted when missing. A
    ``kind`` is the verifier of all, whatever the source says; empty: the source's.

    Raises:
        RunError: the file is missing or a line is no trace of these problems.
    """
    problems = {each.id: replace(each, kind=source.kind) if source.kind else each for each in source.load()}
    given = _foreign_traces(traces, problems, source.spec)
    while batch := list(islice(given, _BATCH)):
        yield from judge(batch, problems, limits=VerifyConfig(sandbox=sandbox))


def _foreign_traces(traces: Path, problems: dict[str, Problem], source: str) -> Iterator[Trace]:
    counted: dict[str, int] = defaultdict(int)
    for number, line in enumerate(_lines(traces), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RunError(f"{traces}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict) or "problem_id" not in row or not isinstance(row.get("completion"), str):
            raise RunError(
                f"{traces}, line {number}: expected an object with problem_id and completion, got {line:.80}"
            )
        problem_id = str(row["problem_id"])
        if problem_id not in problems:
            raise RunError(
                f"{traces}, line {number}: no problem {problem_id!r} in {source}.{did_you_mean(problem_id, problems)}"
            )
        sample = row.get("sample", counted[problem_id])
        if type(sample) is not int:
            raise RunError(f"{traces}, line {number}: sample must be a whole number, got {sample!r:.80}")
        counted[problem_id] += 1
        yield Trace(problem_id, sample, well_formed(row["completion"]), "stop", 0, 0)


def import_from(files: list[Path], to: Path, source: Source, layout: str) -> dict[str, Any]:
    """Import files of samples, the gold answers from a source if one is named; return what was done.

    With a source, columns of what problems have are the source's, others the samples'.
    """
    if not source.spec:
        return import_samples(files, to, Reading(source.columns, layout), Gold((), "", source.kind))
    of_source = {field: column for field, column in source.columns.items() if field in TABLE_FIELDS}
    of_samples = {field: column for field, column in source.columns.items() if field not in TABLE_FIELDS}
    gold = Gold(source._replace(columns=of_source).load(), source.spec, source.kind)
    return import_samples(files, to, Reading(of_samples, layout, has_problems=True), gold)


def pass_at_k_of(path: Path, ks: list[int]) -> list[dict[str, Any]]:
    """Return a row of strict and lenient pass@k for every k.

    Raises:
        EstimateError: a k is larger than the samples of some problem.
        StaleStageError: the verdicts are a run's, and were changed since.
    """
    path = path / "verdicts.jsonl" if path.is_dir() else path
    if (owner := stage_of(path)) is not None:
        require_unchanged(*owner)
    counts = read_counts(path)
    if not counts.problem_ids:
        raise RunError(f"{path}: holds no verdicts")
    rows = []
    for k in ks or default_ks(counts):
        strict, lenient = (counts.pass_at_k(k, strict=each) for each in (True, False))
        rows.append(
            {
                "k": k,
                "strict": round(strict.mean, 4),
                "strict stderr": round(strict.stderr, 4),
                "lenient": round(lenient.mean, 4),
                "lenient stderr": round(lenient.stderr, 4),
            }
        )
    return rows


def write_html(path: Path, run: RunDir, summary: Summary, *, most_traces: int) -> str:
    """Write the report as an HTML file and return what to say of it."""
    findings = Findings(summary.records, summary.evidence, summary.alarms, summary.stopped)
    written = write_page(path, run, findings, most_traces=most_traces)
    left_out = f", {written.left_out:,} left out" if written.left_out else ""
    return f"HTML report: {path} ({written.size / 1e6:.1f} MB, {written.traces:,} traces{left_out})"


def do_audit(opened: Audit, marks: list[str], html: Path | None, *, keyboard: TextIO, screen: TextIO) -> None:
    """Store marks, write the page, or else show the drawn verdicts and, at a terminal, ask for marks.

    Raises:
        ConfigError: a mark is not of the form ID:SAMPLE=MARK, or is not allowed.
        RunError: a mark is of a trace that is not there.
    """
    for pair in marks:
        key, _, mark = pair.rpartition("=")
        problem_id, _, sample = key.rpartition(":")
        if not (problem_id and sample.isascii() and sample.isdigit() and len(sample) < 10):
            raise ConfigError(
                f"--mark {pair}: expected ID:SAMPLE=MARK, such as --mark gsm8k/train/00042:3=false_accept"
            )
        opened.store(opened.find(problem_id, int(sample)), mark)
    limits = load_config(opened.run.config).verify
    if html:
        title = f"Audit of {opened.run.path.name}, round {opened.round}"
        write_text(html, html_page(title, opened.drawn, opened.marks(), opened.report(), limits=limits))
    elif not marks and keyboard.isatty():
        ask_marks(opened.unread(), keyboard=keyboard, screen=screen, store=opened.store, limits=limits)
    elif not marks:
        width = columns_of(screen)
        texts = (item_text(item, limits=limits, width=width) for item in opened.drawn)
        print("\n\n".join(texts), end="\n\n", file=screen)


def parse_ks(text: str) -> list[int]:
    """Read ``"1,5,20"``; ConfigError when it is not of that form."""
    try:
        ks = [int(part) for part in text.split(",")] if text else []
    except ValueError:
        ks = [0]
    if any(k < 1 for k in ks):
        raise ConfigError(f"--k {text}: expected whole numbers from 1 on, separated by commas, such as --k 1,5,20")
    return ks


def parse_columns(pairs: list[str]) -> dict[str, str]:
    """Read ``["question=prompt"]``; ConfigError when a part is not of that form."""
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--column {pair}: expected FIELD=COLUMN, such as --column question=prompt")
    return dict(pair.split("=", 1) for pair in pairs)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.strip())
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: not UTF-8 text: {error}") from None
