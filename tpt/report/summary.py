"""What the reports say of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tpt.audit.import_samples import ImportedDir
from tpt.evidence import Evidence, evidence_of
from tpt.evidence.alarms import Alarm, alarms_of
from tpt.evidence.groups import forgetting
from tpt.evidence.looks import Looks, looks_of
from tpt.records import RoundRecord, Trace, Verdict
from tpt.report.collapse import collapse_section
from tpt.report.groups import groups_markdown
from tpt.report.markdown import markdown_report
from tpt.report.rows import RoundRow, report_rows
from tpt.report.sentences import looks_text
from tpt.report.text import headline
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.scoring.score import count_verdicts, score
from tpt.system.jsonl import read_records, to_table, write_text


class Summary(NamedTuple):
    """A run's finished rounds, as every form of the report needs them."""

    rows: list[RoundRow]
    records: list[RoundRecord]
    evidence: Evidence
    stopped: str
    """Why no further round is done; "" while one is."""
    headline: str
    alarms: list[Alarm]
    looks: Looks | None
    """How often the held-out problems were looked at; None: nothing is written down."""


def summary_of(run: RunDir) -> Summary:
    """Compute what the reports say: verdicts are read and intervals drawn here, once."""
    opened = Run(run.path)
    records = opened.records()
    evidence = evidence_of(run, records)
    alarms = alarms_of(run, records, opened.config.alarms) + forgetting(evidence.also, level=evidence.level)
    stopped = opened.stop_reason(records)
    said = headline(evidence) + beside_scores(records)
    return Summary(report_rows(records, evidence), records, evidence, stopped, said, alarms, looks_of(run, evidence))


def beside_scores(records: Sequence[RoundRecord]) -> str:
    """Return what stands beside scores in int8, or some of whose samples have no completion; empty where there are none."""
    rough = any(each.evaluate.weights != "full" for each in records)
    said = " Scores are those of the model in int8, not in full precision." if rough else ""
    failed = [
        f"{each.evaluate.failed_requests:,} in round {each.index}" for each in records if each.evaluate.failed_requests
    ]
    return f"{said} Samples whose requests failed, counted as not right: {', '.join(failed)}." if failed else said


def summary_of_import(folder: ImportedDir) -> dict[str, Any]:
    """Return what imported samples say: pass@k for powers of two and all samples, maj@k, diversity, outcomes."""
    verdicts = read_records(folder.verdicts, Verdict)
    report = score(read_records(folder.traces, Trace), verdicts, ks=[], seed=0).report
    counts = count_verdicts(verdicts)
    return {
        "problems": report.problems,
        "samples of each, at least": report.samples,
        "pass@k": [
            {
                "k": k,
                "strict": strict.mean,
                "strict stderr": strict.stderr,
                "lenient": report.pass_at_k_lenient[k].mean,
                "lenient stderr": report.pass_at_k_lenient[k].stderr,
            }
            for k, strict in report.pass_at_k.items()
        ],
        "maj@k": [{"k": k, "lenient": each.mean, "stderr": each.stderr} for k, each in report.maj_at_k.items()],
        "never solved strictly": int((counts.strict == 0).sum()),
        "never solved leniently": int((counts.lenient == 0).sum()),
        "outcomes": report.outcomes,
        "diversity": report.diversity,
    }


def summary_json(summary: Summary) -> dict[str, Any]:
    """Return the round table, the evidence and the round records as plain values."""
    return {
        "rows": to_table(summary.rows),
        "rounds": to_table(summary.records),
        "evidence": to_table(summary.evidence),
        "best": summary.evidence.best if summary.records else None,
        "stopped": summary.stopped,
        "headline": summary.headline,
        "alarms": to_table(summary.alarms),
        "looks": to_table(summary.looks),
    }


def write_report(run: RunDir, summary: Summary) -> None:
    """Write report.md into the run directory."""
    rows, records, evidence, said = summary.rows, summary.records, summary.evidence, summary.headline
    text = markdown_report(rows, records, evidence, title=run.path.resolve().name, said=said, stopped=summary.stopped)
    looks = "".join(f"\n{line}\n" for line in looks_text(summary.looks, level=evidence.level))
    further = looks + groups_markdown(evidence)
    write_text(run.report, text + further + collapse_section(records, summary.alarms, evidence))
