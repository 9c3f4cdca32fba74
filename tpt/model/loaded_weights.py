"""Whether a checkpoint holds what its architecture needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from transformers import PreTrainedModel

from tpt.errors import ModelError
from tpt.model.spec import ModelSource

BUFFERS = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
"""What older versions of transformers saved besides weights: it is computed anew."""


def require_weights_of(source: ModelSource, model: PreTrainedModel, report: Mapping[str, Collection[Any]]) -> None:
    """Refuse a checkpoint that does not hold this architecture's weights, all of them, in their shapes, and no others.

    ``report`` is the loading info of ``from_pretrained``.

    Raises:
        ModelError: it does not.
    """
    if misshapen := sorted(report["mismatched_keys"]):
        name, there, wanted = misshapen[0]
        raise ModelError(
            f"model = {source.spec!r}: the shapes of {len(misshapen)} of its weights are not those of its config.json, such as "
            f"{name!r}: {list(there)} there, {list(wanted)} expected. Are the files of two models mixed?"
        )
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"model = {source.spec!r} lacks {len(missing)} weights of {type(model).__name__}, such as {missing[0]!r}; "
            "they would be random. Is it the checkpoint of another architecture, or an adapter without its base model?"
        )
    if unexpected := sorted(name for name in report["unexpected_keys"] if not name.endswith(BUFFERS)):
        raise ModelError(
            f"model = {source.spec!r} has {len(unexpected)} weights that {type(model).__name__} does not know, such as "
            f"{unexpected[0]!r}; they would be dropped. Is it quantised in a way that its config does not name, an "
            "adapter, or the checkpoint of another architecture?"
        )
