"""Micro-batches without padding: rows end to end in one sequence, and attention that cannot see from one into another.

Each row's attention is computed from its own slice of the sequence, so there is no mask that could be wrong. Whether an
architecture really keeps rows apart (recurrent layers and convolutions do not) is tried out before training, not
believed; one that fails is trained with padding.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from tpt.model.chat import IGNORED_LABEL
from tpt.sft.distributed import broadcast, ranks

NAME = "tpt_packed"
LENGTHS = "row_lengths"
"""The model's input that says how long each row of a packed sequence is; the layers pass it on to their attention."""
WEIGHT = "weight"
"""A row's column with the weight of its tokens, where not all are 1."""
WEIGHTS = "weights"
"""A batch's weights of tokens, float32, shaped like its labels."""
MULTIPLE = 64
"""Tokens of a packed sequence come in multiples of this, where it has at least eight times as many."""
_UNKNOWN_TERMS = ("s_aux", "position_bias")
_KNOWN_IMPLEMENTATIONS = ("sdpa", "eager")

Batch = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Packed:
    """Collates rows into one sequence, filled up at its end so that few lengths come again and again.

    On a CPU oneDNN keeps what it prepares for each shape, and freed blocks of ever other sizes fit nothing: by that the
    training of half a billion parameters grew 3 GiB above its estimate.
    """

    pad_id: int
    """What it is filled up with, as a row of its own that is not trained."""

    def __call__(self, rows: list[dict[str, Any]]) -> Batch:
        """Return ``input_ids``, ``labels`` and ``position_ids``, ``[1, tokens]``, and the rows' lengths; see ``WEIGHTS``."""
        tokens = sum(len(row["input_ids"]) for row in rows)
        spare = -tokens % MULTIPLE
        if spare and tokens >= 8 * MULTIPLE:
            rows = [*rows, {"input_ids": [self.pad_id] * spare, "labels": [IGNORED_LABEL] * spare}]
        lengths = [len(row["input_ids"]) for row in rows]
        weights = torch.cat([torch.full((len(row["input_ids"]),), row.get(WEIGHT, 1.0)) for row in rows])[None]
        return {
            "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
            "labels": torch.tensor([[label for row in rows for label in row["labels"]]]),
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            LENGTHS: lengths,
            **({WEIGHTS: weights} if WEIGHT in rows[0] else {}),
        }


@dataclass(frozen=True, slots=True)
class Padded:
    """Collates rows into one right-padded batch; padding is neither attended to nor trained."""

    pad_id: int

    def __call__(self, rows: list[dict[str, Any]]) -> Batch:
        """Return ``input_ids``, ``attention_mask`` and ``labels``, ``[rows, longest]``; see ``WEIGHTS``."""
        length = max(len(row["input_ids"]) for row in rows)
        batch = {
            "input_ids": torch.full((len(rows), length), self.pad_id),
            "attention_mask": torch.zeros((len(rows), length), dtype=torch.long),
            "labels": torch.full((len(rows), length), IGNORED_LABEL),
        }
        for at, row in enumerate(rows):
            end = len(row["input_ids"])
            batch["input_ids"][at, :end] = torch.tensor(row["input_ids"])
            batch["attention_mask"][at, :end] = 1
            batch["labels"][at, :end] = torch.tensor(row["labels"])
        if WEIGHT in rows[0]:
            batch[WEIGHTS] = torch.tensor([[row[WEIGHT]] for row in rows]).expand(-1, length)
        return batch


def use_packed_attention(model: PreTrainedModel) -> str | None:
    """Make a model attend by ``packed_attention``, and return the name of its own attention; None: it cannot be packed.

    Undone by ``model.set_attn_implementation`` with that name.
    """
    model.train(False)
    before = model.config._attn_implementation
    passes_on = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(model.base_model.forward).parameters.values())
    has_states = model.base_model is not model
    if before not in _KNOWN_IMPLEMENTATIONS or not (model._supports_attention_backend and passes_on and has_states):
        return None
    AttentionInterface.register(NAME, packed_attention)
    # Of several processes the first is sure to have weights to try it with.
    expected = _alone(model) if ranks().is_first else []
    model.set_attn_implementation(NAME)
    try:
        apart = ranks().is_first and _keeps_rows_apart(model, expected)
    except NotImplementedError:  # what packed_attention says to a layer that wants more than it has
        apart = False
    if broadcast(int(apart)):
        return str(before)
    model.set_attn_implementation(before)
    return None


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **terms: Any,
) -> tuple[Tensor, None]:
    """Return each row's causal attention over itself, ``[1, tokens, heads, width]``.

    The signature is that of transformers' attention functions, keyword terms included.

    Args:
        module: The attention layer.
        query: ``[1, heads, tokens, width]``.
        key: ``[1, key_heads, tokens, width]``.
        value: Like ``key``.
        attention_mask: Not used: rows hold no padding.
        terms: ``row_lengths`` (without it all is one row), ``scaling``, ``softcap``, ``sliding_window`` and ``dropout``.

    Raises:
        NotImplementedError: the layer uses a term that is not known here.
    """
    for term in _UNKNOWN_TERMS:
        if terms.get(term) is not None:
            raise NotImplementedError(f"{type(module).__name__} uses attention with {term!r}")
    lengths = terms.get(LENGTHS) or [query.shape[2]]
    pieces = zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)
    rows = [_attend(q, k, v, terms) for q, k, v in pieces]
    return torch.cat(rows, dim=2).transpose(1, 2).contiguous(), None


def _attend(query: Tensor, key: Tensor, value: Tensor, terms: dict[str, Any]) -> Tensor:
    length, window = query.shape[2], terms.get("sliding_window")
    mask = None
    if window is not None and length > window:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)
    if terms.get("softcap") is not None:
        return _capped(query, key, value, mask=mask, terms=terms)
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=terms.get("dropout", 0.0),
        is_causal=mask is None,
        scale=terms.get("scaling"),
        enable_gqa=key.shape[1] != query.shape[1],
    )


def _capped(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, terms: dict[str, Any]) -> Tensor:
    """Return attention with softcapped scores, which torch's fused kernels do not have."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    cap, length = terms["softcap"], query.shape[2]
    scores = torch.tanh(query @ key.transpose(2, 3) * terms["scaling"] / cap) * cap
    if mask is None:
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1, dtype=torch.float32).to(query.dtype)
    return functional.dropout(weights, terms.get("dropout", 0.0)) @ value


def _probe(model: PreTrainedModel) -> list[Tensor]:
    """Return two rows of ids, longer than the short windows of convolutions."""
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.arange(1, 24, device=model.device) * 7 % vocabulary
    return [ids[:11], ids[11:]]


@torch.no_grad()
def _alone(model: PreTrainedModel) -> list[Tensor]:
    """Return the probe rows' last hidden states, each computed for itself with the model's own attention."""
    return [model.base_model(input_ids=row[None], use_cache=False).last_hidden_state[0] for row in _probe(model)]


@torch.no_grad()
def _keeps_rows_apart(model: PreTrainedModel, expected: list[Tensor]) -> bool:
    """Return whether packed rows have the states they have alone, and no row depends on what is beside it."""
    rows = _probe(model)
    lengths = [len(row) for row in rows]
    positions = torch.cat([torch.arange(length, device=model.device) for length in lengths])[None]

    def states(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        ids = torch.cat([first, second])[None]
        packed = {"input_ids": ids, "position_ids": positions, LENGTHS: lengths, "use_cache": False}
        left, right = model.base_model(**packed).last_hidden_state[0].split(lengths)
        return left, right

    found = states(*rows)
    beside_others = states(rows[0].flip(0), rows[1])[1]
    bound = 1e-3 if model.dtype == torch.float32 else 3e-2
    close = all(float((one - two).norm() / two.norm()) < bound for one, two in zip(found, expected, strict=True))
    return close and torch.equal(beside_others, found[1])
