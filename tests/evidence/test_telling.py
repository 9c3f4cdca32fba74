"""What trackers and the user's commands are told of a run's rounds, and of its end, whatever ends it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from scored_run import many, records_of, run_of

from tpt.config import RunConfig, load_config
from tpt.errors import RunError
from tpt.evidence import evidence_of
from tpt.evidence.alarms import Alarm
from tpt.evidence.round_numbers import round_numbers, sentence_of
from tpt.evidence.telling import Teller, told
from tpt.run import trackers
from tpt.run.directory import RunDir

GREEDY = (dict.fromkeys(many(1), "S"),) * 2


def opened(tmp_path: Path) -> tuple[RunDir, RunConfig, Path]:
    """A run of two scored rounds, whose commands write down what they hear."""
    heard = tmp_path / "heard.jsonl"
    commands = tuple(f"notify.{name}=cat >> {heard}" for name in ("on_round", "on_end"))
    run = run_of(tmp_path / "first", many(1), many(3), settings=(*commands, "rounds=4"), greedy=GREEDY)
    return run, load_config(run.config), heard


def said(heard: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in heard.read_text().splitlines()] if heard.exists() else []


def test_a_new_round_is_told_with_its_numbers_and_its_sentence(tmp_path: Path) -> None:
    run, config, heard = opened(tmp_path)
    records = records_of(run)
    teller = Teller(run, config)
    teller.round(records[:1], is_new=True)
    teller.round(records, is_new=True)
    base, first = said(heard)
    evidence = evidence_of(run, records)
    assert base["numbers"] == round_numbers(records[0], evidence_of(run, records[:1]), [])
    assert base["best"] == 0 and base["sentence"].endswith("best: the base model")
    assert first.pop("numbers")["pass_at_1/strict"] == evidence.rounds[1].strict.mean
    (alarm,) = first.pop("alarms")
    assert alarm.startswith("Round 1, sharpening only: lenient pass@1 ")
    assert first == {
        "event": "round",
        "run": str(run.path.resolve()),
        "name": "first",
        "model": config.model,
        "round": 1,
        "rounds": 4,
        "best": 1,
        "sentence": sentence_of(records[1], evidence),
    }


def test_alarms_are_those_of_the_round(tmp_path: Path) -> None:
    run, config, heard = opened(tmp_path)
    (run.round(1).greedy_verdicts).unlink()
    Teller(run, config).round(records_of(run), is_new=True)
    (first,) = said(heard)
    assert first["alarms"] == [] and first["numbers"]["alarms/count"] == 0


def test_a_round_that_an_earlier_process_finished_is_told_to_trackers_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[int, float]] = []
    closed = []

    def opener(run: RunDir, config: object, known: dict[str, Any]) -> Any:
        def log(numbers: Mapping[str, float], index: int) -> None:
            taken.append((index, numbers["pass_at_1/strict"]))

        return log, lambda: closed.append(True)

    monkeypatch.setitem(trackers._OPENERS, "mlflow", opener)
    run, config, heard = opened(tmp_path)
    records = records_of(run)
    config = config.model_copy(update={"train": config.train.model_copy(update={"report_to": ["mlflow"]})})
    teller = Teller(run, config)
    teller.round(records, is_new=False)
    assert taken == said(heard) == []
    teller.finished("all rounds are done")
    scores = [card.strict.mean for card in evidence_of(run, records).rounds]
    assert taken == list(enumerate(scores))
    assert not closed
    teller.close(None)
    assert closed == [True]
    (end,) = said(heard)
    assert (end["event"], end["ended"], end["why"]) == ("end", "finished", "all rounds are done")
    assert (end["round"], end["numbers"]["pass_at_1/strict"]) == (1, scores[1])


@pytest.mark.parametrize(
    ("error", "ended", "why"),
    [
        (RunError("the disk is full"), "error", "the disk is full"),
        (KeyboardInterrupt(), "interrupted", ""),
        (GeneratorExit(), "interrupted", ""),
    ],
)
def test_whatever_ends_a_run_is_told_and_goes_on(tmp_path: Path, error: BaseException, ended: str, why: str) -> None:
    run, config, heard = opened(tmp_path)
    with pytest.raises(type(error)), told(run, config) as teller:
        teller.round(records_of(run), is_new=True)
        raise error
    _, end = said(heard)
    assert (end["event"], end["ended"], end["why"], end["round"], end["name"]) == ("end", ended, why, 1, "first")


def test_without_a_tracker_or_a_command_nothing_is_computed(tmp_path: Path) -> None:
    run, config, _ = opened(tmp_path)
    records = records_of(run)
    quiet = config.model_copy(update={"notify": config.notify.model_copy(update={"on_round": "", "on_end": ""})})
    run.round(1).evaluate_verdicts.unlink()
    with told(run, quiet) as teller:
        teller.round(records, is_new=True)
        teller.finished("done")
    with pytest.raises(RunError, match="verdicts"):
        Teller(run, config).round(records, is_new=True)


def test_each_command_hears_of_its_own(tmp_path: Path) -> None:
    run, config, heard = opened(tmp_path)
    for name, events in (("on_round", ["round"]), ("on_end", ["end"])):
        heard.unlink(missing_ok=True)
        only = config.notify.model_copy(update={"on_round": "", "on_end": "", name: getattr(config.notify, name)})
        with told(run, config.model_copy(update={"notify": only})) as teller:
            teller.round(records_of(run), is_new=True)
            teller.finished("done")
        assert [each["event"] for each in said(heard)] == events
        assert said(heard)[0]["round"] == 1


def test_a_command_that_takes_too_long_is_ended_by_its_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, config, _ = opened(tmp_path)
    slow = config.notify.model_copy(update={"on_round": "sleep 60", "on_end": "exit 3", "timeout_s": 0.2})
    with told(run, config.model_copy(update={"notify": slow})) as teller:
        teller.round(records_of(run), is_new=True)
    lines = capfd.readouterr().err.splitlines()
    assert "notify.on_round: 'sleep 60' was ended after 0.2 s" in lines[0]
    assert "notify.on_end: 'exit 3' ended with exit code 3" in lines[1]


def test_a_tracker_that_is_not_installed_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, config, _ = opened(tmp_path)
    monkeypatch.setattr(trackers, "is_installed", lambda name: False)
    asks = config.model_copy(update={"train": config.train.model_copy(update={"report_to": ["mlflow"]})})
    with pytest.raises(RunError, match="not installed: mlflow"), told(run, asks):
        raise AssertionError("nothing may begin")


def test_a_rounds_numbers_by_hand(tmp_path: Path) -> None:
    run, _, _ = opened(tmp_path)
    base, first = records_of(run)
    evidence = evidence_of(run, [base, first])
    first = replace(
        first,
        evaluate=replace(first.evaluate, lengths={"mean": 5.5}),
        think={"completion_tokens": 100, "surplus_tokens": 20, "cancelled_tokens": 3, "samples": 7},
        prune={"examples": 30, "kept": 31},
        train={"target_tokens": 900, "loss_first": 2.0, "loss_last": None},
        wall_s=12.5,
    )
    alarms = [Alarm(1, "far from the base model", "", "", ""), Alarm(0, "repetition", "", "", "")]
    card = evidence.rounds[1]
    gain = card.to_base
    assert gain is not None and gain.sharpening is not None and gain.skill is not None
    found = round_numbers(first, evidence, alarms)
    curve = {
        f"pass_at_k/{name}/{k}": scores[k].mean
        for name, scores in (("strict", card.pass_at_k), ("lenient", card.pass_at_k_lenient))
        for k in first.evaluate.pass_at_k
    }
    assert curve and found == {
        **curve,
        "pass_at_1/strict": (3 + 4 + 5 + 6 + 7) / 5 / 8,
        "pass_at_1/lenient": card.lenient.mean,
        "pass_at_1/greedy": 1.0,
        "gain/strict": gain.strict.mean,
        "gain/lenient": gain.lenient.mean,
        "gain/format": 0.0,
        "gain/sharpening": gain.sharpening.mean,
        "gain/skill": 0.0,
        "gain/strict_low": gain.strict.low,
        "gain/strict_high": gain.strict.high,
        "gain/strict_p": gain.strict.p_holm,
        "alarms/count": 1.0,
        "alarms/far_from_the_base_model": 1.0,
        "tokens/evaluate": 5.5 * 60 * 8,
        "tokens/think": 123.0,
        "tokens/trained": 900.0,
        "loss/first": 2.0,
        "examples": 30.0,
        "seconds": 12.5,
    }
    assert all(type(value) is float for value in found.values())
    bare = round_numbers(base, evidence_of(run, [base]), [])
    assert "gain/strict" not in bare and "tokens/think" not in bare and bare["alarms/count"] == 0.0


def test_a_round_in_one_sentence(tmp_path: Path) -> None:
    run, _, _ = opened(tmp_path)
    base, first = records_of(run)
    found = evidence_of(run, [base, first])
    gain = found.rounds[1].to_base
    assert gain is not None
    shown = f"{100 * gain.strict.mean:+.1f} points [{100 * gain.strict.low:+.1f}, {100 * gain.strict.high:+.1f}]"
    assert sentence_of(first, found) == f"round 1: 62.5% strict, 62.5% lenient, {shown}: gain; best: round 1"
    assert sentence_of(base, found) == "round 0: 37.5% strict, 37.5% lenient; best: round 1"


def test_a_run_may_be_told_of_where_its_folder_is_a_link(tmp_path: Path) -> None:
    run, config, heard = opened(tmp_path)
    (tmp_path / "latest").symlink_to(run.path)
    Teller(RunDir(tmp_path / "latest"), config).round(records_of(run), is_new=True)
    assert said(heard)[0]["run"] == str(run.path.resolve()) and said(heard)[0]["name"] == "first"
