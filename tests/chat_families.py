"""The chat formats of the model families that people train, each with a small tokenizer of bytes.

``templates/`` holds short templates with the output of the families' own; their special tokens stand here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Family:
    prompt: str
    """What the question \"What is 2 + 2?\" becomes without a system text."""
    end: str
    eos: str
    bos: str | None = None
    adds_bos: bool = False
    pad: str | None = None
    system_role: bool = True
    others: tuple[str, ...] = ()


_LLAMA_SYSTEM = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n<|eot_id|>"
)
FAMILIES = {
    "llama3": Family(
        f"{_LLAMA_SYSTEM}<|start_header_id|>user<|end_header_id|>\n\nWhat is 2 + 2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        end="<|eot_id|>",
        eos="<|eot_id|>",
        bos="<|begin_of_text|>",
        adds_bos=True,
        others=("<|start_header_id|>", "<|end_header_id|>"),
    ),
    "gemma2": Family(
        "<bos><start_of_turn>user\nWhat is 2 + 2?<end_of_turn>\n<start_of_turn>model\n",
        end="<end_of_turn>",
        eos="<eos>",
        bos="<bos>",
        adds_bos=True,
        pad="<pad>",
        system_role=False,
        others=("<start_of_turn>",),
    ),
    "gemma3": Family(
        "<bos><start_of_turn>user\nWhat is 2 + 2?<end_of_turn>\n<start_of_turn>model\n",
        end="<end_of_turn>",
        eos="<eos>",
        bos="<bos>",
        adds_bos=True,
        pad="<pad>",
        others=("<start_of_turn>",),
    ),
    "qwen2_5": Family(
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>",
        eos="<|im_end|>",
        pad="<|endoftext|>",
        others=("<|im_start|>",),
    ),
    "qwen3": Family(
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>",
        eos="<|im_end|>",
        pad="<|endoftext|>",
        others=("<|im_start|>", "<think>", "</think>"),
    ),
    "smollm2": Family(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>",
        eos="<|im_end|>",
        bos="<|im_start|>",
        pad="<|im_end|>",
    ),
    "mistral": Family(
        "<s>[INST] What is 2 + 2? [/INST]",
        end="</s>",
        eos="</s>",
        bos="<s>",
        adds_bos=True,
        others=("[INST]", "[/INST]"),
    ),
    "phi3": Family(
        "<|user|>\nWhat is 2 + 2?<|end|>\n<|assistant|>\n",
        end="<|end|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        others=("<|user|>", "<|assistant|>", "<|system|>"),
    ),
}


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """Bytes, and the family's special tokens."""
    family = FAMILIES[name]
    special = dict.fromkeys(
        token for token in (family.bos, family.eos, family.end, family.pad, *family.others) if token is not None
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    if family.adds_bos:
        bos = (family.bos, tokenizer.token_to_id(family.bos))
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{family.bos} $A", special_tokens=[bos])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        # A file ends in a newline, a template does not.
        chat_template=(TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n"),
    )
