"""Every form of a report says the same of a run: headline, units, counts, what stands beside scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from scored_run import evidence, many, records_of, run_of

from tpt.evidence import Difference, evidence_of
from tpt.report.collapse import no_alarm
from tpt.report.html.page import write_page
from tpt.report.html.words import against, claim_note, short_headline
from tpt.report.markdown import markdown_report
from tpt.report.rows import report_rows
from tpt.report.sentences import part_text, power_text
from tpt.report.summary import beside_scores, summary_of, write_report
from tpt.report.text import headline, notes
from tpt.sampling.score_passes import score_line
from tpt.system.jsonl import replace_records, write_json
from tpt.system.words import counted, points, score_text

MAXIMUM = 'stop.rule="maximum"'


def markdown(path: Path, *rounds: dict[str, str]) -> str:
    run = run_of(path, *rounds)
    records, found = records_of(run), evidence_of(run, records_of(run))
    said = headline(found) + beside_scores(records)
    return markdown_report(report_rows(records, found), records, found, title="first", said=said, stopped="")


def letters(count: int, letter: str, samples: int = 4) -> dict[str, str]:
    return {f"p{index:02d}": letter * samples for index in range(count)}


@pytest.mark.parametrize("difference", [-0.0, -1e-17, -0.0004, 0.0004])
def test_what_is_rounded_to_nothing_has_no_minus(difference: float) -> None:
    found = Difference(difference, 0.01, -0.0004, 0.02, 1.0, 1.0, 0.1, "within noise")
    assert points(difference) == part_text(found) == "+0.0"
    assert found.in_points() == "+0.0 [+0.0, +2.0]" and points(-0.0006) == "-0.1"


def test_one_of_something_is_not_several(tmp_path: Path) -> None:
    assert (counted(0, "problem"), counted(1, "problem"), counted(1200, "row")) == (
        "0 problems",
        "1 problem",
        "1,200 rows",
    )
    alone = markdown(tmp_path / "alone", {"p": "S"})
    assert "Scored on 1 held-out problem, 1 sample each;" in alone
    assert "Never solved by 1 sample: 0 of 1 problem strictly" in alone
    assert "Never solved by any of 2 x 1 samples:" in markdown(tmp_path / "two", {"p": "S"}, {"p": "S"})


def test_only_rounds_are_chosen_from_and_only_a_claim_is_above(tmp_path: Path) -> None:
    assert "chose the best round" not in markdown(tmp_path / "base", many(1))
    none = markdown(tmp_path / "none", many(1), many(1))
    assert "30 of the problems chose the best round.\n" in none and "the claim above" not in none
    assert "the claim above is about the 30 others." in markdown(tmp_path / "gain", many(1), many(3))


def test_a_best_round_that_nothing_tests_is_told_alike(tmp_path: Path) -> None:
    found = evidence(tmp_path, {"p": "SW"}, {"p": "SS"}, settings=(MAXIMUM,))
    said = headline(found)
    assert short_headline(found) == said and claim_note(found) == ""
    assert said.startswith("Round 1 is the best: strict pass@1 went from 50.0% to 100.0%")
    assert said.endswith("a single held-out problem is there to claim it on.")


def test_the_page_does_not_deny_a_gain_that_the_text_tells(tmp_path: Path) -> None:
    found = evidence(tmp_path, letters(12, "W"), letters(12, "S"))
    assert "On all 12, round 1 is a gain" in headline(found) and "round 1 is a gain" in claim_note(found)
    said = short_headline(found)
    assert said.startswith("No round is the best one yet: round 1 is better than the base model on all 12")
    unchanged = evidence(tmp_path / "same", letters(12, "S"), letters(12, "S"))
    assert short_headline(unchanged).startswith("No gain was found")


def test_scores_that_never_change_promise_nothing_in_any_form(tmp_path: Path) -> None:
    found = evidence(tmp_path, letters(12, "S"), letters(12, "S"))
    compared = found.rounds[1].to_base
    assert compared is not None
    assert "not known" in against(compared) and "would be detected 80 %" not in against(compared)
    assert "not known" in power_text(found)[0]


def test_the_highest_score_needs_no_test_and_no_sentence_says_so(tmp_path: Path) -> None:
    tested, highest = (
        power_text(evidence(tmp_path / rule, letters(12, "W"), letters(12, "S"), settings=(f'stop.rule="{rule}"',)))[0]
        for rule in ("significance", "maximum")
    )
    assert "With fewer than 7 choosing problems no round can become the best one" in tested
    assert "no round can become" not in highest and "would make a round the best one" not in highest
    assert "The best round is the one with the highest score on the 6 problems that pick it, noise or not" in highest


def test_clusters_are_the_units_of_every_sentence(tmp_path: Path) -> None:
    one = run_of(tmp_path / "one", many(1), many(2), clusters=dict.fromkeys(many(1), "c"))
    assert "a single cluster of held-out problems leaves nothing to pair" in headline(evidence_of(one, records_of(one)))
    names = {each: f"c{index // 3}" for index, each in enumerate(many(1))}
    run = run_of(tmp_path / "many", many(1), many(2), clusters=names)
    assert any(note.startswith("Tested by cluster, Holm") for note in notes(evidence_of(run, records_of(run))))


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ((many(1),), "there is no round yet"),
        ((letters(9, "S"), letters(9, "S")), "fewer than 10 held-out problems"),
        ((many(1), many(1)), "no measure of decay has passed its threshold"),
    ],
)
def test_no_alarm_is_no_good_sign_where_nothing_is_looked_at(
    tmp_path: Path, rounds: tuple[dict[str, str], ...], said: str
) -> None:
    assert said in no_alarm(evidence(tmp_path, *rounds))


def test_what_stands_beside_scores_stands_in_every_form(tmp_path: Path) -> None:
    run = run_of(tmp_path, many(1), many(2))
    records = [replace(record, evaluate=replace(record.evaluate, weights="int8")) for record in records_of(run)]
    assert beside_scores(records) == " Scores are those of the model in int8, not in full precision."
    for record in records:
        write_json(run.round(record.index).record, record)
    replace_records(run.problems, [])
    summary = summary_of(run)
    write_report(run, summary)
    assert "in int8, not in full precision" in run.report.read_text(encoding="utf-8")
    write_page(run.path / "report.html", run, summary)
    assert "in int8, not in full precision" in (run.path / "report.html").read_text(encoding="utf-8")


def test_plus_minus_is_the_interval_in_the_progress_line_too(tmp_path: Path) -> None:
    (record,) = records_of(run_of(tmp_path, many(1)))
    assert score_line(record.evaluate).startswith(f"pass@1 {score_text(record.evaluate.pass_at_k[1])} % strict, ")
