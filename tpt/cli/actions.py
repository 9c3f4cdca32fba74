"""What the commands of the command line do: plain functions from paths to plain values."""

from __future__ import annotations

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
from tpt.audit.known_problems import SamplesOfProblems
from tpt.audit.label_noise import TraceCheck, check_traces
from tpt.config import RunConfig, VerifyConfig, load_config
from tpt.errors import ConfigError, RunError, did_you_mean
from tpt.problems import load_problems, load_wrong_programs, told_apart
from tpt.problems.spec import table_suffix
from tpt.problems.table import FIELDS as TABLE_FIELDS
from tpt.records import Example, Problem, Trace, Verdict
from tpt.report.answer_form import answer_form
from tpt.report.audit import ask_marks, html_page, item_text
from tpt.report.html import write_page
from tpt.report.summary import Summary
from tpt.run.directory import RunDir, require_no_run, stage_of
from tpt.run.manifest import require_unchanged, require_unchanged_run
from tpt.sandbox import Mode
from tpt.sandbox.bubblewrap import hide_source
from tpt.scoring.score import count_verdicts, default_ks, read_counts
from tpt.system.jsonl import iterate_records, to_table, write_text
from tpt.system.terminal import columns_of
from tpt.verifiers.code.tests import tests_of
from tpt.verifiers.judge import judge

_BATCH = 500
"""Samples that are judged together, so that every worker has some."""
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
    elif table_suffix(path):
        raise ConfigError(
            f"{path}: a config, which is a TOML file, was expected. Of a file of problems make one: tpt init quickstart --set "
            f"'problems.train={path}?split=train' --set 'problems.heldout={path}?split=heldout' > run.toml"
        )
    return load_config(path, overrides), out or Path("runs") / path.stem


def problem_traces(run: RunDir, index: int, problem_id: str) -> dict[str, Any]:
    """Return a problem's traces with verdicts in a round; without an id, every problem's score.

    Raises:
        RunError: the round or the problem is not there.
    """
    run.require_problems()
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

    def parted(self) -> tuple[Source, dict[str, str]]:
        """Return the source with the columns of what problems have, and those of what only samples have."""
        of_source = {field: column for field, column in self.columns.items() if field in TABLE_FIELDS}
        of_samples = {field: column for field, column in self.columns.items() if field not in TABLE_FIELDS}
        return self._replace(columns=of_source), of_samples

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
    told = None
    if traces:
        samples = SamplesOfProblems(
            traces, by_id, source=source.spec, reading=Reading({}, has_problems=True, needs_text=True)
        )
        told = check_traces(list(samples), by_id, judge=judge_here)
    return {**{key: value for key, value in to_table(found).items() if value is not None}, "ok": found.ok}, told


def open_samples(source: Source, traces: Path, layout: str = "") -> SamplesOfProblems:
    """Return the samples of a file or folder, of any tool, for the problems of a source, ready to be read.

    A ``kind`` is the verifier of all, whatever the source says; empty: the source's.
    """
    of_source, of_samples = source.parted()
    problems = {each.id: replace(each, kind=source.kind) if source.kind else each for each in of_source.load()}
    reading = Reading(of_samples, layout, has_problems=True, needs_text=True)
    return SamplesOfProblems(traces, problems, source=source.spec, reading=reading)


def verify_samples(samples: SamplesOfProblems, *, sandbox: Mode) -> Iterator[Verdict]:
    """Yield the verdicts of samples, in their order.

    Raises:
        ProblemError: a file is missing, or holds something else than samples of these problems.
    """
    given = iter(samples)
    while batch := list(islice(given, _BATCH)):
        yield from judge(batch, samples.problems, limits=VerifyConfig(sandbox=sandbox))


def import_from(files: list[Path], to: Path, source: Source, layout: str) -> dict[str, Any]:
    """Import files of samples, the gold answers from a source if one is named; return what was done.

    With a source, columns of what problems have are the source's, others the samples'.
    """
    if not source.spec:
        return import_samples(files, to, Reading(source.columns, layout), Gold((), "", source.kind))
    of_source, of_samples = source.parted()
    gold = Gold(of_source.load(), source.spec, source.kind)
    return import_samples(files, to, Reading(of_samples, layout, has_problems=True), gold)


def pass_at_k_of(path: Path, ks: list[int]) -> list[dict[str, Any]]:
    """Return a row of strict and lenient pass@k for every k.

    Raises:
        EstimateError: a k is larger than the samples of some problem.
        StaleStageError: the verdicts are a run's, and were changed since.
    """
    require_no_run(path, f"a round's verdicts: {path}/round-1/evaluate/verdicts.jsonl")
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
    written = write_page(path, run, summary, most_traces=most_traces)
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
    columns = dict(pair.split("=", 1) for pair in pairs)
    if len(columns) < len(pairs):
        raise ConfigError(f"--column {' --column '.join(pairs)}: a field is named twice. Leave all but one out")
    return columns
