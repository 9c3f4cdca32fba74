"""The HTML report in a real browser: hostile text stays text, everything can be reached, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, Chromium
from made_run import make_run
from msgspec.structs import replace

from tpt.records import Example, Problem, Trace, Verdict
from tpt.report.html import write_page
from tpt.report.summary import summary_of
from tpt.run.directory import RunDir
from tpt.system.jsonl import read_records, replace_records
from tpt.system.terminal import printable

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")

LONG_LINE = "<b>" + "x" * 1_200_000 + "</b> #### 7"
HOSTILE = [
    "<script>document.title = 'broken'; alert(1)</script>",
    "</script><script>document.title = 'broken'</script><!--",
    "<!--<script>",
    '"><img src=x onerror="document.title=\'broken\'">',
    "<svg/onload=alert(1)><iframe srcdoc='<script>parent.document.title=1</script>'></iframe>",
    "<style>*{display:none}</style><base href='https://example.org/'><meta http-equiv=refresh content='0;url=//example.org'>",
    "javascript:alert(1) [x](javascript:alert(1)) {{constructor.constructor('alert(1)')()}} ${alert(1)}",
    "right \u202e to left \u2066 isolate \u200b zero width \u200f\ufeff end",
    "line\u2028separator\u2029paragraph\x85next\x0bvertical\x00nul\x1b[31mred\r\nreturn",
    "&lt;b&gt;not bold&lt;/b&gt; &amp;amp; &#x3c;script&#x3e; &nbsp;",
    "lone \ud800 and \udfff surrogates, whole \U0001f600 one",
    "combining a\u0301\u0302\u0303\u0304 \u0661\u0662 \u5341",
    LONG_LINE,
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    opened = Chromium(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def written(run: RunDir, page: Path) -> Path:
    write_page(page, run, summary_of(run))
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(tmp_path_factory.mktemp("made") / "first")


@pytest.fixture(scope="module")
def page(run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(run, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run whose problems, traces, details, config and name are all hostile."""
    run = make_run(tmp_path_factory.mktemp("hostile") / "<img src=x onerror=alert(1)>")
    problems = read_records(run.heldout, Problem)
    names = {problem.id: f"{problem.id}<script>alert(2)</script>&r=1\u202e" for problem in problems}
    texts: dict[str, Any] = {"question": HOSTILE[0], "answer": HOSTILE[3], "solution": HOSTILE[1]}
    replace_records(run.heldout, [replace(each, id=names[each.id], **texts) for each in problems])
    for place in run.rounds():
        traces = [
            replace(trace, problem_id=names[trace.problem_id], completion=HOSTILE[index % len(HOSTILE)])
            for index, trace in enumerate(read_records(place.evaluate_traces, Trace))
        ]
        verdicts = [
            replace(verdict, problem_id=names[verdict.problem_id], extracted="7", detail=HOSTILE[3])
            for verdict in read_records(place.evaluate_verdicts, Verdict)
        ]
        replace_records(place.evaluate_traces, traces)
        replace_records(place.evaluate_verdicts, verdicts)
        place.evaluate_diversity.unlink()
    run.config.write_text(run.config.read_text(encoding="utf-8") + f"# {HOSTILE[0]} {HOSTILE[2]}\n", encoding="utf-8")
    return run


def test_hostile_text_is_shown_verbatim_and_never_runs(browser: Chromium, hostile: RunDir, tmp_path: Path) -> None:
    page = written(hostile, tmp_path / "report.html")
    browser.open(page)
    title = browser.run("document.title")
    count = browser.run("browser.sets[0].end")
    seen = set()
    for place in range(count):
        browser.run(f"showProblem({place}, 0, 0)")
        browser.run("document.querySelectorAll('#problem details').forEach((each) => { each.open = true })")
        browser.wait("[...document.querySelectorAll('#problem details')].every((each) => each.querySelector('pre'))")
        browser.run("document.querySelectorAll('.more').forEach((each) => each.click())")
        seen.update(browser.run("[...document.querySelectorAll('.trace pre')].map((each) => each.textContent)"))
    expected = {printable(trace.completion) for trace in read_records(hostile.round(0).evaluate_traces, Trace)}
    assert len(expected) == len(HOSTILE) and expected <= seen
    assert browser.run("document.title") == title == f"{hostile.path.name}: report"
    assert browser.dialogs == [] and browser.log == [] and browser.requests == [page.as_uri()]
    allowed = "script:not([type]), script[type='application/octet-stream']"
    assert browser.run(
        f"document.querySelectorAll('script').length === document.querySelectorAll(\"{allowed}\").length"
    )
    assert (
        browser.run("document.querySelectorAll('img, iframe, base, object, embed, style:not(head > style)').length")
        == 0
    )


def test_a_problem_with_a_hostile_id_can_be_linked_to(browser: Chromium, hostile: RunDir, tmp_path: Path) -> None:
    page = written(hostile, tmp_path / "report.html")
    browser.open(page)
    link = browser.run("linkTo(1, 0, 1)")
    browser.open(page, link=link)
    shown = browser.run("document.querySelector('#problem h3').textContent")
    assert shown == printable(read_records(hostile.heldout, Problem)[1].id) and "<script>" in shown
    assert browser.run("document.activeElement.id") == "trace-0-1"


def test_a_policy_stops_whatever_got_in(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.run("document.body.append(Object.assign(document.createElement('script'), {id: 'late'}))", may_fail=True)
    broken = "document.body.setAttribute('onclick', 'document.title = 1'); document.body.click()"
    browser.run(broken, may_fail=True)
    assert "report" in browser.run("document.title")
    assert browser.run("document.createElement('p').innerHTML = '<b>x</b>'", may_fail=True) is None
    browser.run("fetch('https://example.org/').catch(() => 0)")
    assert any("Content Security Policy" in line for line in browser.log)


def test_problems_are_found_filtered_and_opened_by_keyboard(browser: Chromium, page: Path, run: RunDir) -> None:
    browser.open(page)
    problem = read_records(run.heldout, Problem)[3]
    browser.run(f"at('query').value = {problem.id!r}; filter()")
    assert browser.run("[...document.querySelectorAll('#list .id')].map((each) => each.textContent)") == [problem.id]
    browser.run("document.querySelector('#list a').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text="\r")
    browser.wait(f"document.querySelector('#problem h3')?.textContent === {problem.id!r}")
    browser.run("at('query').value = ''; at('pattern').value = 'never'; filter()")
    never = browser.run("[...document.querySelectorAll('#list .id')].map((each) => each.textContent)")
    assert sorted(never) == sorted(summary_of(run).evidence.never_solved)


def test_an_example_leads_to_its_trace_and_back(browser: Chromium, page: Path, run: RunDir) -> None:
    example = read_records(run.round(1).examples, Example)[1]
    browser.open(page, link="#e=1.1")
    assert browser.run("document.activeElement.textContent") == f"{example.problem_id}, sample {example.sample}"
    browser.run("document.activeElement.click()")
    browser.wait("document.activeElement.className.includes('trace')")
    trace = "document.activeElement"
    assert browser.run(f"{trace}.querySelector('pre').textContent") == example.messages[-1]["content"]
    assert browser.run(f"{trace}.querySelector('mark').textContent") in example.messages[-1]["content"].splitlines()[-1]
    browser.run(f"{trace}.querySelector('.trained').click()")
    browser.wait("document.querySelector('#examples .target')")
    assert browser.run("document.activeElement.closest('tr').firstChild.textContent") == "2"


def test_examples_are_searched_like_problems(browser: Chromium, page: Path, run: RunDir) -> None:
    examples = read_records(run.round(1).examples, Example)
    browser.open(page)
    assert browser.run("at('example-count').textContent") == f"{len(examples)} of {len(examples)} examples"
    wanted = examples[1].problem_id
    browser.run(f"at('example-query').value = {wanted!r}; at('example-query').dispatchEvent(new Event('input'))")
    rows = "[...document.querySelectorAll('#examples tr')].map((each) => each.textContent)"
    assert [wanted in text for text in browser.run(rows)] == [True]
    browser.run("at('example-query').value = 'nowhere'; at('example-query').dispatchEvent(new Event('input'))")
    assert browser.run(rows) == [] and browser.run("at('example-count').textContent").startswith("0 of ")
    browser.open(page, link="#e=1.1")
    assert browser.run("at('example-query').value") == ""


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_no_wider_than_the_screen(browser: Chromium, page: Path, width: int) -> None:
    browser.open(page, width=width)
    assert browser.run("document.documentElement.scrollWidth") == width


def test_on_paper_no_column_is_cut_off(browser: Chromium, page: Path) -> None:
    browser.open(page, width=718)  # of A4 between its margins
    try:
        browser.call("Emulation.setEmulatedMedia", media="print")
        wide = "[...document.querySelectorAll('#rounds table, #cost table')].map((each) => each.getBoundingClientRect().right)"
        assert max(browser.run(wide)) <= 718
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")


def test_on_a_phone_a_wide_table_says_that_it_scrolls(browser: Chromium, page: Path) -> None:
    hint = "getComputedStyle(document.querySelector('#rounds .scroll'), '::after').content"
    browser.open(page, width=360)
    assert "scroll sideways" in browser.run(hint)
    browser.open(page, width=1280)
    assert browser.run(hint) == "none"


def test_alarms_stand_before_the_charts(browser: Chromium, page: Path) -> None:
    browser.open(page)
    order = "[document.querySelector('.alarms, .no-alarm'), document.querySelector('figure')]"
    assert browser.run(f"(([alarm, chart]) => Boolean(alarm.compareDocumentPosition(chart) & 4))({order})")


def test_light_and_dark(browser: Chromium, page: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    browser.open(page, dark=True)
    assert browser.run(colour) == "rgb(21, 23, 26)" and browser.run("at('theme').textContent") == "Light"
    browser.run("at('theme').click()")
    assert browser.run(colour) == "rgb(255, 255, 255)"
    browser.open(page)
    assert browser.run(colour) == "rgb(255, 255, 255)"


def test_long_text_is_cut_until_it_is_asked_for(browser: Chromium, page: Path) -> None:
    browser.open(page)
    browser.run("window.block = textBlock('a'.repeat(1e6) + '#### 12', answerSpan('a'.repeat(1e6) + '#### 12', '12'))")
    assert (
        browser.run("block.textContent.length") < 10_000
        and browser.run("block.querySelector('mark').textContent") == "12"
    )
    browser.run("block.querySelector('button').click()")
    assert browser.run("block.textContent.length") == 1_000_007


@pytest.mark.parametrize(
    ("text", "extracted", "marked"),
    [
        ("12 + 6 = 18\n#### 18", "18", 17),
        ("#### 1,234.50", "1234.50", 5),
        ("it is 18, no 118", "18", 6),
        ("the answer is x+1", "x+1", 14),
        ("#### 5 then 7", "5", 5),
        ("nothing", "3", None),
        ("18 then #### none", "18", 0),
    ],
)
def test_the_answer_is_marked_where_it_stands(
    browser: Chromium, page: Path, text: str, extracted: str, marked: int | None
) -> None:
    if not browser.run("typeof answerSpan === 'function'"):
        browser.open(page)
    assert browser.run(f"answerSpan({text!r}, {extracted!r})?.start ?? null") == marked
