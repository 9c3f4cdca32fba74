"""How long the HTML report of a large run takes to write, how large it is, and how soon it can be used.

    python benchmarks/html_report.py [--problems 10000] [--samples 20] [--rounds 1] [--keep report.html]

The run is synthetic: word problems and solutions from a vocabulary of 600 words with random numbers, about 450
characters a trace, half of them right. The page is opened in a headless Chromium, which must be installed.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tpt.config import RunConfig, render_toml
from tpt.evidence import evidence_of
from tpt.records import Estimate, EvalReport, Example, Problem, RoundRecord, Trace
from tpt.report.html import write_page
from tpt.report.rows import report_rows
from tpt.report.summary import Summary
from tpt.run.directory import RunDir
from tpt.run.manifest import write_manifest
from tpt.system.jsonl import read_records, replace_records, to_table, write_json, write_parts

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))
from chromium import Chromium  # type: ignore[import-not-found]

TRAINING = 2_000
"""Training problems, tried four times each."""
SYLLABLES = [a + b for a in "bdfgklmnprstvwz" for b in ("a", "e", "i", "o", "u", "ai", "ou", "ee")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--traces", type=int, default=0, help="at most so many of each problem and round; 0: all")
    parser.add_argument("--keep", type=Path, help="keep the page here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder) / "large")
        records = make_run(run, options.problems, options.samples, options.rounds)
        evidence = evidence_of(run, records)
        summary = Summary(report_rows(records, evidence), records, evidence, "all rounds are done", "", [], None)
        page = options.keep or Path(folder) / "report.html"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        written = write_page(page, run, summary, most_traces=options.traces)
        show("seconds to write", f"{time.monotonic() - started:.1f}")
        show("traces", f"{written.traces:,} ({written.left_out:,} left out)")
        show("size, MB", f"{written.size / 1e6:.1f}")
        size = sum(file.stat().st_size for file in run.path.rglob("*.jsonl"))
        show("size of the run's JSONL files, MB", f"{size / 1e6:.1f}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        show("peak memory, MB (before writing the page)", f"{peak / 1024:.0f} ({before / 1024:.0f})")
        measure_browser(page, Path(folder) / "profile")


def measure_browser(page: Path, profile: Path) -> None:
    browser = Chromium(profile)
    try:
        watch = (
            "window.tasks = []; new PerformanceObserver((l) => l.getEntries().forEach((e) => tasks.push(e.duration)))"
        )
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=watch + ".observe({entryTypes: ['longtask']});")
        opened = []
        for _ in range(3):
            browser.open(page)
            opened.append(int(browser.run("document.documentElement.dataset.ready")))
            browser.wait("document.readyState === 'complete'")
        show("ms until the page can be used, 3 times", " ".join(map(str, opened)))
        paint = browser.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        show("ms until the first paint", f"{paint:.0f}")
        show(
            "ms until all of the file is read",
            f"{browser.run('performance.timing.loadEventEnd - performance.timing.navigationStart')}",
        )
        show("longest task while opening, ms", f"{browser.run('Math.max(0, ...tasks)'):.0f}")
        show("memory of the script, MB", f"{browser.run('performance.memory.usedJSHeapSize') / 1e6:.0f}")
        timed = "(async () => { const t = performance.now(); %s; return performance.now() - t })()"
        search = "at('query').value = 'ba 17'; filter()"
        show("ms to search all problems", f"{browser.run(timed % search):.0f}")
        problem = "await showProblem(browser.index.ids.length >> 1, null, 0)"
        show("ms to open a problem of a chunk not yet unpacked", f"{browser.run(timed % problem):.0f}")
    finally:
        browser.close()


def make_run(run: RunDir, problems: int, samples: int, rounds: int) -> list[RoundRecord]:
    """Write a run directory as a finished run leaves it."""
    random.seed(0)
    words = ["".join(random.choices(SYLLABLES, k=random.randint(1, 3))) for _ in range(600)]
    run.path.mkdir(parents=True)
    config = RunConfig.model_validate({"model": "embedded", "rounds": rounds})
    run.config.write_text(render_toml(config), encoding="utf-8")
    write_json(run.base, {"model": "embedded", "digest": "0" * 64})
    heldout = [make_problem(f"made/heldout/{index:05d}", words) for index in range(problems)]
    train = [make_problem(f"made/train/{index:05d}", words) for index in range(TRAINING)]
    replace_records(run.heldout, heldout)
    replace_records(run.problems, train)
    return [make_round(run, index, heldout, train, samples=samples, words=words) for index in range(rounds + 1)]


def make_round(
    run: RunDir, index: int, heldout: list[Problem], train: list[Problem], *, samples: int, words: list[str]
) -> RoundRecord:
    place = run.round(index)
    write_traces(place.evaluate_traces, place.evaluate_verdicts, heldout, samples, words)
    report = made_report(len(heldout), samples)
    counts: dict[str, dict[str, Any]] = {"evaluate": {"report": to_table(report), "wall_s": 1.0}}
    if index:
        write_traces(place.traces, place.verdicts, train, 4, words)
        chosen = [trace for trace in read_records(place.traces, Trace) if trace.sample == 0]
        messages = [{"role": "user", "content": "?"}]
        replace_records(place.examples, [Example(each.problem_id, each.sample, messages) for each in chosen])
        counts["think"] = {"completion_tokens": 100 * len(chosen), "wall_s": 1.0}
        counts["prune"] = {"keepable_traces": len(chosen), "new_examples": len(chosen), "wall_s": 1.0}
        counts["train"] = {"losses": [1 / (1 + step) for step in range(100)], "wall_s": 1.0}
    for stage, each in counts.items():
        write_manifest(place, stage, inputs={}, outputs={}, settings={}, counts=each)
    return RoundRecord(index, "made", report, counts.get("think"), counts.get("prune"), counts.get("train"), 4.0)


def made_report(problems: int, samples: int) -> EvalReport:
    """Return scores that nobody computed: the evidence comes from the verdicts, and the page shows what it is given."""
    estimates = {1: Estimate(0.5, 0.01), samples: Estimate(0.9, 0.01)}
    half = problems * samples // 2
    outcomes = {"CORRECT": half, "WRONG": half, "NO_ANSWER": 0, "TIMEOUT": 0, "ERROR": 0}
    lengths = {"mean": 120.0, "p95": 150.0, "truncated": 0.0}
    return EvalReport(problems, samples, outcomes, estimates, estimates, estimates, {"answer_entropy": 1.0}, lengths)


def write_traces(traces: Path, verdicts: Path, problems: list[Problem], samples: int, words: list[str]) -> None:
    keys = [(problem, sample, random.random() < 0.5) for problem in problems for sample in range(samples)]
    write_parts(traces, (json.dumps(trace_of(*key, words)) + "\n" for key in keys))
    write_parts(verdicts, (json.dumps(verdict_of(*key)) + "\n" for key in keys))


def trace_of(problem: Problem, sample: int, right: bool, words: list[str]) -> dict[str, Any]:
    steps = [f"{' '.join(random.choices(words, k=9))}: {a} + {b} = {a + b}." for a, b in pairs(6)]
    completion = "\n".join([*steps, f"#### {problem.answer if right else random.randint(0, 999)}"])
    key = {"problem_id": problem.id, "sample": sample}
    return {**key, "completion": completion, "finish_reason": "stop", "completion_tokens": 120, "seed": sample}


def verdict_of(problem: Problem, sample: int, right: bool) -> dict[str, Any]:
    outcome = "CORRECT" if right else "WRONG"
    key = {"problem_id": problem.id, "sample": sample}
    return {**key, "outcome": outcome, "strict": right, "extracted": problem.answer if right else "0", "detail": ""}


def make_problem(problem_id: str, words: list[str]) -> Problem:
    question = " ".join(f"{' '.join(random.choices(words, k=8))} {a} {b}." for a, b in pairs(4))
    return Problem(problem_id, question, str(random.randint(0, 999)))


def pairs(count: int) -> Iterator[tuple[int, int]]:
    return ((random.randint(1, 99), random.randint(1, 99)) for _ in range(count))


def show(what: str, value: str) -> None:
    print(f"{what}: {value}", flush=True)


if __name__ == "__main__":
    main()
