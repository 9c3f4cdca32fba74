"""What a verifier's mistakes cost: false positives and false negatives at known rates, scored with the true verifier.

    python benchmarks/noise.py [--jobs 1] [--out runs/noise] [--seeds 0 1 2] [--finished]

Runs examples/compare/noise.toml, which goes on where it was stopped, and writes docs/results/noise.md with its figure, and
tpt/audit/verifier_cost.json, from which `tpt audit` says what a precision would cost. With --finished it runs nothing and
takes the arms that are finished with all of the seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tpt.compare.arms import StudyPlan, load_arms
from tpt.compare.bootstrap import bootstrap_gain
from tpt.compare.budget import limit_of
from tpt.compare.figure import curves_of, curves_svg
from tpt.compare.measures import measure, problem_keys
from tpt.compare.results import ArmResult, Study, compared
from tpt.compare.running import ArmRun, arm_run_of, run_arms
from tpt.evidence.best_round import DRAWS
from tpt.records import Example, Outcome, Verdict
from tpt.report.sentences import p_cell
from tpt.system.jsonl import read_records, write_json, write_text

ROOT = Path(__file__).parents[1]
ARMS = ROOT / "examples" / "compare" / "noise.toml"
DOC = ROOT / "docs" / "results" / "noise.md"
DATA = ROOT / "tpt" / "audit" / "verifier_cost.json"
_SEED = 20_511
_ALPHA = 0.05
PAGE = """# What a verifier's mistakes cost

`python benchmarks/noise.py`: the plain loop on the embedded model, {seeds}, {rounds} rounds, with a verifier that takes some
wrong traces for right (fp, in hundredths) or misses some right ones (fn), each trace by chance and always alike
([noisy.py](../../tpt/examples/methods/noisy.py)). Scores, strict pass@1 in percent on {problems} held-out problems, are taken
with the true verifier. The last column is the share of traces trained on whose value is wrong, by round: larger than the
rate, as a problem that is not solved is tried again, until a trace is taken or the tries are spent.

- Intervals and p are over {over}.
- {left}

{table}

By share of wrong traces trained on, over all rounds, the false positives cost, in points of strict pass@1 by round {rounds}:

{curve}

`tpt audit` says from these, a straight line between one and the next, what a measured precision would cost. They hold for
this model, this task, mistakes by chance and full training sets. Mistakes of one kind, which a model can learn to make, were
not tried.

![Strict pass@1 by round](noise.svg)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/noise"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    parser.add_argument("--finished", action="store_true")
    arguments = parser.parse_args()
    plan = load_arms(ARMS)
    plan = replace(plan, seeds=arguments.seeds or plan.seeds)
    if arguments.finished:
        plan = replace(plan, arms=[arm for arm in plan.arms if is_finished(arm.name, plan, arguments.out)])
    else:
        run_arms(plan, arguments.out, jobs=arguments.jobs, progress=True)
    found = compared(plan, arguments.out)
    shares = {arm.name: wrong_shares(plan, arm.name, arguments.out) for arm in plan.arms}
    cost = cost_of_wrong_traces(plan, shares, arguments.out)
    write_json(DATA, cost)
    write_text(
        DOC.with_suffix(".svg"), curves_svg("Strict pass@1 by round, for a verifier that errs", curves_of(found))
    )
    write_text(DOC, page(found, shares, cost))
    print(f"written: {DOC}, {DATA}")


def tasks_of(name: str, plan: StudyPlan, out: Path) -> list[ArmRun]:
    arm = next(arm for arm in plan.arms if arm.name == name)
    return [arm_run_of(out, arm, seed) for seed in plan.seeds]


def is_finished(name: str, plan: StudyPlan, out: Path) -> bool:
    """Return whether an arm has all its rounds with every seed."""
    return all(
        not limit_of(task.arm, plan, reference=[]).allows_round_after(task.records())
        for task in tasks_of(name, plan, out)
    )


def wrong_shares(plan: StudyPlan, name: str, out: Path) -> dict[int, float]:
    """Return, by round, which share of the traces that an arm trained on has a wrong value, as the true verifier judges."""
    found: dict[int, list[float]] = {}
    for task in tasks_of(name, plan, out):
        for record in task.records()[1:]:
            place = task.run.round(record.index)
            verdicts = {(each.problem_id, each.sample): each for each in read_records(place.verdicts, Verdict)}
            examples = read_records(place.examples, Example)
            wrong = [verdicts[each.problem_id, each.sample].outcome is not Outcome.CORRECT for each in examples]
            found.setdefault(record.index, []).append(float(np.mean(wrong)))
    return {index: float(np.mean(each)) for index, each in found.items()}


def cost_of_wrong_traces(plan: StudyPlan, shares: dict[str, dict[int, float]], out: Path) -> dict[str, Any]:
    """Return what the arms with false positives lost at the last round, by the share of wrong traces trained on.

    Intervals are those of the paired bootstrap over seeds and problems.
    """
    rates, arms = load_rates(), []
    for name in (arm.name for arm in plan.arms if arm.name.startswith("fp-")):
        lost = differences(plan, name, out)
        low, high = np.quantile(bootstrap_gain(lost, draws=DRAWS, seed=_SEED), [0.025, 0.975])
        mean = np.mean([np.mean(list(seed.values())) for seed in lost])
        points = {"mean": mean, "low": low, "high": high}
        arms.append(
            {
                "false positives": rates[name],
                "wrong share": round(float(np.mean(list(shares[name].values()))), 3),
                "points lost": {key: round(100 * float(value), 1) for key, value in points.items()},
            }
        )
    return {
        "command": "python benchmarks/noise.py",
        "model": str(plan.reference.config(plan.seeds[0]).model),
        "rounds": plan.reference.rounds,
        "seeds": len(plan.seeds),
        "heldout problems": len(lost[0]),
        "arms": sorted(arms, key=lambda arm: arm["wrong share"]),
    }


def load_rates() -> dict[str, float]:
    """Return the rates of mistakes by the names of the arms, which name them in hundredths."""
    return {f"{kind}-{percent}": percent / 100 for kind in ("fp", "fn") for percent in (1, 3, 10, 30)}


def differences(plan: StudyPlan, name: str, out: Path) -> list[dict[str, float]]:
    """Return, by seed, what each held-out problem loses at the last round: the reference arm's strict score less the arm's."""
    found = []
    for task, reference in zip(tasks_of(name, plan, out), tasks_of(plan.reference.name, plan, out), strict=True):
        ids = sorted(problem_keys(task))
        mine, theirs = (measure(each, each.records()[-1].index, ids) for each in (task, reference))
        lost = (theirs.scores[:, 0] - mine.scores[:, 0]).tolist()
        found.append(dict(zip(mine.keys, lost, strict=True)))
    return found


def page(found: Study, shares: dict[str, dict[int, float]], cost: dict[str, Any]) -> str:
    """Return the results page."""
    rounds = sorted(found.arms[0].curve)
    seeds = f"{len(found.seeds)} seed{'s' if len(found.seeds) > 1 else ''}"
    over = "seeds and problems" if len(found.seeds) > 1 else "problems alone, so they say nothing of another seed"
    heads = [
        "verifier",
        *(f"round {index}" for index in rounds),
        "lost by the last [95 %]",
        "p, Holm",
        "wrong, trained on",
    ]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *(row(arm, rounds, shares[arm.name]) for arm in found.arms)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    missing = [name for name in load_rates() if name not in shares]
    left = f"Not run: {', '.join(missing)}." if missing else of_missed(found)
    return PAGE.format(
        seeds=seeds,
        rounds=cost["rounds"],
        problems=cost["heldout problems"],
        over=over,
        left=left,
        table=table,
        curve="\n".join(map(said, cost["arms"])),
    )


def of_missed(found: Study) -> str:
    """Return what the arms with false negatives lost at the most."""
    gains = [arm.last.strict_gain for arm in found.arms if arm.name.startswith("fn-") and arm.last.strict_gain]
    worst = min(gains, key=lambda gain: gain.mean)
    surely = min(gain.p_holm for gain in gains) <= _ALPHA
    return (
        f"Right traces that are missed (fn) cost at most {-100 * worst.mean:.1f} points [{-100 * worst.high:+.1f}, "
        f"{-100 * worst.low:+.1f}], {'significantly' if surely else 'within noise'}: their problems are tried again."
    )


def said(arm: dict[str, Any]) -> str:
    lost = arm["points lost"]
    return f"- {arm['wrong share']:.1%} wrong: {lost['mean']:.1f} [{lost['low']:.1f}, {lost['high']:.1f}]"


def row(arm: ArmResult, rounds: list[int], wrong: dict[int, float]) -> list[str]:
    gain = arm.last.strict_gain
    lost = "" if gain is None else f"{-100 * gain.mean:+.1f} [{-100 * gain.high:+.1f}, {-100 * gain.low:+.1f}]"
    p_value = "" if gain is None else p_cell(gain.p_holm)
    name = "true" if gain is None else arm.name
    scores = [f"{100 * arm.curve[index].mean:.1f}" for index in rounds]
    return [name, *scores, lost, p_value, " ".join(f"{100 * share:.0f}" for share in wrong.values()) + " %"]


if __name__ == "__main__":
    main()
