"""What a run has shown: every number against one worked out by hand or by brute force."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from command_line import Finished, Tpt
from scored_run import evidence, many, records_of, run_of

from tpt.errors import RunError
from tpt.evidence import Evidence, compare_runs, evidence_of
from tpt.evidence.best_round import DRAWS
from tpt.records import Outcome, Verdict
from tpt.report.compared import comparison_text
from tpt.report.html.words import short_headline
from tpt.report.markdown import markdown_report
from tpt.report.rows import report_rows
from tpt.report.sentences import gain_text
from tpt.report.text import headline, notes
from tpt.scoring import sign_flip_p
from tpt.system.jsonl import from_table, replace_records, to_table

BASE = {"a": "WWWW", "b": "SCWW", "c": "SSSS", "d": "WWWC", "e": "SWWW", "f": "WWWW"}
LATER = {"a": "SWWW", "b": "SSSW", "c": "SSSS", "d": "CCWW", "e": "WWWW", "f": "WWWW"}


def test_a_round_card_counts_what_was_solved(tmp_path: Path) -> None:
    base, later = evidence(tmp_path, BASE, LATER).rounds
    assert (base.problems, base.samples, base.to_base, base.to_previous) == (6, 4, None, None)
    assert later.strict.mean == pytest.approx(8 / 24) and later.lenient.mean == pytest.approx(10 / 24)
    assert (later.solved, later.solved_lenient) == (3, 4)
    assert later.outcomes["CORRECT"] == 10 and list(later.maj_at_k) == [4]
    for k in range(1, 5):
        by_hand = [
            np.mean([any(letter == "S" for letter in subset) for subset in combinations(row, k)])
            for row in LATER.values()
        ]
        assert later.pass_at_k[k].mean == pytest.approx(np.mean(by_hand))
        assert later.pass_at_k[k].stderr == pytest.approx(np.std(by_hand, ddof=1) / 6**0.5)


def test_a_comparison_names_every_problem_gained_and_lost(tmp_path: Path) -> None:
    found = evidence(tmp_path, BASE, LATER)
    compared = found.rounds[1].to_base
    assert compared is not None and compared == found.rounds[1].to_previous
    sets = compared.coverage
    assert (sets.k, sets.gained_ids, sets.lost_ids, sets.neither_ids) == (4, ["a"], ["e"], ["d", "f"])
    assert (sets.gained, sets.lost, sets.neither, sets.p_value) == (1, 1, 2, 1.0)
    lenient = compared.coverage_lenient
    assert (lenient.gained_ids, lenient.lost_ids, lenient.neither_ids) == (["a"], ["e"], ["f"])
    assert (found.never_solved, found.never_solved_lenient) == (["d", "f"], ["f"])


def test_differences_are_paired_and_told_in_parts(tmp_path: Path) -> None:
    compared = evidence(tmp_path, BASE, LATER).rounds[1].to_base
    assert compared is not None
    differences = np.array([1, 2, 0, 0, -1, 0]) / 4
    strict = compared.strict
    assert strict.mean == pytest.approx(differences.mean())
    assert strict.stderr == pytest.approx(differences.std(ddof=1) / 6**0.5)
    assert strict.low <= 0 < strict.mean <= strict.high and strict.finding == "within noise"
    assert strict.detectable is None, "six problems reject nothing"
    assert strict.p_value == float(sign_flip_p(differences[:, None], draws=DRAWS, seed=0)[0])
    # Strictly right less right: 2 of 24 before and after, so all of the change is right values.
    assert (compared.format.mean, compared.lenient.mean) == pytest.approx((0.0, 2 / 24))
    assert compared.sharpening is compared.skill is compared.most is None


def test_the_verdict_is_adjusted_for_all_rounds(tmp_path: Path) -> None:
    found = evidence(tmp_path, many(1), many(2), many(1), many(0))
    assert [card.to_base.strict.finding for card in found.rounds[1:] if card.to_base] == [
        "gain",
        "within noise",
        "loss",
    ]
    assert [card.to_previous.strict.finding for card in found.rounds[1:] if card.to_previous] == [
        "gain",
        "loss",
        "loss",
    ]
    gain = found.rounds[1].to_base
    assert gain is not None and gain.strict.p_holm == pytest.approx(3 * gain.strict.p_value)
    assert found.best == 1 and [card.best for card in found.rounds] == [False, True, False, False]
    assert [card.to_best is None for card in found.rounds] == [False, True, False, False]


def test_the_claim_is_about_problems_that_did_not_choose(tmp_path: Path) -> None:
    found = evidence(tmp_path / "split", many(1), many(2))
    claim = found.claim
    assert claim is not None and claim.independent and (found.choosing, found.claiming, claim.problems) == (30, 30, 30)
    assert claim.comparison.strict.finding == "gain"
    assert claim.strict_after.mean - claim.strict_before.mean == pytest.approx(claim.comparison.strict.mean)
    assert claim.lenient_after.mean - claim.lenient_before.mean == pytest.approx(claim.comparison.lenient.mean)
    assert "On the 30 held-out problems that had no part in picking it" in headline(found)
    whole = evidence(tmp_path / "whole", many(1), many(2), settings=("evaluate.choose_share=1.0",))
    assert whole.claim is not None and not whole.claim.independent and whole.claim.problems == 60
    assert "that also picked it, so biased upwards" in headline(whole)


def test_a_gain_that_the_choosing_problems_cannot_see_is_named_as_such(tmp_path: Path) -> None:
    before, after = many(1), many(2)
    few = {name: after[name] if index < 14 else before[name] for index, name in enumerate(before)}
    found = next(
        each
        for seed in range(40)
        if (each := evidence(tmp_path / f"seed-{seed}", before, few, settings=(f"seed={seed}",))).best == 0
    )
    card = found.rounds[1]
    assert card.to_base is not None and card.to_base.strict.finding == "gain"
    assert "No round beat the base model by more than noise on the 30 held-out problems" in headline(found)
    assert "On all 60, round 1 is a gain" in headline(found)


def test_rounds_that_lost_are_called_losses(tmp_path: Path) -> None:
    found = evidence(tmp_path / "one", many(2), many(1), many(2))
    lost = found.rounds[1].to_base
    assert lost is not None and lost.strict.finding == "loss"
    assert f"Round 1 ({gain_text(lost.strict)} points) is a loss, on all 60." in headline(found)
    both = headline(evidence(tmp_path / "two", many(2), many(1), many(1), settings=("evaluate.choose_share=1.0",)))
    assert re.search(r"Round 1 \(.* points\), round 2 \(.* points\) are losses, on all 60\.", both)
    assert "loss" not in headline(evidence(tmp_path / "none", many(2), many(2)))


def test_scores_that_never_change_say_nothing_of_what_would_be_seen(tmp_path: Path) -> None:
    for name, row in (("none", "WWWW"), ("all", "SSSS")):
        same = {f"p{index:02d}": row for index in range(40)}
        (said,) = [each for each in notes(evidence(tmp_path / name, same, same)) if "Holm" in each]
        assert "not known how large a true gain would be detected" in said and "80 %" not in said


def test_too_few_choosing_problems_are_not_helped_by_samples(tmp_path: Path) -> None:
    before, after = ({f"p{index:02d}": row for index in range(9)} for row in ("WWWW", "SSSS"))
    found = evidence(tmp_path, before, after)
    assert found.best == 0 and found.choosing_units < found.needed_for_star
    assert "more held-out problems would settle it" in headline(found)


def test_curves_that_cross(tmp_path: Path) -> None:
    spread = {f"p{index:02d}": "SWWWWWWW" for index in range(40)}
    sharp = {f"p{index:02d}": "SSSSSSSS" if index < 10 else "WWWWWWWW" for index in range(40)}
    compared = evidence(tmp_path, spread, sharp).rounds[1].to_base
    assert compared is not None and compared.crossing_k == 3 and compared.pass_at_k.finding == "loss"
    assert (compared.coverage.lost, compared.coverage.gained, len(compared.coverage.lost_ids)) == (30, 0, 30)
    # The curves cross as before, but so few problems are no proof of it.
    few = [
        {name: row for name, row in each.items() if name in ("p00", "p01", "p20", "p21")} for each in (spread, sharp)
    ]
    unproven = evidence(tmp_path / "few", *few).rounds[1].to_base
    assert unproven is not None and unproven.pass_at_k.mean == -0.5 and unproven.crossing_k is None


def test_nothing_is_claimed_without_a_gain(tmp_path: Path) -> None:
    found = evidence(tmp_path / "same", BASE, BASE)
    assert (found.best, found.claim) == (0, None) and "No round beat the base model by more than noise" in headline(
        found
    )
    assert "is a gain" not in headline(found)
    alone = evidence(tmp_path / "alone", {"a": "WW"}, {"a": "SS"})
    assert alone.rounds[1].to_base is None and alone.claim is None
    assert headline(alone) == short_headline(alone)
    assert "a single held-out problem leaves nothing to pair" in headline(alone)
    assert evidence(tmp_path / "base", BASE).rounds[0].to_best is None


def test_evidence_is_plain_values_and_the_same_again(tmp_path: Path) -> None:
    run = run_of(tmp_path, BASE, LATER)
    found = evidence_of(run, records_of(run))
    assert from_table(Evidence, json.loads(json.dumps(to_table(found)))) == found == evidence_of(run, records_of(run))


def test_verdicts_of_other_problems_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    run = run_of(tmp_path, BASE, LATER)
    replace_records(run.round(1).evaluate_verdicts, [Verdict("a", 0, Outcome.WRONG, False, None)])
    with pytest.raises(RunError, match=r"verdicts of 1 problems, .* Delete .*evaluate\.json"):
        evidence_of(run, records_of(run))


def test_the_report_says_it_all(tmp_path: Path) -> None:
    run = run_of(tmp_path, many(1), many(2), many(1))
    records = records_of(run)
    found = evidence_of(run, records)
    text = markdown_report(report_rows(records, found), records, found, title="first", said=headline(found), stopped="")
    assert "| 1 | 0 (base) | strict | +12.5 [" in text and "| 2 | 1 (last) | strict | -12.5 [" in text
    assert "| 2 | 1 (best) | lenient |" in text and "| 1 | 0 (base) | format | +0.0 [" in text
    assert "| 1 | 0 (base) | pass@8 | +0.0 [" in text and "| skill (greedy) |" not in text
    assert "30 of the problems chose the best round; the claim above is about the 30 others" in text
    assert "Never solved by any of 3 x 8 samples: 0 of 60 problems strictly" in text
    assert notes(found)[1].startswith(
        "Round 1 against the base model: 0 problems gained and 0 lost, solved by 8 samples of each (p = 1.000); pass@8 +0.0 ["
    )
    assert notes(found)[1].endswith("] points: within noise.")


def test_an_id_cannot_break_out_of_the_report(tmp_path: Path) -> None:
    hostile = "x` | <b>\u202e\n# y"
    run = run_of(tmp_path, {hostile: "WW", "b": "SW"}, {hostile: "WW", "b": "SS"})
    records = records_of(run)
    found = evidence_of(run, records)
    text = markdown_report(report_rows(records, found), records, found, title="first", said=headline(found), stopped="")
    assert "`x' | <b>\\u{202e} # y`" in text


def test_two_runs_are_compared_problem_by_problem(tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", many(1), many(2))
    second = run_of(tmp_path / "second", many(1), many(3), many(4))
    found = compare_runs(first, second)
    assert (found.shared, found.only_first, found.only_second) == (60, 0, 0)
    assert [pair.first.round for pair in found.rounds] == [0, 1] and found.independent and found.best_problems == 30
    same, better = (pair.comparison for pair in found.rounds)
    assert same is not None and same.strict.finding == "within noise" and same.strict.p_value == 1.0
    assert better is not None and better.strict.finding == "gain" and better.strict.mean == pytest.approx(0.125)
    assert (found.best.first.round, found.best.second.round) == (1, 2)
    text = comparison_text(found)
    assert (
        "on 60 shared held-out problems" in text and "Best rounds (1 and 2), on 30 problems that chose neither" in text
    )


def test_runs_that_share_some_problems_are_compared_on_those(tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", BASE)
    second = run_of(tmp_path / "second", {**{key: BASE[key] for key in "abc"}, "z": "SSSS"})
    found = compare_runs(first, second)
    assert (found.shared, found.only_first, found.only_second) == (3, 3, 1)
    assert "on 3 shared held-out problems (3 only in the first, 1 only in the second)" in comparison_text(found)


def test_runs_that_share_no_problem_cannot_be_compared(tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", BASE)
    with pytest.raises(RunError, match="share no held-out problem"):
        compare_runs(first, run_of(tmp_path / "other", {"z": "SSSS"}))
    # Generated problems can bear the same names and be different ones.
    with pytest.raises(RunError, match="share no held-out problem"):
        compare_runs(first, run_of(tmp_path / "named", BASE, gold="8"))


def test_the_command_line_compares_runs(
    tpt: Tpt, fails: Callable[..., str], finished: Finished, tmp_path: Path
) -> None:
    code, out, err = tpt("report", finished.path, "--compare", finished.path)
    assert (code, err) == (0, "") and "on 10 shared held-out problems" in out and "within noise" in out
    table = json.loads(tpt("report", finished.path, "--compare", finished.path, "--format", "json").out)
    assert [pair["comparison"]["strict"]["mean"] for pair in table["rounds"]] == [0.0, 0.0]
    assert "not a run directory" in fails("report", finished.path, "--compare", tmp_path)
    told = json.loads(tpt("report", finished.path, "--format", "json").out)
    assert from_table(Evidence, told["evidence"]).rounds[1].round == 1
