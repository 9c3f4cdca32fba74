"""An audit to read and to answer: in the terminal, or as one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from tpt.audit.audit import FEW, AuditItem, AuditReport, Rate
from tpt.audit.mistake_cost import cost_sentence
from tpt.config import VerifyConfig
from tpt.records import Mark
from tpt.report.answer_form import answer_form
from tpt.system.terminal import columns_of, printable, text_table, wrapped

_HEADINGS = ("verdicts of this sort", "all", "marked", "mistaken", "skipped")
_KEYS = {"g": "good", "a": "false_accept", "r": "false_reject", "s": "skip"}
_QUESTION = "[g]ood, {mistake}, [s]kip, [q]uit? "
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "section{border-top:1px solid #999;padding:1rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:.5rem;"
    "border:1px solid #ccc}dt{font-weight:600}dd{margin:0 0 .5rem}table{border-collapse:collapse}"
    "th,td{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ccc}th:first-child,td:first-child{text-align:left}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#eee}}"
)


JUDGED = "--- judged, after the reasoning and without special tokens:"


def ask_marks(
    items: Sequence[AuditItem],
    *,
    keyboard: TextIO,
    screen: TextIO,
    store: Callable[[AuditItem, str], None],
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008
) -> None:
    """Show verdicts one after the other and store what the person says of each, at once; ends at [q]uit or end of file."""
    for number, item in enumerate(items, start=1):
        print(
            f"\n=== {number} of {len(items)} ===\n{item_text(item, limits=limits, width=columns_of(screen))}\n",
            file=screen,
        )
        mark = _asked(item, keyboard, screen)
        if mark is None:
            return
        store(item, mark)


def item_text(
    item: AuditItem,
    *,
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008
    width: int | None = None,
) -> str:
    """Return a verdict with all that is needed to judge it, safe to print; programs keep their lines."""
    text_width = None if item.problem.kind == "code" else width
    question, completion, *judged = (
        wrapped(text, text_width, hanging="")
        for text in (item.problem.question, item.trace.completion, *_judged_part(item))
    )
    lines = [f"{item.problem.id}, sample {item.trace.sample}: {item.stratum}", "", question, ""]
    lines += [wrapped(f"{name}: {value}", width) for name, value in _facts(item, limits)]
    return printable("\n".join([*lines, "", completion, *judged]))


def report_text(report: AuditReport, *, width: int | None = None) -> str:
    """Return what the marks say of the verifier, ``width`` characters wide."""
    table = text_table([_HEADINGS, *_rows(report)], width=width, drop=(4,))
    said = [f"{name}: {value}" for name, value in _estimates(report)] + [f"note: {note}" for note in report.notes]
    return "\n".join([*table, "", *(wrapped(each, width) for each in said)])


def html_page(
    title: str,
    items: Sequence[AuditItem],
    marks: Mapping[tuple[str, int], Mark],
    report: AuditReport,
    *,
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008
) -> str:
    """Return the drawn verdicts and the estimates as one page that loads nothing and runs nothing."""
    header = "".join(f"<th>{name}</th>" for name in _HEADINGS)
    rows = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in _rows(report))
    estimates = "".join(f"<dt>{name}</dt><dd>{_safe(value)}</dd>" for name, value in _estimates(report))
    notes = "".join(f"<p>Note: {_safe(note)}</p>" for note in report.notes)
    sections = "".join(_section(item, marks.get(item.key), limits) for item in items)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{_safe(title)}</title><style>{_STYLE}</style></head><body><h1>{_safe(title)}</h1>"
        f"<table><tr>{header}</tr>{rows}</table><dl>{estimates}</dl>{notes}{sections}</body></html>\n"
    )


def _asked(item: AuditItem, keyboard: TextIO, screen: TextIO) -> str | None:
    mistake = "false [a]ccept" if item.accepted else "false [r]eject"
    keys = "gas" if item.accepted else "grs"
    while True:
        print(_QUESTION.format(mistake=mistake), end="", file=screen, flush=True)
        line = keyboard.readline()
        key = line.strip().lower()[:1]
        if not line or key == "q":
            return None
        if key and key in keys:
            return _KEYS[key]
        print(f"press one of {', '.join(keys)} or q, then Enter", file=screen)


def _judged_part(item: AuditItem) -> list[str]:
    """Return what the verifier was shown, where that is not the whole completion."""
    return [] if item.trace.answer is None else ["", JUDGED, item.trace.answer]


def _facts(item: AuditItem, limits: VerifyConfig) -> list[tuple[str, str]]:
    form = answer_form(item.trace, item.verdict, item.problem, limits)
    read = "none" if item.verdict.extracted is None else item.verdict.extracted
    facts = [("gold answer", item.problem.answer), ("answer read", read)]
    facts.append(
        ("verdict", ", ".join(filter(None, (item.verdict.outcome.value, form, f"ended by {item.trace.finish_reason}"))))
    )
    return [*facts, ("detail", item.verdict.detail)] if item.verdict.detail else facts


def _rows(report: AuditReport) -> list[tuple[str, str, str, str, str]]:
    return [
        (each.name, f"{each.verdicts:,}", f"{each.marked:,}", f"{each.mistaken:,}", f"{each.skipped:,}")
        for each in report.strata
    ]


def _estimates(report: AuditReport) -> list[tuple[str, str]]:
    accepted = _rate_text(report.precision, "no accepted trace is marked")
    right = _rate_text(report.recall, "marks of accepted and of rejected traces are needed")
    return [
        ("precision (accepted traces that are right)", accepted),
        ("recall (right traces that are accepted)", right),
        *(("false accepts", said) for said in filter(None, [cost_sentence(report.precision)])),
    ]


def _rate_text(rate: Rate | None, missing: str) -> str:
    if rate is None:
        return f"not estimable: {missing}"
    rough = "rough: " if rate.marks < FEW else ""
    return f"{rough}{rate.value:.1%}, 95 % interval {rate.low:.1%} to {rate.high:.1%}, from {rate.marks} marks"


def _section(item: AuditItem, mark: Mark | None, limits: VerifyConfig) -> str:
    facts = [*_facts(item, limits), ("mark", mark.mark if mark else "none")]
    listed = "".join(f"<dt>{name}</dt><dd>{_safe(value)}</dd>" for name, value in facts)
    judged = "".join(f"<pre>{_safe(each)}</pre>" for each in _judged_part(item) if each)
    return (
        f"<section><h2>{_safe(item.problem.id)}, sample {item.trace.sample}: {_safe(item.stratum)}</h2>"
        f"<pre>{_safe(item.problem.question)}</pre><dl>{listed}</dl><pre>{_safe(item.trace.completion)}</pre>{judged}</section>"
    )


def _safe(text: str) -> str:
    """Return text without markup and without characters that would reorder or hide what stands around them."""
    return html.escape(printable(text))
