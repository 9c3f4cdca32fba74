"""The ledger of looks at held-out problems, and what it leaves of a gain."""

from __future__ import annotations

import html
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Finished
from scored_run import Scores, many, records_of, run_of

from tpt.evidence import evidence_of
from tpt.evidence.looks import LEDGER, any_time_p, ledger_of, looks_of, record_look
from tpt.export import ExportOptions, export
from tpt.records import Look
from tpt.report.html.page import write_page
from tpt.report.sentences import looks_text
from tpt.report.summary import summary_of
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.outputs import fingerprint
from tpt.system.jsonl import read_records, replace_records


def run_in(folder: Path, problems: str = "{}\n") -> RunDir:
    folder.mkdir(parents=True)
    (folder / "heldout.jsonl").write_text(problems)
    return RunDir(folder)


def test_the_p_value_for_any_time_spends_the_level_once() -> None:
    assert sum(1 / (k * (k + 1)) for k in range(1, 10_000)) < 1
    assert (
        any_time_p(0.02, 1) == 0.04 and any_time_p(0.02, 10) == 1.0 and any_time_p(0.0001, 3) == pytest.approx(0.0012)
    )


def test_looks_are_written_once_in_their_order_by_whatever_run(tmp_path: Path) -> None:
    (tmp_path / LEDGER).touch()
    one, other, apart = run_in(tmp_path / "a"), run_in(tmp_path / "b"), run_in(tmp_path / "c", "other\n")
    for run, index in ((one, 1), (other, 1), (one, 2), (one, 2), (apart, 1), (other, 1)):
        record_look(run, index)
    looks = read_records(tmp_path / LEDGER, Look)
    assert [(Path(each.run).name, each.round) for each in looks] == [("a", 1), ("b", 1), ("a", 2), ("c", 1)]
    assert looks[3].heldout != looks[0].heldout == fingerprint(one.heldout)


def test_the_nearest_ledger_above_is_taken(tmp_path: Path) -> None:
    deep = run_in(tmp_path / "study" / "arms" / "tpt" / "seeds" / "0")
    assert ledger_of(deep) == deep.path.parent / LEDGER
    (tmp_path / "study" / LEDGER).touch()
    record_look(deep, 1)
    ledger = tmp_path / "study" / LEDGER
    assert ledger_of(deep) == ledger and len(read_records(ledger, Look)) == 1


def test_a_ledger_that_cannot_be_written_or_read_stops_nothing(tmp_path: Path) -> None:
    run = run_in(tmp_path / "a")
    (tmp_path / LEDGER).write_text("no record\nno record\n")
    record_look(run, 1)
    (tmp_path / LEDGER).unlink()
    (tmp_path / LEDGER).mkdir()
    record_look(run, 1)


def test_a_run_writes_its_looks_and_the_report_tells_of_others(finished: Finished, tmp_path: Path) -> None:
    run = RunDir(finished.path)
    own = [each for each in read_records(ledger_of(run), Look) if each.run == str(run.path)]
    assert [each.round for each in own] == [each.index for each in run.rounds() if each.index]
    copied = RunDir(tmp_path / "copied")
    shutil.copytree(finished.path, copied.path)
    evidence = evidence_of(copied, Run(copied.path).records())
    assert looks_of(copied, evidence) is None
    heldout = fingerprint(copied.heldout)
    before = [Look(heldout, f"/elsewhere/{n}", 1) for n in range(3)]
    replace_records(tmp_path / LEDGER, [*before, Look(heldout, str(copied.path), 1), Look("other", "/x", 1)])
    looks = looks_of(copied, evidence)
    assert looks is not None and (looks.models, looks.other_runs, looks.look) == (4, 3, 4)
    assert looks.p_any_time == any_time_p(looks.p_value, 4)
    (said,) = looks_text(replace(looks, p_value=0.001, p_any_time=0.02), level=0.05)
    assert "by 3 other runs too, 4 trained models in all" in said and said.endswith(
        "it is p = 0.020: at 0.05 that holds."
    )
    assert "does not hold" in looks_text(replace(looks, p_any_time=0.2), level=0.05)[0]
    assert looks_text(replace(looks, other_runs=0), level=0.05) == looks_text(None, level=0.05) == []
    (told,) = looks_text(looks, level=evidence.level)
    write_page(tmp_path / "page.html", copied, summary_of(copied))
    export(copied, tmp_path / "model", ExportOptions(round="1"))
    for path in ("page.html", "model/README.md"):
        assert told in html.unescape((tmp_path / path).read_text(encoding="utf-8")), f"{path} tells it too"


@pytest.mark.parametrize(("scores", "card"), [((many(1), many(3), many(1)), 1), ((many(1), many(1), many(1)), 2)])
def test_a_look_is_the_best_rounds_or_the_last_ones(tmp_path: Path, scores: tuple[Scores, ...], card: int) -> None:
    """In its place among all models that were scored on the same problems, of whatever run."""
    run = run_of(tmp_path / "a", *scores)
    found = evidence_of(run, records_of(run))
    heldout, own = fingerprint(run.heldout), str(run.path)
    replace_records(
        tmp_path / LEDGER,
        [
            Look(heldout, "/x/1", 1),
            Look("of other problems", "/x/2", 1),
            Look(heldout, own, card),
            Look(heldout, "/x/1", 2),
            Look(heldout, own, 3 - card),
            Look(heldout, "/x/3", 1),
        ],
    )
    looks, change = looks_of(run, found), found.rounds[card].to_base
    assert looks is not None and change is not None
    assert (looks.models, looks.other_runs, looks.round, looks.look) == (5, 2, card, 2)
    assert looks.p_value == change.strict.p_value
    assert looks.p_any_time == min(1.0, 6 * looks.p_value)


def test_without_a_trained_round_there_is_no_look(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a", many(1))
    record_look(run, 0)
    assert looks_of(run, evidence_of(run, records_of(run))) is None
