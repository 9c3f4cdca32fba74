"""Plain values as text for a terminal."""

from __future__ import annotations

from typing import Any

from tpt.report.audit import JUDGED
from tpt.system.terminal import text_table, wrapped


def render_problem(found: dict[str, Any], *, width: int | None = None) -> str:
    """Return what ``show`` found of one problem as text to read, broken at words; programs keep their lines."""
    problem = found["problem"]
    text_width = None if problem["kind"] == "code" else width
    lines = [problem["id"], "", wrapped(problem["question"], text_width, hanging=""), ""]
    lines.append(wrapped(f"gold answer: {problem['answer']}", width))
    for trace in found["traces"]:
        verdict = trace["verdict"] or {"outcome": "not judged", "extracted": None}
        said = ", ".join(filter(None, (trace["answer_format"], f"answer read: {verdict['extracted']}")))
        kept = ", trained on" if trace["trained_on"] else ""
        title = (
            f"--- sample {trace['sample']}: {verdict['outcome']} ({said}), {trace['finish_reason']} after "
            f"{trace['completion_tokens']} tokens{kept}"
        )
        lines += ["", wrapped(title, width), wrapped(trace["completion"], text_width, hanging="")]
        if trace.get("answer") is not None:
            lines += ["", JUDGED, wrapped(trace["answer"], text_width, hanging="")]
    return "\n".join(lines)


def render(table: Any, indent: str = "", *, width: int | None = None) -> str:
    """Return plain values as text to read: one ``key: value`` a line, rows of equal keys as columns."""
    if isinstance(table, list) and table and all(isinstance(row, dict) for row in table):
        return _columns(table, indent, width)
    if isinstance(table, list):
        return wrapped("\n".join(f"{indent}- {value}" for value in table), width)
    if not isinstance(table, dict):
        return wrapped(f"{indent}{table}", width)
    lines = []
    for key, value in table.items():
        if isinstance(value, dict | list) and value:
            lines += [f"{indent}{key}:", render(value, indent + "  ", width=width)]
        else:
            lines.append(wrapped(f"{indent}{key}: {_plain(value)}", width))
    return "\n".join(lines)


def _columns(rows: list[dict[str, Any]], indent: str, width: int | None) -> str:
    keys = list(rows[0])
    words = [at for at, key in enumerate(keys) if any(isinstance(row.get(key), str) for row in rows)]
    cells = [keys, *([str(_plain(row.get(key))) for key in keys] for row in rows)]
    room = None if width is None else width - len(indent)
    return "\n".join(indent + line for line in text_table(cells, width=room, left=words))


def _plain(value: Any) -> Any:
    if value is None or value == [] or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value
