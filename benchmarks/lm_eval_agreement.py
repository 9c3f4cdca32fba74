"""Holds ``tpt score`` against lm-evaluation-harness: one exported model, the same problems, greedily.

    python benchmarks/lm_eval_agreement.py MODEL PROBLEMS.jsonl --lm-eval ENV/bin/python [--batch-size 16]

MODEL is a folder of ``tpt export`` whose prompt has no worked examples, ENV an environment with ``lm-eval[hf]``.
Prints how many prompts, completions and verdicts are the same, the scores of both, and what ``tpt import`` makes of
the harness's samples.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tpt.config import PromptConfig
from tpt.model.chat import Chat, open_chat
from tpt.problems import load_problems
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.system.jsonl import read_json, read_records, replace_records

TASK = Path(__file__).parents[1] / "tpt" / "examples" / "lm_eval" / "tpt_problems.yaml"
OURS = [sys.executable, "-m", "tpt"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("problems")
    parser.add_argument("--lm-eval", type=Path, default=Path(sys.executable), help="a Python that has lm_eval")
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = compared(
            options.model, options.problems, Path(name), lm_eval=options.lm_eval, batch_size=options.batch_size
        )
    print(json.dumps(found, indent=2))


def compared(model: Path, source: str, folder: Path, *, lm_eval: Path, batch_size: int = 16) -> dict[str, Any]:
    """Score a model with both tools and return on how many problems they agree; what they write is left in ``folder``."""
    config = read_json(model / "tpt.json")["config"]
    problems = sorted(load_problems(source), key=lambda problem: problem.id)
    replace_records(folder / "problems.jsonl", problems)
    most = config["evaluate"]["max_tokens"]
    rows = lm_eval_samples(model.resolve(), folder, config["prompt"], most, python=lm_eval, batch_size=batch_size)
    greedy = ["--samples", "1", "--temperature", "0", "--max-tokens", str(most), "--set", "evaluate.greedy=false"]
    called([*OURS, "score", str(model.resolve()), "problems.jsonl", *greedy, "--out", "scored"], folder)
    logs = sorted(map(str, (folder / "logs").rglob("samples_*.jsonl")))
    called([*OURS, "import", *logs, "--problems", "problems.jsonl", "--to", "imported"], folder)
    scored = folder / "scored" / "round-0" / "evaluate"
    return agreement(
        problems, rows, open_chat(PromptConfig(**config["prompt"]), str(model)), scored, folder / "imported"
    )


def lm_eval_samples(
    model: Path, folder: Path, prompt: dict[str, Any], most: int, *, python: Path, batch_size: int
) -> list[dict[str, Any]]:
    """Have the harness answer the problems with the example's task, in the model's own prompt; return its samples."""
    if prompt["few_shot"] or prompt["template_args"]:
        raise SystemExit(f"{model}: its prompt has worked examples or template arguments, which the task has not")
    text = TASK.read_text(encoding="utf-8").replace("max_gen_toks: 80", f"max_gen_toks: {most}")
    asked = json.dumps(prompt["template"].replace("{question}", "{{question}}"), ensure_ascii=False)
    (folder / TASK.name).write_text(text.replace('"{{question}}"', asked), encoding="utf-8")
    shutil.rmtree(folder / "logs", ignore_errors=True)
    command = [str(python), "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu"]
    command += ["--model_args", f"pretrained={model},dtype=float32", "--tasks", TASK.stem, "--include_path", "."]
    command += ["--apply_chat_template", "--batch_size", str(batch_size), "--log_samples", "--output_path", "logs"]
    command += ["--system_instruction", prompt["system"]] if prompt["system"] else []
    called(command, folder)
    (log,) = (folder / "logs").rglob("samples_*.jsonl")
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def agreement(
    problems: Sequence[Problem], rows: list[dict[str, Any]], chat: Chat, scored: Path, imported: Path
) -> dict[str, Any]:
    """Return what both tools say, and on how many problems they say the same."""
    of_id = {row["doc"]["id"]: row for row in rows}
    metrics = {(row["doc"]["id"], row["filter"]): row["exact_match"] == 1.0 for row in rows}
    theirs = {each: of_id[each]["resps"][0][0] for each in of_id}
    prompts = {each: of_id[each]["arguments"]["gen_args_0"]["arg_0"] for each in of_id}
    ours = {each.problem_id: each.completion for each in read_records(scored / "traces.jsonl", Trace)}
    ids = {each: tuple(chat.tokenizer(text, add_special_tokens=False)["input_ids"]) for each, text in prompts.items()}
    verdicts = {each.problem_id: each for each in read_records(scored / "verdicts.jsonl", Verdict)}
    again = {each.problem_id: each for each in read_records(imported / "verdicts.jsonl", Verdict)}
    strict = {each: verdict.strict for each, verdict in verdicts.items()}
    lenient = {each: verdict.outcome is Outcome.CORRECT for each, verdict in verdicts.items()}
    names = [each.id for each in problems]
    return {
        "problems": len(names),
        "prompts equal, id for id": sum(ids[each.id] == chat.prompt_ids(each) for each in problems),
        "completions equal": sum(ours[each].strip() == theirs[each].strip() for each in names),
        "completions differ on": [each for each in names if ours[each].strip() != theirs[each].strip()],
        "tpt score": {"strict": sum(strict.values()), "lenient": sum(lenient.values())},
        "lm-eval": {key: sum(metrics[each, key] for each in names) for key in ("strict", "lenient")},
        "scores equal by problem": {
            "strict": sum(metrics[each, "strict"] == strict[each] for each in names),
            "lenient": sum(metrics[each, "lenient"] == lenient[each] for each in names),
        },
        "tpt import of the samples": {
            "strict": sum(each.strict for each in again.values()),
            "lenient": sum(each.outcome is Outcome.CORRECT for each in again.values()),
            "verdicts equal to tpt score's": sum(_same(again[each], verdicts[each]) for each in names),
        },
    }


def _same(one: Verdict, other: Verdict) -> bool:
    return (one.outcome, one.strict, one.extracted) == (other.outcome, other.strict, other.extracted)


def called(command: list[str], folder: Path) -> None:
    """Run a command offline in a folder; what it says is shown only if it fails."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **offline}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    main()
