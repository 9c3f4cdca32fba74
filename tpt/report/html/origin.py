"""What the run was made from: config, versions, and the digests that tie each file to those before it."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tpt.report.html.markup import Content, node, table
from tpt.report.html.page_data import PageData
from tpt.report.html.words import model_title

_SHOWN = 12
"""Characters of a digest that are shown; all of it is in the title."""


def origin_parts(data: PageData) -> list[Element]:
    """Return the lineage, the versions and the config."""
    return [
        node("h3", None, "Lineage"),
        node(
            "p",
            None,
            "Every stage records the SHA-256 digests of what it read and wrote. The same digest is the same content: what one "
            "stage wrote, a later one read. Rest the pointer on a digest to see all of it.",
        ),
        _lineage(data),
        node("h3", None, "Versions"),
        _versions(data),
        node("h3", None, "Config"),
        node("p", None, "Complete: saved as a file, it starts the same run."),
        node("pre", {"class": "config", "tabindex": "0"}, data.config),
    ]


def _lineage(data: PageData) -> Element:
    rows: list[list[Content]] = []
    if isinstance(data.base.get("digest"), str):
        rows.append(["Base model", "", "", _digests({str(data.base.get("model")): data.base["digest"]})])
    for (index, stage), manifest in data.manifests.items():
        rows.append([model_title(index), stage, _digests(manifest["inputs"]), _digests(manifest["outputs"])])
    return table(["round", "stage", "read", "wrote"], rows, text_columns=4)


def _digests(named: dict[str, object]) -> Element:
    items = [
        node("li", None, f"{name} ", node("code", {"title": str(value)}, str(value)[:_SHOWN]))
        for name, value in named.items()
    ]
    return node("ul", {"class": "digests"}, *items)


def _versions(data: PageData) -> Element:
    """One column for each set of versions and machine that stages were done with: nearly always a single one."""
    seen: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for (index, stage), manifest in data.manifests.items():
        machine = manifest.get("machine", {})
        facts = {
            **manifest.get("versions", {}),
            "platform": machine.get("platform", ""),
            "processors": machine.get("cpus", ""),
        }
        seen.setdefault(tuple((str(name), str(value)) for name, value in facts.items()), []).append(f"{index} {stage}")
    columns = [dict(facts) for facts in seen]
    names = list(dict.fromkeys(name for column in columns for name in column))
    headings = [
        "",
        *("all stages" if len(seen) == 1 else f"rounds and stages {', '.join(stages)}" for stages in seen.values()),
    ]
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    return table(headings, rows, text_columns=len(headings))
