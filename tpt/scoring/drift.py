"""What a model says of texts that stay the same from round to round: how sure it is, and how far it is from the base."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tpt.model.chat import IGNORED_LABEL
from tpt.records import Outcome, Trace, Verdict
from tpt.scoring import FloatArray

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


LONGEST = 512
"""Tokens of a completion that are looked at, from its beginning."""


FEWEST = 4
"""Texts of a kind that are read whatever they take: fewer would have no standard error worth the name."""
_SHARE, _KINDS, _MODELS = 0.1, 2, 2


_TOKENS = 1024
"""Read at once, padding included: more rows of unlike length would be more padding."""


_CELLS = 2**26
"""Probabilities of one model in memory at once, unless one text alone has more: 256 MB."""


_LEAST = -1e4
"""A log-probability no smaller than this, so that a token that cannot come adds 0 and not 0 times infinity."""


LabelledIds = tuple[list[int], list[int]]
"""Token ids of a prompt and a completion, and their labels: -100 on the prompt."""


class _Row(NamedTuple):
    """A text as token ids, and where its completion begins."""

    ids: list[int]
    begin: int


class _Sums(NamedTuple):
    """Sums over the tokens of each completion; arrays of one number a text."""

    tokens: FloatArray
    entropy: FloatArray
    base_entropy: FloatArray
    kl_base_round: FloatArray
    kl_round_base: FloatArray
    nll: FloatArray
    base_nll: FloatArray


def probe_traces(traces: Iterable[Trace], verdicts: Iterable[Verdict], count: int) -> list[Trace]:
    """Return the first correct finished trace of each of the first ``count`` problems that have one, by problem id."""
    right = {(v.problem_id, v.sample) for v in verdicts if v.outcome is Outcome.CORRECT}
    first: dict[str, Trace] = {}
    for trace in sorted(traces, key=lambda trace: (trace.problem_id, trace.sample)):
        if (trace.problem_id, trace.sample) in right and trace.finish_reason == "stop":
            first.setdefault(trace.problem_id, trace)
    return list(first.values())[:count]


def probe_room(sampled_tokens: float) -> float:
    """Return the tokens of texts of a kind, prompts counted, that a tenth of an evaluation's time is enough for.

    A token that is read takes about as long as one that is sampled, and two models read texts of two kinds.
    """
    return _SHARE * sampled_tokens / (_KINDS * _MODELS)


def probe(
    model: PreTrainedModel,
    base: PreTrainedModel,
    *,
    traces: Sequence[LabelledIds],
    solutions: Sequence[LabelledIds],
    room: float = math.inf,
    show: Callable[[str], None] = lambda said: None,
) -> dict[str, float]:
    """Compare a model with the base model on texts, each as it would be trained on.

    Of either kind the first texts are read that fit into ``room`` tokens, ``FEWEST`` at least; ``show`` is told how far it is.

    All values are per token of the completions, in nats. Of the traces: ``entropy`` of the model's next token,
    ``kl_base_round`` and ``kl_round_base``. Of the solutions: ``human_nll``, the negative log-likelihood. Each has a
    ``_stderr`` over texts, as have the changes against the base model. A part with fewer than two texts is left out.

    On a CPU the same texts, models and number of threads give the same numbers, bit for bit.
    """
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    found: dict[str, float] = {}
    own = _rows(traces, longest, room)
    if len(own) > 1:
        sums = _measure(model, base, own, lambda said: show(f"probe, own texts: {said}"))
        found |= {"texts": len(own), "tokens": float(sums.tokens.sum())}
        found |= _ratio("entropy", sums.entropy, sums.tokens)
        found |= _ratio("entropy_change", sums.entropy - sums.base_entropy, sums.tokens)
        found |= _ratio("kl_base_round", sums.kl_base_round, sums.tokens)
        found |= _ratio("kl_round_base", sums.kl_round_base, sums.tokens)
    human = _rows(solutions, longest, room)
    if len(human) > 1:
        sums = _measure(model, base, human, lambda said: show(f"probe, human texts: {said}"))
        found |= {"human_texts": len(human), "human_tokens": float(sums.tokens.sum())}
        found |= _ratio("human_nll", sums.nll, sums.tokens)
        found |= _ratio("human_nll_change", sums.nll - sums.base_nll, sums.tokens)
    return found


def _rows(texts: Sequence[LabelledIds], longest: int | None, room: float) -> list[_Row]:
    """Return the first texts, cut to what the model can read; those without a completion are left out."""
    rows: list[_Row] = []
    for ids, labels in texts:
        if room <= 0 and len(rows) >= FEWEST:
            break
        begin = sum(label == IGNORED_LABEL for label in labels)
        read = ids[: begin + LONGEST][:longest]
        if 0 < begin < len(read):
            rows.append(_Row(read, begin))
            room -= len(read)
    return rows


def _measure(model: PreTrainedModel, base: PreTrainedModel, rows: Sequence[_Row], show: Callable[[str], None]) -> _Sums:
    import torch

    columns: dict[str, FloatArray] = defaultdict(lambda: np.zeros(len(rows)))
    width = int(model.config.get_text_config().vocab_size)
    done, total = 0, sum(len(row.ids) for row in rows)
    with torch.inference_mode():
        for batch in _batches(rows, min(_TOKENS, _CELLS // width)):
            chosen = [rows[at] for at in batch]
            show(f"{done:,} of {total:,} tokens read")
            done += sum(len(row.ids) for row in chosen)
            ours, targets = _log_probabilities(model, chosen)
            theirs = ours if base is model else _log_probabilities(base, chosen)[0]
            row_of_token = torch.cat([torch.full((len(row.ids) - row.begin,), at) for at, row in enumerate(chosen)])
            for name, values in _per_token(ours, theirs, targets).items():
                sums = torch.zeros(len(chosen), dtype=torch.float64).index_add_(0, row_of_token, values.double().cpu())
                columns[name][batch] = sums.numpy()
    return _Sums(**columns)


def _per_token(ours: Tensor, theirs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the values of each token: [tokens] from [tokens, vocabulary]."""
    ours_p, theirs_p = ours.exp(), theirs.exp()
    return {
        "tokens": ours.new_ones(len(targets)),
        "entropy": -(ours_p * ours).sum(-1),
        "base_entropy": -(theirs_p * theirs).sum(-1),
        "kl_base_round": (theirs_p * (theirs - ours)).sum(-1),
        "kl_round_base": (ours_p * (ours - theirs)).sum(-1),
        "nll": -ours.gather(1, targets[:, None])[:, 0],
        "base_nll": -theirs.gather(1, targets[:, None])[:, 0],
    }


def _log_probabilities(model: PreTrainedModel, rows: Sequence[_Row]) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of every completion token's position, [tokens, vocabulary], and the tokens there."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    device = model.device
    ids = pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True)
    mask = pad_sequence([torch.ones(len(row.ids), dtype=torch.long) for row in rows], batch_first=True)
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
    at = torch.cat([torch.full((len(row.ids) - row.begin,), index) for index, row in enumerate(rows)])
    positions = torch.cat([torch.arange(row.begin, len(row.ids)) for row in rows])
    chosen = logits[at.to(device), (positions - 1).to(device)].float()
    return chosen.log_softmax(-1).clamp_(min=_LEAST), ids[at, positions].to(device)


def _batches(rows: Sequence[_Row], tokens: int) -> Iterator[list[int]]:
    """Yield the indices of the rows, the longest first, so many that padded they have ``tokens`` tokens at most."""
    order = sorted(range(len(rows)), key=lambda at: (-len(rows[at].ids), at))
    while order:
        height = max(1, tokens // len(rows[order[0]].ids))
        yield order[:height]
        order = order[height:]


def _ratio(name: str, sums: FloatArray, tokens: FloatArray) -> dict[str, float]:
    """Return a mean over tokens and its standard error, texts being the units that are independent of each other."""
    value = float(sums.sum() / tokens.sum())
    left = sums - value * tokens
    texts = len(tokens)
    stderr = math.sqrt(float((left**2).sum()) * texts / (texts - 1)) / float(tokens.sum())
    return {name: value, f"{name}_stderr": stderr}
