"""Plain values as text for a terminal, or as JSON."""

from __future__ import annotations

from typing import Any

from tpt.report.audit import JUDGED


def render_problem(found: dict[str, Any]) -> str:
    """Return what ``show`` found of one problem as text to read."""
    problem = found["problem"]
    lines = [problem["id"], "", problem["question"], "", f"gold answer: {problem['answer']}"]
    for trace in found["traces"]:
        verdict = trace["verdict"] or {"outcome": "not judged", "strict": False, "extracted": None}
        kept = ", trained on" if trace["trained_on"] else ""
        form = "format kept" if verdict["strict"] else "format not kept"
        lines += [
            "",
            f"--- sample {trace['sample']}: {verdict['outcome']} ({form}, answer read: {verdict['extracted']}), "
            f"{trace['finish_reason']} after {trace['completion_tokens']} tokens{kept}",
            trace["completion"],
        ]
        if trace.get("answer") is not None:
            lines += ["", JUDGED, trace["answer"]]
    return "\n".join(lines)


def render(table: Any, indent: str = "") -> str:
    """Return plain values as text to read: one ``key: value`` a line, rows of equal keys as columns."""
    if isinstance(table, list) and table and all(isinstance(row, dict) for row in table):
        return _columns(table, indent)
    if isinstance(table, list):
        return "\n".join(f"{indent}- {value}" for value in table)
    if not isinstance(table, dict):
        return f"{indent}{table}"
    lines = []
    for key, value in table.items():
        if isinstance(value, dict | list) and value:
            lines += [f"{indent}{key}:", render(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_plain(value)}")
    return "\n".join(lines)


def _columns(rows: list[dict[str, Any]], indent: str) -> str:
    columns = []
    for key in rows[0]:
        cells = [key, *[str(_plain(row.get(key))) for row in rows]]
        width = max(map(len, cells))
        is_text = any(isinstance(row.get(key), str) for row in rows)
        columns.append([cell.ljust(width) if is_text else cell.rjust(width) for cell in cells])
    return "\n".join((indent + "  ".join(line)).rstrip() for line in zip(*columns, strict=True))


def _plain(value: Any) -> Any:
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value
