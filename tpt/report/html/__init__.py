"""The report of a run as one self-contained HTML file, and as a page that follows a live run."""

from __future__ import annotations

from tpt.report.html.live import LivePage
from tpt.report.html.page import WrittenPage, write_page
from tpt.report.html.server import PageServer

__all__ = ["LivePage", "PageServer", "WrittenPage", "write_page"]
