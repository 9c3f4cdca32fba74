"""The HTML report without a browser: what is on the page, what is packed into it, and that no text can become markup."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from command_line import Tpt
from made_run import EXAMPLES, RIGHT, TRAINING, make_run

from tpt.errors import RunError
from tpt.evidence import evidence_of
from tpt.records import EvalReport, RoundRecord, Trace
from tpt.report.html import WrittenPage, write_page
from tpt.report.html.series import diversity_series
from tpt.report.summary import summary_of
from tpt.run.directory import RunDir
from tpt.system.jsonl import read_records, replace_records

ATTACK = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> \u202e \ud800 \u2028 &lt;b&gt;"


class Page(HTMLParser):
    """What a browser would make of the page, as far as is needed: tags, and text by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.blocks: dict[str, str] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[self._inside] = data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def unpacked(self, name: str) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self.blocks[name])))


def written(run: RunDir, path: Path, *, most_traces: int = 0) -> tuple[Page, WrittenPage]:
    result = write_page(path, run, summary_of(run), most_traces=most_traces)
    return Page(path.read_text(encoding="utf-8")), result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(tmp_path_factory.mktemp("made") / "first")


@pytest.fixture(scope="module")
def page(run: RunDir, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(run, tmp_path_factory.mktemp("page") / "report.html")[0]


def test_every_section_is_there(page: Page, run: RunDir) -> None:
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"rounds", "scores", "watch", "cost", "traces", "origin", "index", "chunk-0"} <= ids
    titles = [
        "Score by round",
        "pass@k of every round",
        "Format, sharpening or skill?",
        "Problems won and lost",
        "Diversity",
        "Length",
    ]
    titles += ["What became of the traces", "Easy and hard problems", "Time by stage", "Training loss", "Tokens"]
    titles += ["The model itself", "Lineage", "Versions", "Config", "Training examples"]
    assert [title for title in titles if title not in page.text] == []
    assert "2 held-out problems" not in page.text and "6 held-out problems, 4 tries each" in page.text
    assert run.config.read_text(encoding="utf-8").splitlines()[0].strip("# ") in page.text
    assert "ba5eba5eba5e" in page.text


def test_every_chart_has_a_name_and_its_numbers(page: Page) -> None:
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(charts) >= 12
    assert all(chart["role"] == "img" and len(chart["aria-label"] or "") > 8 for chart in charts)
    assert sum(tag == "summary" for tag, _ in page.tags) >= 9
    headings = [attributes for tag, attributes in page.tags if tag == "th"]
    assert headings and all(heading["scope"] in ("col", "row") for heading in headings)


def test_nothing_is_loaded_and_only_this_script_and_style_may_work(page: Page) -> None:
    policy = next(attributes["content"] or "" for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & {"src", "style", "srcset", "action"} and not {name for name in names if name.startswith("on")}
    links = [attributes["href"] or "" for _, attributes in page.tags if "href" in attributes]
    assert links and all(link.startswith("#") for link in links)


def test_the_flow_between_rounds_adds_up(page: Page, run: RunDir) -> None:
    # round 0 solves 1, 3, 4; round 1 solves 0, 3, 4, 5; round 2 solves 0, 1, 3, 4, 5; none solves 2
    assert (
        "base model → round 1: 2 newly solved" in page.text and "base model → round 1: 1 no longer solved" in page.text
    )
    assert "round 1 → round 2: 1 newly solved" in page.text and "1 of 6 were never solved" in page.text
    assert evidence_of(run, summary_of(run).records).never_solved == ["h/2"]


def test_the_parts_of_the_gain_add_up(page: Page, tmp_path: Path) -> None:
    # Round 1 less round 0: 2 of 24 more are strictly right and 2 right; 1 of 6 greedy samples more is right.
    told = [f"round 1, {part} points [" for part in ("format: +0.0", "sharpening: −8.3", "skill: +16.7")]
    assert [each for each in told if each not in page.text] == []
    older, _ = written(make_run(tmp_path / "older", greedy=False), tmp_path / "report.html")
    assert "round 1, right values: +8.3 points [" in older.text and "sharpening:" not in older.text
    assert "sharpening and skill are not told apart, as there are no greedy samples" in older.text


def test_tokens_minutes_and_their_price(page: Page) -> None:
    assert "Round 1 1,000 276 2 500 0:01:41" in page.text
    assert "All 2,000 828 4 500 0:04:22" in page.text


def test_the_browser_is_given_every_problem_trace_and_verdict(page: Page, run: RunDir) -> None:
    index = page.unpacked("index")
    assert index["ids"] == ["h/0", "h/1", "h/2", "h/3", "h/4", "h/5", "t/0", "t/1", "t/2"]
    assert index["tallies"]["0"][3] == [4, 1, 2] and index["tallies"]["0"][6] == 0
    assert index["tallies"]["2"][6:] == [[2, 1, 1], 0, [1, 1, 1]]
    entries = page.unpacked("chunk-0")
    assert len(entries) == 9 and entries[3][:3] == ["What is 6 + 12 in h/3?", "18", "6 + 12 = 18"]
    assert sorted(entries[3][3]) == ["0", "1", "2"] and sorted(entries[7][3]) == ["1"]
    assert [row[:4] for row in entries[5][3]["0"]] == [
        [0, 0, 0, "18"],
        [1, 1, 0, "21"],
        [2, 1, 0, "22"],
        [3, 2, 0, None],
    ]
    shown = {row[-1] for entry in entries for rows in entry[3].values() for row in rows}
    files = [file for each in run.rounds() for file in (each.evaluate_traces, each.traces) if file.exists()]
    assert shown == {trace.completion for file in files for trace in read_records(file, Trace)}


def test_each_example_knows_the_trace_it_came_from(page: Page, tmp_path: Path) -> None:
    index = page.unpacked("index")
    places = [[(index["ids"][place], sample) for place, sample, _ in index["examples"][each]] for each in ("1", "2")]
    assert places == [EXAMPLES[1], EXAMPLES[2]]
    assert index["messages"]["1"][0] == ["user", "What is 6 + 12 in t/0?"]
    run = make_run(tmp_path / "accumulated", mode="accumulate")
    index = written(run, tmp_path / "report.html")[0].unpacked("index")
    assert index["examples"]["2"] == [[6, 0, 1], [7, 1, 1], [6, 1, 2], [8, 0, 2]]


def test_traces_can_be_left_out_but_not_those_that_were_trained_on(run: RunDir, tmp_path: Path) -> None:
    page, result = written(run, tmp_path / "report.html", most_traces=1)
    whole = sum(
        map(
            len,
            [
                *[row for rows in RIGHT.values() for row in rows.values()],
                *[r for t in TRAINING.values() for r in t.values()],
            ],
        )
    )
    assert (result.traces, result.left_out) == (6 * 3 + 5 + 2, whole - 25)
    assert f"{whole - 25} more are left out" in page.text
    entries = page.unpacked("chunk-0")
    assert [row[0] for row in entries[6][3]["2"]] == [0, 1] and [row[0] for row in entries[0][3]["0"]] == [0]
    assert page.unpacked("index")["tallies"]["0"][3] == [4, 1, 2]


def test_no_text_can_become_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<script>alert(1)<", completions={"h/1": ATTACK})
    run.config.write_text(
        run.config.read_text(encoding="utf-8") + "# </pre><script>alert(1)</script>\n", encoding="utf-8"
    )
    page, _ = written(run, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text and "onerror" not in text and "\u202e" not in text
    assert "<script>alert(1)<: report" in page.text and "# </pre><script>alert(1)</script>" in page.text
    assert {tag for tag, attributes in page.tags if tag == "script" and not attributes} == {"script"}
    assert sum(tag == "script" and not attributes for tag, attributes in page.tags) == 1
    completion = page.unpacked("chunk-0")[1][3]["0"][0][-1]
    assert completion.startswith(ATTACK)


def test_the_same_run_gives_the_same_bytes(run: RunDir, page: Page, tmp_path: Path) -> None:
    for name in ("one", "two"):
        written(run, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_page_of_a_run_that_has_only_begun(tmp_path: Path) -> None:
    run = make_run(tmp_path / "base", rounds=0)
    page, _ = written(run, tmp_path / "report.html")
    assert (
        "Only the model that the run starts from is scored:" in page.text and "Problems won and lost" not in page.text
    )
    for stage in ("evaluate.json", "round.json"):
        (run.round(0).path / stage).unlink()
    page, _ = written(run, tmp_path / "report.html")
    assert "No round is finished yet." in page.text


def test_records_out_of_order_are_named(run: RunDir, tmp_path: Path) -> None:
    spoilt = make_run(tmp_path / "spoilt")
    path = spoilt.round(1).evaluate_traces
    replace_records(path, list(reversed(read_records(path, Trace))))
    with pytest.raises(RunError, match=r"evaluate/traces\.jsonl: the records of 'h/4' are out of order"):
        written(spoilt, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_the_page(tpt: Tpt, tmp_path: Path) -> None:
    run = make_run(tmp_path / "first")
    assert tpt("report", run.path, "--html").code == 0
    assert "first: report" in Page((run.path / "report.html").read_text(encoding="utf-8")).text
    result = tpt("report", run.path, "--html-to", tmp_path / "p.html", "--html-traces", 2, "--format", "json")
    assert json.loads(result.out)["best"] == 0 and "left out" in result.err and (tmp_path / "p.html").exists()


def test_a_page_is_of_one_run(fails: Callable[..., str], run: RunDir) -> None:
    assert "leave out --compare" in fails("report", run.path, "--compare", run.path, "--html", code=2)


def test_the_first_screen_names_model_data_date_and_duration(tmp_path: Path) -> None:
    run = make_run(tmp_path / "first")
    log = run.logs / "events.jsonl"
    run.logs.mkdir()
    log.write_text('{"time": "2026-03-01T23:58:10Z"}\n{torn\n{"time": "2026-03-02T01:02:03Z"}\n')
    page, _ = written(run, tmp_path / "report.html")
    head = page.text[: page.text.index("Round by round")]
    for said in (
        "Model embedded",
        "Learned from word_problems?split=train",
        ": 3 problems",
        "Scored on",
        ": 6 problems",
    ):
        assert said in head
    assert "Date 2026-03-01 23:58 to 2026-03-02 01:02 UTC" in head and "Computing time 0:" in head
    assert "No alarm" in head


def test_what_the_source_solves_is_not_called_human(page: Page) -> None:
    script = next(text for text in [*page.texts, *page.blocks.values()] if "function showProblem" in text)
    assert "The source's own solution" in script and "human" not in script
    assert "human" not in page.text[: page.text.index("Where it comes from")]  # the config has keys of that name


def test_charts_say_which_way_is_good(page: Page) -> None:
    assert "↑ higher is better" in page.text and "↓ lower is better" in page.text
    told = {"self_bleu": 0.5, "distinct_2_in_1000": 0.5, "answer_entropy": 1.0}
    records = [RoundRecord(0, "m", EvalReport(1, 1, {}, {}, {}, {}, told, {}))]
    by_label = {each.label: each.better for each in diversity_series(records)}
    assert by_label["likeness of right traces (self-BLEU)"] == "down"
    assert by_label["different runs of 2 words in 1000 words, %"] == "up"
    assert by_label["entropy of the answers (nats)"] == ""
