"""What the loop really does: arms at equal budget on the embedded model, several seeds, one report.

    python benchmarks/study.py [--jobs 2] [--out runs/study] [--doc docs/results/study.md] [--quick]

Every arm with every seed is an ordinary run directory below --out, so a stopped study goes on where it was. Writes the
report with its figures beside it, and --out/study.json with every number. --quick tries the whole way through with sizes
that show nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from tpt.compare import comparison_json
from tpt.compare.arms import Arm, StudyPlan, load_arms
from tpt.compare.bootstrap import Gain, over_seeds
from tpt.compare.figure import curves_of, curves_svg
from tpt.compare.results import ArmResult, Study, compared
from tpt.compare.running import arm_run_of, run_arms
from tpt.compare.table import COLUMNS, comparison_tables, reservations
from tpt.records import Estimate
from tpt.system.jsonl import read_json, write_json, write_text

SIZE = 240
TEACHER = ("teacher", 1000)
"""Name and seed of the arm that the distilled arm learns from."""
FULL: dict[str, Any] = {
    "model": "embedded",
    "rounds": 4,
    "threads": 1,
    # One set of problems for all seeds, so that the teacher's traces are of the same ones.
    "problems": {
        "train": "word_problems?split=train&size=1000&seed=0",
        "heldout": "word_problems?split=heldout&size=200&seed=0",
    },
    "engine": {"batch_invariant": True},
    "think": {"samples": 4, "temperature": 0.8, "max_tokens": 80},
    "prune": {"size": SIZE},
    "train": {"learning_rate": 2e-4, "batch_size": 16, "micro_batch_size": 16, "schedule": "linear"},
    "evaluate": {"samples": 8, "temperature": 0.8, "max_tokens": 80, "probe": 0},
}
QUICK = {
    "rounds": 1,
    "problems": {"max_train": 60, "max_heldout": 12},
    "think": {"samples": 2},
    "prune": {"size": 16},
    "evaluate": {"samples": 2},
}

RECIPES = ("star", "rft", "rest-em", "raft")

Sign = Literal["higher", "lower", "other"]
Paper = Literal["claims", "both", "denies", "silent"]
"""What the paper's own tables say of a claim."""
_PAPER_SAYS = {
    "both": "the paper's tables show both",
    "denies": "the paper's table 2 shows the opposite",
    "silent": "the paper has no such arm",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One section of the report."""

    figure: str
    """Part of its file's name."""
    title: str
    text: str
    reference: str
    others: tuple[str, ...]
    expected: tuple[tuple[str, Sign, str, Paper], ...] = ()
    """Arm, how it should score against the reference arm, the claim in words, and what the paper's own tables say of it; judged
    at the last round."""


QUESTIONS = (
    Question(
        "pruning-t1",
        "Pruning, at T = 1.0",
        "The clean comparison: at T = 1.0 the training data is what the model says anyway, so without pruning there is "
        "nothing to learn.",
        "tpt-T1",
        ("no-prune-T1",),
        (("no-prune-T1", "lower", "Pruning beats no pruning at T = 1.0", "silent"),),
    ),
    Question(
        "pruning-t08",
        "Pruning, at T = 0.8",
        "Training on samples drawn at a lower temperature sharpens the model by itself, pruned or not; the difference "
        "between the two arms is what pruning adds to that.",
        "tpt",
        ("no-prune",),
        (("no-prune", "lower", "Pruning beats no pruning at T = 0.8", "claims"),),
    ),
    Question(
        "data",
        "Replace or accumulate, from the last model or from the base",
        "accumulate trains on all rounds' examples so far, so on more of them, 2.5 times as many over four rounds; "
        "accumulate-equal adds so few a round that it trains on as many in all. from-base starts every round from the base "
        "model's weights, with traces of the last.",
        "tpt",
        ("accumulate", "accumulate-equal", "from-base"),
        (
            ("accumulate", "higher", "Accumulating the training set beats replacing it", "claims"),
            ("accumulate-equal", "higher", "The same, with as many examples trained on in all", "silent"),
            ("from-base", "lower", "Going on from the last model beats starting from the base", "silent"),
        ),
    ),
    Question(
        "size",
        "Size of the training set",
        f"Half, twice and three times the {SIZE} examples of a round.",
        "tpt",
        ("half", "twice", "three-times"),
        (
            ("half", "lower", "Half the examples score lower", "claims"),
            ("twice", "higher", "Twice the examples score higher", "both"),
            ("three-times", "higher", "Three times the examples score higher", "denies"),
        ),
    ),
    Question(
        "sources",
        "Where the examples come from",
        "As many examples from human solutions, from a stronger model (the tpt arm's own recipe, two rounds further, with "
        "another seed), from the model's own *wrong* answers in the right format, or all at once from the base model; and "
        "no training at all, but a vote of as many answers as the tokens of tpt's traces pay for. And reinforcement learning "
        "with the same verifier (GRPO) on as many sampled tokens, at the same learning rate.",
        "tpt",
        ("human", "distilled", "format-only", "one-big-round", "majority-vote", "grpo"),
        (
            ("human", "lower", "Human solutions score lower", "claims"),
            ("distilled", "higher", "A stronger model's traces score higher", "claims"),
            ("format-only", "lower", "Wrong answers in the right format score lower", "silent"),
            ("one-big-round", "lower", "One round with as many examples scores lower than several", "claims"),
            ("grpo", "lower", "GRPO scores lower", "silent"),
        ),
    ),
    Question(
        "recipes",
        "The literature's recipes at equal sampled tokens",
        "Each with its own sizes, for as many rounds as the tokens of tpt's traces last.",
        "tpt",
        RECIPES,
    ),
)


def arms_table(base: dict[str, Any], teacher: str) -> dict[str, list[dict[str, Any]]]:
    """Return the arms by budget."""
    size, warm = base["prune"]["size"], {"think.temperature": 1.0}
    examples: list[dict[str, Any]] = [
        {"name": "tpt"},
        {"name": "no-prune"},
        {"name": "tpt-T1", "preset": "tpt", "set": warm},
        {"name": "no-prune-T1", "preset": "no-prune", "set": warm},
        {"name": "accumulate"},
        # Rounds of 1, 2, 3 and 4 times as many are as many as four of the tpt arm's.
        {"name": "accumulate-equal", "preset": "accumulate", "set": {"prune.size": size * 2 // 5}},
        {"name": "from-base", "preset": "star"},
        {"name": "half", "preset": "tpt", "set": {"prune.size": size // 2}},
        {"name": "twice", "preset": "tpt", "set": {"prune.size": size * 2}},
        {"name": "three-times", "preset": "tpt", "set": {"prune.size": size * 3}},
        {"name": "long", "preset": "tpt", "set": {"rounds": base["rounds"] * 2}},
        {"name": "human"},
        {"name": "distilled", "set": {"data.file": teacher}},
        {"name": "format-only"},
        {"name": "one-big-round"},
        {"name": "grpo"},
        {"name": "majority-vote", "set": {"evaluate.samples": base["evaluate"]["samples"] * 3}},
    ]
    tokens: list[dict[str, Any]] = [{"name": name} for name in ("tpt", *RECIPES)]
    return {"examples": examples, "tokens": tokens}


def main() -> None:
    """Run what is not done yet, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--doc", type=Path, default=Path("docs/results/study.md"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    base = {name: {**FULL[name], **part} if isinstance(part, dict) else part for name, part in QUICK.items()}
    base = {**FULL, **base} if given.quick else FULL
    started = time.monotonic()
    teacher = teach(base, given.out, given.jobs)
    plans = {
        budget: plan(base, arms, given.out, budget=budget, seeds=given.seeds)
        for budget, arms in arms_table(base, str(teacher)).items()
    }
    for each in plans.values():
        run_arms(each, given.out, jobs=given.jobs, progress=True)
    write_report(plans, given.out, given.doc, minutes=minutes_so_far(given.out, time.monotonic() - started))


def minutes_so_far(out: Path, seconds: float) -> float:
    """Add this call's time to that of the calls before it."""
    path = out / "minutes.json"
    total = (float(read_json(path)) if path.exists() else 0.0) + seconds / 60
    write_json(path, round(total, 2))
    return total


def teach(base: dict[str, Any], out: Path, jobs: int) -> Path:
    """Train the model that the distilled arm learns from; return traces of several samples of every problem."""
    name, seed = TEACHER
    rounds = int(base["rounds"]) + 2
    arm = {"name": name, "preset": "tpt", "set": {"rounds": rounds, "think.sampler": "fixed"}}
    whole = plan(base, [arm], out, budget="examples", seeds=[seed])
    run_arms(whole, out, jobs=jobs, progress=True)
    return arm_run_of(out, whole.reference, seed).run.round(rounds).traces.resolve()


def plan(
    base: dict[str, Any], arms: Sequence[dict[str, Any]], out: Path, *, budget: str, seeds: Sequence[int]
) -> StudyPlan:
    """Write an arms file and read it as ``tpt compare`` would."""
    path = out / f"{arms[0]['name']}-{budget}.toml"
    write_text(path, tomli_w.dumps({"seeds": list(seeds), "budget": budget, "base": base, "arm": list(arms)}))
    return load_arms(path)


def write_report(plans: dict[str, StudyPlan], out: Path, doc: Path, *, minutes: float) -> None:
    """Write the report, its figures beside it, and all numbers."""
    found = [compared(of_question(question, plans), out) for question in QUESTIONS]
    long = compared(replace(plans["examples"], arms=named(plans["examples"], ["tpt", "long"])), out)
    seeds = f"{len(long.seeds)} seed{'s' if len(long.seeds) > 1 else ''}"
    parts = [INTRODUCTION.format(seeds=seeds, minutes=minutes), "\n".join(f"- {line}" for line in COLUMNS)]
    parts += ["## What was expected, and what was seen", expectations(found)]
    for question, each in zip(QUESTIONS, found, strict=True):
        stem = f"study-{question.figure}"
        title = f"{question.title}: strict pass@1 by round"
        write_text(doc.parent / f"{stem}.svg", curves_svg(title, curves_of(each)))
        tables = [f"**{heading}**\n\n{table}" for heading, table in comparison_tables(each)]
        parts += [f"## {question.title}", question.text, *tables, f"![{question.title}]({stem}.svg)"]
        parts.append("\n".join(f"- {line}" for line in reservations(each)))
    parts += ["## pass@k and rounds to the peak", *rounds_section(plans["examples"], long, out, doc)]
    write_text(doc, "\n\n".join(parts) + "\n")
    write_json(out / "study.json", [comparison_json(each) for each in [*found, long]])
    print(f"written: {doc}")


INTRODUCTION = """# The study: what the loop really does

On the embedded model, {seeds}, in one command: `python benchmarks/study.py` ({minutes:.0f} minutes on this machine, all calls
together). What to make of it: [the reading](../study.md). Every arm is an ordinary run; see [compare.md](../compare.md) for
what is held equal and how errors are computed. All seeds share their problems, so ± says what another seed would change, and
the intervals hold what other problems would change too. No setting was tuned for any arm. The verdicts below follow from the
intervals by rule: nothing here is chosen by hand."""


def of_question(question: Question, plans: dict[str, StudyPlan]) -> StudyPlan:
    """Return the arms of one question, the reference arm first."""
    names = [question.reference, *question.others]
    whole = next(each for each in plans.values() if set(names) <= {arm.name for arm in each.arms})
    return replace(whole, arms=named(whole, names))


def named(whole: StudyPlan, names: Sequence[str]) -> list[Arm]:
    """Return some arms of a plan."""
    return [next(arm for arm in whole.arms if arm.name == name) for name in names]


def expectations(found: Sequence[Study]) -> str:
    """Return each claim with what the last round's strict pass@1 says of it."""
    rows = [
        "| claim | strict difference at the last round [95 %] | p, Holm | | greedy difference [95 %] | p, Holm |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for question, each in zip(QUESTIONS, found, strict=True):
        for name, sign, claim, paper in question.expected:
            last = next(arm for arm in each.arms if arm.name == name).last
            gain, greedy = last.strict_gain, last.greedy_gain
            assert gain is not None and greedy is not None
            said = f"{name} - {question.reference}: {interval(gain)} | {gain.p_holm:.4f}"
            rows.append(
                f"| {claim} | {said} | {judged(gain, sign, paper)} | {interval(greedy)} | {greedy.p_holm:.4f} |"
            )
    return "\n".join(rows)


def interval(gain: Gain) -> str:
    """Return a gain in points with its interval."""
    return f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def judged(gain: Gain, sign: Sign, paper: Paper) -> str:
    """Return whether a claim held, by the adjusted p-value at 5 %; only what the paper claims can be reproduced."""
    if gain.p_holm > 0.05:
        return "not decided: within noise"
    held = (gain.mean > 0) == (sign == "higher")
    if paper == "claims":
        return "reproduced" if held else "**not reproduced: the opposite**"
    return f"{'holds' if held else 'the opposite holds'} here; {_PAPER_SAYS[paper]}"


def rounds_section(whole: StudyPlan, long: Study, out: Path, doc: Path) -> list[str]:
    """Return pass@k by round of the long arm, and where each seed's held-out score was highest."""
    (arm,) = named(whole, ["long"])
    records = [arm_run_of(out, arm, seed).records() for seed in whole.seeds]
    ks = sorted(records[0][0].evaluate.pass_at_k)
    curves: dict[str, dict[int, Estimate]] = {f"pass@{k}": {} for k in ks}
    for index in range(len(records[0])):
        for k in ks:
            found = over_seeds([each[index].evaluate.pass_at_k[k].mean for each in records])
            assert found is not None
            curves[f"pass@{k}"][index] = found
    write_text(doc.parent / "study-rounds.svg", curves_svg("pass@k by round", curves))
    rows = [f"| round | {' | '.join(curves)} |", "|---:" * (len(ks) + 1) + "|"]
    for index in range(len(records[0])):
        row = (f"{100 * curve[index].mean:.1f} ± {100 * curve[index].stderr:.1f}" for curve in curves.values())
        rows.append(f"| {index} | {' | '.join(row)} |")
    peaks = [max(each, key=lambda record: record.evaluate.pass_at_k[1].mean).index for each in records]
    result: ArmResult = next(each for each in long.arms if each.name == "long")
    return [
        f"The tpt arm for {arm.rounds} rounds: strict pass@k in percent, means over seeds ± one standard error.",
        "\n".join(rows),
        "![pass@k by round](study-rounds.svg)",
        f"Round with the highest strict pass@1, by seed: {', '.join(map(str, peaks))}. Round that the choosing problems "
        f"chose: {', '.join(map(str, result.chosen.rounds))}.",
    ]


if __name__ == "__main__":
    main()
