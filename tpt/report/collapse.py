"""The collapse dashboard: alarms in words, and a table of what they look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tpt.evidence import Evidence
from tpt.evidence.alarms import FEWEST, Alarm, in_words
from tpt.records import EvalReport, RoundRecord
from tpt.report.markdown import aligned_table
from tpt.report.sentences import unit_text

_Cell = tuple[str, Callable[[EvalReport], str]]


def alarm_lines(alarms: Sequence[Alarm]) -> list[str]:
    """Return the alarms as lines, of each kind that of the last round that has it."""
    return [in_words(alarm) for alarm in {alarm.name: alarm for alarm in alarms}.values()]


def no_alarm(evidence: Evidence) -> str:
    """Return what it means that no alarm was raised: where nothing is looked at, it is no good sign."""
    units = (evidence.rounds[0].problems if evidence.clusters is None else evidence.clusters) if evidence.rounds else 0
    if len(evidence.rounds) < 2:
        return "No alarm: there is no round yet to hold against the base model."
    if units < FEWEST:
        kind = unit_text(evidence)
        return f"No alarm can be raised about these: there are fewer than {FEWEST} held-out {kind}."
    return "No alarm: no measure of decay has passed its threshold."


def collapse_section(records: Sequence[RoundRecord], alarms: Sequence[Alarm], evidence: Evidence) -> str:
    """Return the alarms of all rounds and the numbers behind them, in Markdown."""
    if not records:
        return ""
    said = [f"- {in_words(alarm)}" for alarm in alarms] or [no_alarm(evidence)]
    reports = [(record.index, record.evaluate) for record in records]
    parts = (_VARIETY, [*_LENGTHS, *(_PROBE if any(report.probe for _, report in reports) else [])])
    tables = [
        aligned_table(
            ("round", *(heading for heading, _ in cells)),
            [(f"{index}", *(cell(report) for _, cell in cells)) for index, report in reports],
        )
        for cells in parts
    ]
    return "\n".join(["\n## Collapse dashboard\n", *said, "", *tables, _LEGEND])


def _diversity(name: str, form: str) -> Callable[[EvalReport], str]:
    return lambda report: format(report.diversity[name], form) if name in report.diversity else ""


def _length(name: str, form: str) -> Callable[[EvalReport], str]:
    return lambda report: format(report.lengths[name], form) if name in report.lengths else ""


def _probe(name: str) -> Callable[[EvalReport], str]:
    return lambda report: (
        f"{report.probe[name]:.3f} ± {report.probe[name + '_stderr']:.3f}" if name in report.probe else ""
    )


_VARIETY: list[_Cell] = [
    ("chains in 2", _diversity("distinct_chains_in_2", ".2f")),
    ("in 4", _diversity("distinct_chains_in_4", ".2f")),
    ("in 8", _diversity("distinct_chains_in_8", ".2f")),
    ("duplicates", _diversity("duplicates", ".1%")),
    ("self-BLEU", _diversity("self_bleu", ".3f")),
    ("distinct-1", _diversity("distinct_1_in_1000", ".3f")),
    ("distinct-2", _diversity("distinct_2_in_1000", ".3f")),
    ("distinct-3", _diversity("distinct_3_in_1000", ".3f")),
    ("compression", _diversity("compression", ".2f")),
    ("answer entropy", _diversity("answer_entropy", ".2f")),
]
_LENGTHS: list[_Cell] = [
    ("tokens", _length("mean", ".1f")),
    ("p95", _length("p95", ".0f")),
    ("cut off", _length("truncated", ".1%")),
    ("looped", _length("looped", ".1%")),
]
_PROBE: list[_Cell] = [
    ("token entropy", _probe("entropy")),
    ("KL(base ‖ round)", _probe("kl_base_round")),
    ("KL(round ‖ base)", _probe("kl_round_base")),
    ("human NLL", _probe("human_nll")),
]
_LEGEND = (
    "Diversity is that of correct traces, at equal numbers of them: different equation chains among 2, 4 or 8 of a problem's; "
    "duplicates and self-BLEU among 4 of a problem's; distinct n-grams in 1000 words; compression of 16 KiB. Entropy, KL and "
    "human NLL are in nats a token, on fixed texts. docs/collapse.md says what each number means.\n"
)
