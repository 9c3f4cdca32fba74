"""Everything that the page shows except the traces, as plain values from the run directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tpt.evidence import Evidence
from tpt.evidence.alarms import Alarm
from tpt.records import RoundRecord, evaluate_tokens, think_tokens
from tpt.report.html.facts import Facts, run_facts
from tpt.report.sentences import looks_text
from tpt.report.summary import Summary
from tpt.run.directory import STAGES, RunDir
from tpt.run.manifest import load_manifest
from tpt.scoring.score import read_counts
from tpt.start_model import base_record


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a round took."""

    round: int
    think_tokens: int
    """For training, the unneeded ones too."""
    evaluate_tokens: int
    accepted: int
    """Traces that could be trained on."""
    seconds: dict[str, float]
    """By stage."""


@dataclass(frozen=True, slots=True)
class Training:
    """How one round's fine-tuning went."""

    round: int
    counts: dict[str, Any]
    losses: list[float]


@dataclass(frozen=True, slots=True)
class PageData:
    """A run, ready to be shown."""

    name: str
    records: list[RoundRecord]
    evidence: Evidence
    alarms: list[Alarm]
    stopped: str
    looks: list[str]
    """What many looks at the same held-out problems leave of a gain."""
    manifests: dict[tuple[int, str], dict[str, Any]]
    """(round, stage) to the manifest of each stage that is done."""
    shares: dict[int, list[float]]
    """Round to the share of strictly right tries of each held-out problem."""
    costs: list[StageCost]
    trainings: list[Training]
    config: str
    base: dict[str, Any]
    facts: Facts
    """Model, data, dates and duration."""


def page_data(run: RunDir, summary: Summary) -> PageData:
    """Read what the page shows of the finished rounds.

    Raises:
        RunError: a file of the run is missing or damaged.
    """
    run.require()
    records = summary.records
    manifests = {
        (round_dir.index, stage): load_manifest(round_dir.manifest(stage))
        for round_dir in (run.round(record.index) for record in records)
        for stage in STAGES
        if round_dir.manifest(stage).exists()
    }
    base = base_record(run) if run.base.exists() else {}
    return PageData(
        name=run.path.resolve().name,
        records=records,
        evidence=summary.evidence,
        alarms=summary.alarms,
        stopped=summary.stopped,
        looks=looks_text(summary.looks, level=summary.evidence.level),
        manifests=manifests,
        shares={
            record.index: read_counts(run.round(record.index).evaluate_verdicts).shares[:, 0].tolist()
            for record in records
        },
        costs=[_cost(record, manifests) for record in records],
        trainings=[
            Training(record.index, record.train, [float(loss) for loss in record.train.get("losses", [])])
            for record in records
            if record.train
        ],
        config=run.config.read_text(encoding="utf-8"),
        base=base,
        facts=run_facts(run, records, base),
    )


def round_name(index: int) -> str:
    """Return how a round's model is called."""
    return "base model" if index == 0 else f"round {index}"


def _cost(record: RoundRecord, manifests: dict[tuple[int, str], dict[str, Any]]) -> StageCost:
    counts = {stage: manifests.get((record.index, stage), {}).get("counts", {}) for stage in STAGES}
    return StageCost(
        round=record.index,
        think_tokens=think_tokens(record),
        evaluate_tokens=evaluate_tokens(record),
        accepted=(record.prune or {}).get("keepable_traces", 0),
        seconds={stage: float(counts[stage]["wall_s"]) for stage in STAGES if "wall_s" in counts[stage]},
    )
