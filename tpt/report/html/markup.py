"""HTML and SVG as element trees, so that text cannot become markup: whatever is written out has been escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element, tostring

from tpt.system.terminal import printable

Content = Element | str
Attributes = Mapping[str, str | float]


def node(tag: str, attributes: Attributes | None = None, *content: Content) -> Element:
    """Return an element; text is made safe to show, numbers are written with two decimals at most."""
    element = Element(tag, {name: _written(value) for name, value in (attributes or {}).items()})
    for part in content:
        if isinstance(part, Element):
            element.append(part)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + printable(part)
        else:
            element.text = (element.text or "") + printable(part)
    return element


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Content]], *, caption: str = "", text_columns: int = 1
) -> Element:
    """Return a table that scrolls by itself where it is too wide; all but the first columns are aligned as numbers."""
    kinds = ["text" if column < text_columns else "number" for column in range(len(headings))]
    head = node(
        "tr",
        None,
        *(node("th", {"scope": "col", "class": kind}, name) for kind, name in zip(kinds, headings, strict=True)),
    )
    body = node("tbody", None, *(_row(row, kinds) for row in rows))
    captions = [node("caption", None, caption)] if caption else []
    return node(
        "div",
        {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": caption or ", ".join(headings)},
        node("table", None, *captions, node("thead", None, head), body),
    )


def details(summary: str, *content: Content, opened: bool = False) -> Element:
    """Return content that is folded away."""
    return node("details", {"open": ""} if opened else None, node("summary", None, summary), *content)


def rendered(content: Iterable[Content]) -> str:
    """Return elements as HTML."""
    return "".join(
        tostring(part if isinstance(part, Element) else node("p", None, part), "unicode", "html") for part in content
    )


def _row(row: Sequence[Content], kinds: Sequence[str]) -> Element:
    first, *rest = row
    cells = [node("th", {"scope": "row", "class": kinds[0]}, first)]
    cells += [node("td", {"class": kind}, cell) for kind, cell in zip(kinds[1:], rest, strict=True)]
    return node("tr", None, *cells)


def _written(value: str | float) -> str:
    if isinstance(value, str):
        return printable(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")
