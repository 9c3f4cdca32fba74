"""The report of a run as one HTML file that works offline: nothing is loaded from anywhere, and no text can run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tpt.report.html.cost import cost_figures
from tpt.report.html.facts import facts_element
from tpt.report.html.groups import group_tables
from tpt.report.html.markup import node, rendered
from tpt.report.html.origin import origin_parts
from tpt.report.html.page_data import PageData, page_data
from tpt.report.html.scores import rounds_element, score_figures, verdicts
from tpt.report.html.trace_data import TraceData, packed, trace_data
from tpt.report.html.watch import alarm_list, verdict_figures, watch_figures
from tpt.report.html.words import claim_note, short_headline
from tpt.report.summary import Summary, beside_scores
from tpt.run.directory import RunDir
from tpt.system.jsonl import write_parts
from tpt.system.words import counted

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = ("data.js", "browser.js", "page.js")
_FOLLOWING = "live.js"
_DATA = "<!-- data -->\n"
LIVE = "<!-- live -->"
"""Where the page of a live run says how far the run is; no text of a run can write it, as that is escaped."""


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """What was written."""

    path: Path
    size: int
    """Bytes."""
    traces: int
    left_out: int
    """Traces beyond the most that a problem was to have."""


def write_page(path: Path, run: RunDir, summary: Summary, *, most_traces: int = 0) -> WrittenPage:
    """Write the report of a run's finished rounds.

    Of each problem in each round ``most_traces`` are shown, besides those trained on; 0: all.

    Raises:
        RunError: a file of the run is missing or damaged.
    """
    data, traces = _read(run, summary, most_traces)
    write_parts(path, _parts(data, traces))
    return WrittenPage(path, path.stat().st_size, traces.shown, traces.left_out)


def live_page(run: RunDir, summary: Summary, *, most_traces: int = 0) -> str:
    """Return the report as a page that asks the server it came from how far the run is; LIVE marks where it says so.

    Raises:
        RunError: a file of the run is missing or damaged.
    """
    return "".join(_parts(*_read(run, summary, most_traces), is_live=True))


def _read(run: RunDir, summary: Summary, most_traces: int) -> tuple[PageData, TraceData]:
    data = page_data(run, summary)
    traces = trace_data(run, summary.records, most=most_traces)
    traces.index["best"] = summary.evidence.best
    return data, traces


def _parts(data: PageData, traces: TraceData, *, is_live: bool = False) -> Iterator[str]:
    style = _static("style.css")
    script = "\n".join(_static(name) for name in (*_SCRIPTS, *([_FOLLOWING] if is_live else [])))
    before, _, after = _static("page.html").partition(_DATA)
    yield Template(before).substitute(
        policy=_policy(style, script, is_live=is_live),
        style=style,
        live=LIVE if is_live else "",
        left_out=_left_out(traces),
        **_sections(data),
    )
    yield _data_block("index", packed(traces.index))
    yield Template(after).substitute(script=script)
    # The script stands before the traces, so that the page can be used while they are still being read.
    for number, chunk in enumerate(traces.chunks):
        yield _data_block(f"chunk-{number}", chunk)
    yield "</body>\n</html>\n"


def _sections(data: PageData) -> dict[str, str]:
    if not data.evidence.rounds:
        measured = dict.fromkeys(("rounds", "verdicts", "scores", "groups", "alarms", "watch", "cost"), "")
    else:
        measured = {
            "rounds": rendered([rounds_element(data)]),
            "verdicts": rendered([verdicts(data)]),
            "scores": rendered([*score_figures(data), *verdict_figures(data)]),
            "groups": rendered(group_tables(data.evidence)),
            "alarms": rendered([alarm_list(data)]),
            "watch": rendered(watch_figures(data)),
            "cost": rendered(cost_figures(data)),
        }
    return {
        **measured,
        "title": rendered([node("title", None, f"{data.name}: report")]),
        "name": rendered([node("p", {"class": "name"}, data.name)]),
        "headline": rendered([node("h1", None, short_headline(data.evidence))]),
        "claim": rendered([node("p", {"class": "lead"}, _lead(data))]),
        "facts": rendered([facts_element(data.facts)]),
        "origin": rendered(origin_parts(data)),
    }


def _lead(data: PageData) -> str:
    parts = [claim_note(data.evidence)]
    if data.evidence.rounds:
        base = data.evidence.rounds[0]
        tries = "1 try" if base.samples == 1 else f"{base.samples} tries"
        parts.append(
            f"Scored on {counted(base.problems, 'held-out problem')}, {tries} each.{beside_scores(data.records)}"
        )
    parts += [*data.looks, f"Stopped: {data.stopped}." if data.stopped else "The run is not finished."]
    return " ".join(part for part in parts if part)


def _left_out(traces: TraceData) -> str:
    said = f"{counted(traces.shown, 'trace')} of {counted(len(traces.index['ids']), 'problem')}."
    if traces.left_out:
        said += (
            f" {traces.left_out:,} more are left out to keep the file small: of each problem and round the first ones are "
            "shown, and all that were trained on. Scores and tallies count all."
        )
    return rendered([node("p", {"class": "left-out"}, said)])


def _policy(style: str, script: str, *, is_live: bool) -> str:
    """Return a Content-Security-Policy under which only this style and this script work; a live page may ask its server."""
    asks = "connect-src 'self'; " if is_live else ""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; {asks}base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data_block(name: str, content: str) -> str:
    return f'<script type="application/octet-stream" id="{name}">{content}</script>\n'


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
