"""One model in the form that each engine of yardsticks.py reads, all made of one GGUF file and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

from tpt.model.load import load_model, load_tokenizer
from tpt.model.spec import resolve

TYPES = {
    "bf16": gguf.GGMLQuantizationType.BF16,
    "f16": gguf.GGMLQuantizationType.F16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}


def checkpoint(spec: str, cache: Path) -> Path:
    """Return the folder of the model's weights in bfloat16, with its tokenizer."""
    folder = cache / "checkpoint"
    if not (folder / "done").is_file():
        load_model(spec, dtype="bfloat16", device="cpu", cache=cache).save_pretrained(folder)
        load_tokenizer(spec, cache=cache).save_pretrained(folder)
        (folder / "done").touch()
    return folder


def rewritten(spec: str, cache: Path, kind: str) -> Path:
    """Return the GGUF file with its matrices in another type of number, everything else as it is."""
    file = cache / f"{kind}.gguf"
    if file.is_file():
        return file
    reader = gguf.GGUFReader(resolve(spec).gguf_path)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    partial = file.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, architecture)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != gguf.Keys.General.ARCHITECTURE:
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if numbers.ndim < 2:
            writer.add_tensor(tensor.name, numbers)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(numbers, TYPES[kind]), raw_dtype=TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(file)
    return file


def for_ctranslate2(spec: str, cache: Path, python: Path) -> Path:
    """Return the folder of CTranslate2's own format, converted by its package beside our torch and transformers."""
    folder = cache / "ctranslate2"
    if not folder.is_dir():
        theirs = sorted((python.parent.parent / "lib").glob("python*/site-packages"))[0]
        script = "from ctranslate2.converters.transformers import main; main()"
        command = [sys.executable, "-c", script, "--model", str(checkpoint(spec, cache)), "--output_dir", str(folder)]
        command += ["--quantization", "bfloat16"]
        path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(theirs)])
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
    return folder


def prompts_of(spec: str, cache: Path, questions: list[str]) -> tuple[list[list[int]], list[list[str]]]:
    """Return each question as the model's own template puts it, in ids and in pieces."""
    tokenizer = load_tokenizer(spec, cache=cache)
    turns = ([{"role": "user", "content": question}] for question in questions)
    ids = [list(tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]) for turn in turns]
    return ids, [tokenizer.convert_ids_to_tokens(each) for each in ids]
