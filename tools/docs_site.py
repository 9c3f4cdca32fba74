"""Hooks of mkdocs.yml: the README is the first page, and links that leave docs/ lead to the repository."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
REPOSITORY: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"]
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")


def anchor(heading: str, separator: str = "-") -> str:
    """Return the anchor of a heading as the repository's own pages name it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", separator)


def site_links(text: str, page: Path) -> str:
    """Return a page's text with links that lead somewhere on the site.

    Args:
        text: Markdown.
        page: the file that it stands in, within the repository; its links are relative to it.
    """

    def rewritten(found: re.Match[str]) -> str:
        target = (page.parent / found[1]).resolve()
        if not target.exists() or not target.is_relative_to(ROOT):
            return found[0]
        if target == README:
            target = DOCS / "index.md"
        elif not target.is_relative_to(DOCS) or target.is_dir():
            kind = "tree" if target.is_dir() else "blob"
            return f"{REPOSITORY}/{kind}/main/{target.relative_to(ROOT).as_posix()}{found[2] or ''}"
        folder = DOCS if page == README else page.parent
        return f"{os.path.relpath(target, folder)}{found[2] or ''}"

    return _LINK.sub(rewritten, text)


def on_config(config: MkDocsConfig) -> None:
    """Name headings as the repository does."""
    config.mdx_configs["toc"]["slugify"] = anchor


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the README as the first page."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "index.md", content=README.read_text(encoding="utf-8")))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of every page."""
    return site_links(markdown, README if page.file.src_uri == "index.md" else DOCS / page.file.src_uri)
