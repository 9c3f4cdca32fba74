"""A score in the Hub's own format for evaluation results, which its pages show beside the benchmark."""

from __future__ import annotations

from pathlib import Path

from tpt.config import EvaluateConfig
from tpt.errors import ConfigError
from tpt.records import RoundRecord
from tpt.system.jsonl import write_text


def check_benchmark(benchmark: str) -> None:
    """Raise ConfigError for what names no benchmark, ``OWNER/NAME`` or ``OWNER/NAME:TASK``; empty names none, and may."""
    if benchmark and benchmark.partition(":")[0].count("/") != 1:
        raise ConfigError(
            f"--eval-result {benchmark}: expected a dataset of the Hub, such as openai/gsm8k or OWNER/NAME:TASK"
        )


def write_eval_result(folder: Path, benchmark: str, record: RoundRecord, evaluate: EvaluateConfig) -> None:
    """Write the round's strict pass@1, in percent, and how it was taken.

    Whether the held-out problems are the whole benchmark only the user knows, so the note says how many they were.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils._fixes import yaml_dump

    name, _, task = benchmark.partition(":")
    score = record.evaluate.pass_at_k[1]
    entry = EvalResultEntry(
        dataset_id=name,
        task_id=task or "default",
        value=round(100 * score.mean, 2),
        notes=(
            f"pass@1 over {record.evaluate.problems} problems x {evaluate.samples} samples at temperature "
            f"{evaluate.temperature:g}, answer in the format asked for; standard error {100 * score.stderr:.1f}"
        ),
    )
    text = yaml_dump(eval_result_entries_to_yaml([entry]))
    write_text(folder / ".eval_results" / "tpt.yaml", text)
