"""What a round came to, as plain numbers under fixed names: for trackers, and for commands that are told."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tpt.evidence.alarms import Alarm
from tpt.evidence.cards import Evidence
from tpt.records import RoundRecord, evaluate_tokens, think_tokens
from tpt.system.words import points


def round_numbers(record: RoundRecord, evidence: Evidence, alarms: Sequence[Alarm]) -> dict[str, float]:
    """Return a finished round's numbers: scores are shares, gains differences of shares against the base model.

    Names hold letters, digits, ``_`` and ``/`` alone, which every tracker takes.
    """
    card = next(each for each in evidence.rounds if each.round == record.index)
    found: dict[str, float] = {"pass_at_1/strict": card.strict.mean, "pass_at_1/lenient": card.lenient.mean}
    if card.greedy_lenient is not None:
        found["pass_at_1/greedy"] = card.greedy_lenient.mean
    for k in record.evaluate.pass_at_k:
        found[f"pass_at_k/strict/{k}"] = card.pass_at_k[k].mean
        found[f"pass_at_k/lenient/{k}"] = card.pass_at_k_lenient[k].mean
    if base := card.to_base:
        parts = {"strict": base.strict, "lenient": base.lenient, "format": base.format}
        for name, part in {**parts, "sharpening": base.sharpening, "skill": base.skill}.items():
            if part is not None:
                found[f"gain/{name}"] = part.mean
        found |= {"gain/strict_low": base.strict.low, "gain/strict_high": base.strict.high}
        found["gain/strict_p"] = base.strict.p_holm
    of_round = [alarm for alarm in alarms if alarm.round == record.index]
    found["alarms/count"] = len(of_round)
    found |= {f"alarms/{re.sub(r'[^A-Za-z0-9]+', '_', alarm.name)}": 1 for alarm in of_round}
    return {name: float(value) for name, value in {**found, **_effort(record)}.items()}


def sentence_of(record: RoundRecord, evidence: Evidence) -> str:
    """Return a round in one sentence."""
    card = next(each for each in evidence.rounds if each.round == record.index)
    said = f"round {record.index}: {card.strict.mean:.1%} strict, {card.lenient.mean:.1%} lenient"
    if card.to_base:
        gain = card.to_base.strict
        said += f", {points(gain.mean)} points [{points(gain.low)}, {points(gain.high)}]: {gain.finding}"
    return f"{said}; best: {f'round {evidence.best}' if evidence.best else 'the base model'}"


def _effort(record: RoundRecord) -> dict[str, float]:
    found: dict[str, float] = {"tokens/evaluate": evaluate_tokens(record), "seconds": record.wall_s}
    if record.think:
        found["tokens/think"] = think_tokens(record)
    if record.prune:
        found["examples"] = record.prune["examples"]
    if record.train:
        trained = {"tokens/trained": "target_tokens", "loss/first": "loss_first", "loss/last": "loss_last"}
        found |= {name: record.train[key] for name, key in trained.items() if record.train.get(key) is not None}
    return found
