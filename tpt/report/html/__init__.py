"""The report of a run as one self-contained HTML file."""

from __future__ import annotations

from tpt.report.html.page import WrittenPage, write_page
from tpt.report.html.page_data import Findings

__all__ = ["Findings", "WrittenPage", "write_page"]
