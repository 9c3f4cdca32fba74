"""What a reader must know first: which model, on which problems, when, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from tpt.config import RunConfig, load_config
from tpt.records import RoundRecord
from tpt.report.html.markup import Content, node
from tpt.report.status import clock_text
from tpt.run.directory import RunDir
from tpt.system.jsonl import count_lines
from tpt.system.words import counted

Facts = list[tuple[str, str]]


def run_facts(run: RunDir, records: list[RoundRecord], base: Mapping[str, object]) -> Facts:
    """Return names and values; what the run does not say, such as the dates of a copied one, is left out."""
    config = load_config(run.config)
    found = [("Model", str(base.get("model") or config.model))]
    found += _data(run, config)
    found += _dates(run)
    seconds = sum(record.wall_s for record in records)
    return [*found, ("Computing time", clock_text(seconds))] if records else found


def facts_element(facts: Facts) -> Element:
    """Return the facts as a list beside the headline."""
    pairs: list[Content] = []
    for name, value in facts:
        pairs.append(node("div", None, node("dt", None, name), node("dd", None, value)))
    return node("dl", {"class": "facts-list"}, *pairs)


def _data(run: RunDir, config: RunConfig) -> Facts:
    sources = [
        ("Learned from", config.problems.train, run.problems),
        ("Scored on", config.problems.heldout, run.heldout),
    ]
    there = [(name, source, count_lines(path)) for name, source, path in sources if path.exists()]
    return [(name, f"{source}: {counted(count, 'problem')}") for name, source, count in there if count]


def _dates(run: RunDir) -> Facts:
    """Return when the run began and ended, by its event log."""
    log = run.logs / "events.jsonl"
    times = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []:
        try:
            times.append(str(json.loads(line)["time"]))
        except (ValueError, KeyError, TypeError):
            continue  # a torn line
    if not times:
        return []
    first, last = (each[:16].replace("T", " ") for each in (times[0], times[-1]))
    if first[:10] == last[:10]:
        return [("Date", f"{first} to {last[11:]} UTC")]
    return [("Date", f"{first} to {last} UTC")]
