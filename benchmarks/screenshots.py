"""Makes the pictures of docs/images from a finished run, in a headless Chromium, which must be installed.

    python benchmarks/screenshots.py RUN [--to docs/images]

RUN is ``tpt run examples/quickstart.toml``: the report in light and dark colours and on a phone, the trace browser, and
what the terminal shows at 80 columns.
"""

from __future__ import annotations

import argparse
import html
import sys
import tempfile
from pathlib import Path

from tpt.report.html import write_page
from tpt.report.summary import summary_of
from tpt.run.directory import RunDir

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "report"), str(TESTS / "cli")]
from chromium import Chromium  # type: ignore[import-not-found]  # noqa: E402
from terminal import at_terminal  # type: ignore[import-not-found]  # noqa: E402

COLUMNS = 80
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #15171a; color: #e7e6e3; }}
pre {{ margin: 0; padding: 14px 18px; font: 13px/1.45 "DejaVu Sans Mono", monospace; width: {columns}ch; }}
</style><pre>{text}</pre>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, default=TESTS.parent / "docs" / "images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = RunDir(options.run)
        found = summary_of(run)
        page = folder / "report.html"
        write_page(page, run, found)
        browser = Chromium(folder / "profile")
        try:
            report_pictures(browser, page, options.to, found.evidence.best)
            terminal_picture(browser, run, folder, options.to / "terminal.png")
        finally:
            browser.close()
    for picture in sorted(options.to.glob("*.png")):
        print(f"{picture.name}: {picture.stat().st_size / 1000:.0f} kB")


def report_pictures(browser: Chromium, page: Path, to: Path, best: int) -> None:
    """Take the report's top, its charts in dark colours, its trace browser, and its top on a phone."""
    browser.open(page, width=1000, height=740)
    browser.picture(to / "report-light.png")
    browser.open(page, width=1000, height=740, dark=True)
    browser.run("at('scores').scrollIntoView()")
    browser.picture(to / "report-dark.png")
    browser.open(page, width=1000, height=740)
    browser.run(f"at('round').value = {best}; at('pattern').value = 'gained'; filter()")
    browser.run("showProblem(browser.matches[0], null, 0)")
    browser.run("document.querySelector('#filters').scrollIntoView()")
    browser.picture(to / "report-traces.png")
    browser.open(page, width=390, height=800)
    browser.picture(to / "report-phone.png")


def terminal_picture(browser: Chromium, run: RunDir, folder: Path, picture: Path) -> None:
    """Take what two commands say at a terminal of 80 columns, the run's path cut to its name."""
    shown = []
    for command in (["status"], ["report"]):
        code, lines = at_terminal(COLUMNS, *command, run.path)
        assert code == 0, lines
        shown += [f"$ tpt {command[0]} runs/quickstart", *lines]
    text = "\n".join(shown).replace(str(run.path), "runs/quickstart").strip()
    page = folder / "terminal.html"
    page.write_text(TERMINAL.format(columns=COLUMNS, text=html.escape(text)), encoding="utf-8")
    browser.call("Page.navigate", url=page.as_uri())
    browser.wait("document.querySelector('pre')")
    size = "(({ width, height }) => ({ width, height }))(document.querySelector('pre').getBoundingClientRect())"
    screen = {key: int(value) for key, value in browser.run(size).items()}
    browser.call("Emulation.setDeviceMetricsOverride", **screen, deviceScaleFactor=1, mobile=False)
    browser.picture(picture)


if __name__ == "__main__":
    main()
