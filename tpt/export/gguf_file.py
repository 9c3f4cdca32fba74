"""A checkpoint folder as one GGUF file, for the families whose file was shown to give the same logits and tokens.

Key and tensor names are those of the GGUF specification as the ``gguf`` package spells them. Llama's query and key rows
are reordered, since GGUF readers rotate neighbouring pairs of a head's numbers where transformers rotates its halves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.errors import ModelError
from tpt.system.jsonl import read_json

_FAMILIES = ("llama", "qwen2")
_INSTEAD = "Export without --gguf; llama.cpp's convert_hf_to_gguf.py reads the exported folder"
_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_PATTERN = _QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_PROBE = "Ann has 1234 apples, 5.5 kg;\n\n  she'll eat \u00bd \u2014 12*3 = 36\t\u4f60\u597d \U0001f642\n#### 36 "


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    tokens: list[str]
    types: list[int]
    merges: list[str]
    splitting: str
    """How text is cut before merging, by the name that GGUF readers know."""


def write_gguf(folder: Path, path: Path, *, name: str) -> None:
    """Write the model of a folder to ``path``, weights in the precision they have; vectors in float32.

    Raises:
        ModelError: the family, its rotary embedding or its tokenizer is not one whose GGUF form was verified.
    """
    import gguf
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(folder)
    _check_family(config)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = _vocabulary(tokenizer, folder, size=config.vocab_size)
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_type("model")
    writer.add_name(name)
    _add_shape(writer, config)
    _add_vocabulary(writer, vocabulary, tokenizer, _stop_ids(folder))
    _add_weights(writer, config, folder)
    writer.close()
    _check_tokens(path, tokenizer)


def _check_family(config: Any) -> None:
    family = config.model_type
    if family not in _FAMILIES:
        raise ModelError(f"no GGUF is written for a {family!r} model, only for {' and '.join(_FAMILIES)}. {_INSTEAD}")
    rope = dict(config.rope_parameters or {})
    odd = ""
    if rope.get("rope_type", "default") != "default":
        odd = f"its rotary embedding is of the type {rope['rope_type']!r}"
    elif getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        odd = "its projections have biases"
    elif getattr(config, "use_sliding_window", False):
        odd = "it attends within a sliding window"
    elif config.hidden_act != "silu":
        odd = f"its activation is {config.hidden_act!r}"
    elif family == "qwen2" and _head_size(config) * config.num_attention_heads != config.hidden_size:
        odd = "its heads are not as wide as its hidden size says"
    if odd:
        raise ModelError(f"no GGUF is written for this {family} model: {odd}. {_INSTEAD}")


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _add_shape(writer: Any, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_vocab_size(config.vocab_size)


def _stop_ids(folder: Path) -> list[int]:
    """Return the tokens that end a completion, as the checkpoint's generation config has them."""
    path = folder / "generation_config.json"
    stops = read_json(path).get("eos_token_id", []) if path.is_file() else []
    return [stops] if isinstance(stops, int) else list(stops or [])


def _vocabulary(tokenizer: Any, folder: Path, *, size: int) -> _Vocabulary:
    """Read a byte-level BPE tokenizer; ModelError for any other kind."""
    import gguf

    table = read_json(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else {}
    model = table.get("model") or {}
    splitting = _splitting(table.get("pre_tokenizer"))
    if model.get("type") != "BPE" or not splitting or table.get("normalizer") not in (None, {"type": "NFC"}):
        raise ModelError(
            f"no GGUF is written for a tokenizer of the kind {model.get('type', 'without tokenizer.json')!r} with this way "
            f"of cutting text; verified are the byte-level BPE tokenizers of GPT-2, SmolLM, Qwen 2 and Llama 3. {_INSTEAD}"
        )
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    if max(by_id) >= size:
        raise ModelError(f"the tokenizer has the id {max(by_id)}, but the model knows {size} tokens")
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for index in range(size):
        tokens.append(by_id.get(index, f"[PAD{index}]"))
        kind = gguf.TokenType.NORMAL if index in by_id else gguf.TokenType.UNUSED
        if index in added:
            kind = gguf.TokenType.CONTROL if added[index].special else gguf.TokenType.USER_DEFINED
        types.append(int(kind))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    return _Vocabulary(tokens, types, merges, splitting)


def _splitting(pre_tokenizer: dict[str, Any] | None) -> str:
    """Return the GGUF name of a tokenizer's pre-tokenizer; "" when it has none."""
    parts = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    if not pre_tokenizer or parts[-1]["type"] != "ByteLevel" or parts[-1].get("add_prefix_space"):
        return ""
    *before, last = parts
    if last.get("use_regex", True):
        if before and not (len(before) == 1 and before[0]["type"] == "Digits" and before[0].get("individual_digits")):
            return ""
        return "smollm" if before else "gpt-2"
    if len(before) != 1 or before[0]["type"] != "Split":
        return ""
    pattern = before[0]["pattern"].get("Regex")
    return {_QWEN2_PATTERN: "qwen2", _LLAMA3_PATTERN: "llama-bpe"}.get(pattern, "")


def _add_vocabulary(writer: Any, vocabulary: _Vocabulary, tokenizer: Any, stop_ids: list[int]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.splitting)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    ids = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    ids |= {"unk": tokenizer.unk_token_id, "pad": tokenizer.pad_token_id}
    # A reader that stops at eos alone would run on past a turn that ends in another token.
    ids["eot"] = next((each for each in stop_ids if each != tokenizer.eos_token_id), None)
    add = {"bos": writer.add_bos_token_id, "eos": writer.add_eos_token_id, "unk": writer.add_unk_token_id}
    add |= {"pad": writer.add_pad_token_id, "eot": writer.add_eot_token_id}
    for name, index in ids.items():
        if index is not None:
            add[name](index)
    opening = tokenizer("a").input_ids[:1]
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and opening == [tokenizer.bos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _add_weights(writer: Any, config: Any, folder: Path) -> None:
    """Stream the weights from file to file, so that a model need not fit into memory twice."""
    import gguf
    import numpy as np
    from safetensors import safe_open

    architecture = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == config.model_type)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    plan: list[tuple[Path, str]] = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="np") as opened:
            for weight in opened.keys():  # noqa: SIM118  (it is no mapping)
                if weight == "lm_head.weight" and config.tie_word_embeddings:
                    continue
                shape = opened.get_slice(weight).get_shape()
                kind = _kind(opened.get_slice(weight).get_dtype(), len(shape))
                stem, _, suffix = weight.rpartition(".")
                known = names.get_name(stem)
                if known is None:
                    raise ModelError(f"no GGUF is written: it has no place for the weight {weight!r}. {_INSTEAD}")
                stored = np.dtype(np.uint16 if kind is gguf.GGMLQuantizationType.BF16 else np.float32)
                nbytes = math.prod(shape) * stored.itemsize
                writer.add_tensor_info(f"{known}.{suffix}", shape, stored, nbytes, raw_dtype=kind)
                plan.append((path, weight))
    kinds = {info.dtype for tensors in writer.tensors for info in tensors.values()}
    is_rounded = gguf.GGMLQuantizationType.BF16 in kinds
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16 if is_rounded else gguf.LlamaFileType.ALL_F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for path, weight in plan:
        with safe_open(path, framework="pt") as opened:
            writer.write_tensor_data(_as_stored(opened.get_tensor(weight), weight, config))


def _kind(dtype: str, dimensions: int) -> Any:
    """Return what a weight is stored as: bfloat16 stays bfloat16, except in vectors, which readers want in float32."""
    import gguf

    kinds = gguf.GGMLQuantizationType
    return kinds.BF16 if dtype == "BF16" and dimensions > 1 else kinds.F32


def _as_stored(tensor: Any, name: str, config: Any) -> Any:
    import torch

    if config.model_type == "llama" and ".self_attn." in name and (".q_proj." in name or ".k_proj." in name):
        heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
        split = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
        tensor = split.swapaxes(1, 2).reshape(tensor.shape)
    tensor = tensor.contiguous()
    if tensor.dtype is torch.bfloat16 and tensor.dim() > 1:
        return tensor.view(torch.uint16).numpy()
    return tensor.float().numpy()


def _check_tokens(path: Path, tokenizer: Any) -> None:
    """Read the file's tokenizer back and compare; ModelError when it cuts text in other places."""
    from transformers import AutoTokenizer

    read = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    texts = [_PROBE, tokenizer.chat_template or "", tokenizer.eos_token]
    for text in texts:
        ours, theirs = (each(text, add_special_tokens=False).input_ids for each in (tokenizer, read))
        if ours != theirs:
            raise ModelError(f"no GGUF is written: its tokenizer would cut {text[:60]!r} in other places. {_INSTEAD}")
