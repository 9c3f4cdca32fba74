"""Weights and tokenizers, loaded here alone.

A model spec is one string::

    embedded                  the tiny model that ships with the package
    path/to/folder            a local folder in the layout of from_pretrained (safetensors only), or of an adapter, which
                              is merged into its base model on loading
    path/to/file.gguf         a local GGUF file; dequantised on loading
    gguf:PACKAGE/FILE.gguf    a GGUF file inside an installed Python package, which is not imported
    owner/name                a Hub id, from the network or the local Hub cache
    owner/name@revision       the same at a branch, a tag or a commit
"""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file, extract_commit_hash

from tpt.errors import ModelError, TPTError
from tpt.model.adapter_folder import AdapterFolder, find_adapter
from tpt.model.declared import declared_stop_ids, declared_template
from tpt.model.loaded_weights import BUFFERS, require_weights_of
from tpt.model.number_format import gains_by_bfloat16, has_bfloat16
from tpt.model.quantised import check_stored_types, dequantisation, forget_quantisation
from tpt.model.same_logits import difference, logits_of, probe_ids
from tpt.model.shape import width_of
from tpt.model.spec import ModelSource, has_tokenizer, resolve
from tpt.system.hub_reach import cache_alone_when_offline

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def local_source(spec: str, cache: Path | None) -> ModelSource:
    """Return where a model spec points to, a GGUF file as the folder in ``cache`` that holds it dequantised."""
    return _cached(resolve(spec), cache)


def load_tokenizer(spec: str, *, cache: Path | None = None) -> Any:
    """Return the tokenizer of a model; ``cache`` as in ``load_model``."""
    adapter = find_adapter(spec)
    if adapter is not None and not has_tokenizer(adapter.folder):
        return load_tokenizer(adapter.base, cache=cache)
    source = ModelSource(spec, "folder", str(adapter.folder)) if adapter else _cached(resolve(spec), cache)
    tokenizer = _described(source)[1] if source.kind == "gguf" else _tokenizer(source)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = declared_template(source)
    return tokenizer


def load_stop_ids(spec: str, *, cache: Path | None = None) -> frozenset[int]:
    """Return the tokens that a model declares to end a completion, besides its tokenizer's; ``cache`` as in ``load_model``.

    Raises:
        ModelError: one of them is no token of the model.
    """
    adapter = find_adapter(spec)
    source = _cached(resolve(adapter.base if adapter else spec), cache)
    return declared_stop_ids(source, _config(source))


def load_model(spec: str, *, dtype: str, device: str, cache: Path | None = None) -> PreTrainedModel:
    """Return a model in evaluation mode on its device; code that comes with a model is not run.

    Args:
        spec: See the top of this module.
        dtype: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on CUDA, and on CPUs with instructions for it where
            the model's hidden size is 512 or more, else float32.
        device: ``cpu``, ``cuda``, or ``auto``: CUDA where there is one.
        cache: Folder in which a GGUF model is kept dequantised, in float32, after its first load.

    Raises:
        ModelError: It cannot be loaded, or lacks weights of its architecture.
    """
    target = resolve_device(device)
    precision = resolve_dtype(dtype, target)
    if (adapter := find_adapter(spec)) is not None:
        return _load_adapted(adapter, dtype=dtype, device=device, cache=cache)
    source = _cached(resolve(spec), cache)
    if dtype == "auto" and target.type == "cpu" and _is_faster_in_bfloat16(source):
        precision = torch.bfloat16
    return _load(source, precision).to(target).eval()  # type: ignore[no-any-return, arg-type]


def load_quantised(spec: str, *, compute: torch.dtype, device: torch.device, cache: Path | None) -> PreTrainedModel:
    """Return a model whose linear layers, the output projection left out, hold 4-bit weights (NF4, scales in 8 bits).

    ``compute`` is the precision of its products, and of all other weights. A GGUF file needs a ``cache``.

    Raises:
        ModelError: It cannot be loaded.
    """
    source = _cached(resolve(spec), cache)
    if source.kind == "gguf":
        raise ModelError(f"model = {spec!r}: a GGUF file is quantised already; load it through a cache folder")
    if dequantisation(source, _config(source)) is not None:
        raise ModelError(
            f'model = {spec!r} is quantised already, and train.method = "qlora" would quantise it a second time: set '
            'train.method = "lora", or take the checkpoint that it was quantised from'
        )
    settings = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    with _loading(source):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.location,
            revision=source.hub_revision,
            quantization_config=settings,
            dtype=compute,
            device_map=str(device),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name and shapes
        )
    model = loaded[0]
    require_weights_of(source, model, loaded[1])
    for module in model.modules():
        # On CPUs a product without gradients would pack the weights anew, in a form that nothing can be trained on.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    quantised: PreTrainedModel = model.eval()
    return quantised


def load_architecture(spec: str, *, cache: Path | None = None) -> PreTrainedConfig:
    """Return a model's config, that of the base model for an adapter; no weights are read unless a cache is made."""
    adapter = find_adapter(spec)
    source = _cached(resolve(adapter.base if adapter else spec), cache)
    return _config(source)


def hub_commit(source: ModelSource) -> str:
    """Return the commit that a Hub id stands for now: a digest of all of its files, weights, tokenizer and template.

    Raises:
        ModelError: it is neither on the Hub nor in the local cache.
    """
    with _loading(source):
        path = cached_file(source.location, "config.json", revision=source.hub_revision)
    return str(extract_commit_hash(path, None))


def use_threads(count: int) -> None:
    """Have torch work with so many CPU threads; 0 leaves it at one a core."""
    if count:
        torch.set_num_threads(count)


def resolve_device(device: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``; ModelError when it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise ModelError(f'engine.device = {device!r} is not known; allowed: "auto", "cpu", "cuda"')
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f'engine.device = "cuda", but torch {torch.__version__} sees no CUDA device; '
            'set it to "cpu", or install a CUDA build of torch and check the driver'
        )
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype for ``auto``, ``float32`` or ``bfloat16``; ModelError when the device cannot do it."""
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if dtype not in _DTYPES:
        raise ModelError(f'engine.dtype = {dtype!r} is not known; allowed: "auto", "float32", "bfloat16"')
    if dtype == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ModelError('engine.dtype = "bfloat16", but this GPU has no bfloat16; set it to "float32"')
    return _DTYPES[dtype]


def _is_faster_in_bfloat16(source: ModelSource) -> bool:
    return has_bfloat16() and gains_by_bfloat16(width_of(_config(source)))


def _load_adapted(adapter: AdapterFolder, *, dtype: str, device: str, cache: Path | None) -> PreTrainedModel:
    """Return an adapter's base model with the adapter in its weights, added in float32 before any rounding."""
    try:
        from peft import PeftModel
    except ImportError:
        raise ModelError(f"{adapter.folder} is an adapter, which needs the package peft: pip install peft") from None
    target = resolve_device(device)
    base: Any = load_model(adapter.base, dtype="float32", device=device, cache=cache)
    try:
        with warnings.catch_warnings():
            # What peft asks a model under a name that transformers is about to take away.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            # What it warns of is looked for below.
            warnings.filterwarnings("ignore", "Model (has|with) `tie_word_embeddings=True`", UserWarning)
            adapted: Any = PeftModel.from_pretrained(base, str(adapter.folder))
            expected = logits_of(adapted, probe_ids(base))
            merged: PreTrainedModel = adapted.merge_and_unload()
            wrong = difference(logits_of(merged, probe_ids(base)), expected)
    except (ValueError, KeyError, RuntimeError, TypeError, OSError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{adapter.folder}: the adapter does not fit {adapter.base!r}: {reason}") from error
    if wrong:
        raise ModelError(
            f"{adapter.folder}: merged into {adapter.base!r} the adapter gives other logits than on top of it, {wrong}. Does it "
            "sit on embeddings that the output projection shares? Train one that leaves them alone"
        )
    precision = resolve_dtype(dtype, target)
    if dtype == "auto" and target.type == "cpu" and gains_by_bfloat16(width_of(merged.config)):
        precision = torch.bfloat16
    return merged.requires_grad_(True).to(precision).eval()  # type: ignore[no-any-return, arg-type]


def _load(source: ModelSource, dtype: torch.dtype) -> PreTrainedModel:
    config = None if source.kind == "gguf" else _config(source)
    quantization = dequantisation(source, config)
    with _loading(source):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.location,
            gguf_file=source.gguf_file,
            revision=source.hub_revision,
            quantization_config=quantization,
            dtype=dtype,
            use_safetensors=None if source.kind == "gguf" else True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name and shapes
        )
    model: PreTrainedModel = loaded[0]
    require_weights_of(source, model, loaded[1])
    _untie(model)
    if quantization is None:
        check_stored_types(source, _files_of(source), BUFFERS)
    else:
        forget_quantisation(model)
        # Some methods leave their own precision behind, whatever was asked for.
        model.to(dtype)  # type: ignore[arg-type]
    return model


def _untie(model: PreTrainedModel) -> None:
    """Have the config say so where a checkpoint holds an output embedding of its own, whatever the config said before.

    Else what is saved would be tied by whoever loads it.
    """
    ours, theirs = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if ours is None or theirs is None or ours.weight is theirs.weight:
        return
    for config in (model.config, model.config.get_text_config()):
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False


def _files_of(source: ModelSource) -> Path:
    """Return the folder with a model's files."""
    if source.kind != "hub":
        return Path(source.location)
    return Path(str(cached_file(source.location, "config.json", revision=source.hub_revision))).parent


def _config(source: ModelSource) -> PreTrainedConfig:
    return _described(source)[0] if source.kind == "gguf" else _read_config(source)


def _described(source: ModelSource) -> tuple[PreTrainedConfig, Any]:
    """Return the config and the tokenizer of a GGUF file, copies of what is read once in a process."""
    there = source.gguf_path.stat()
    return copy.deepcopy(_read_gguf(source, there.st_mtime_ns, there.st_size))


@functools.lru_cache(maxsize=1)
def _read_gguf(source: ModelSource, _mtime: int, _size: int) -> tuple[PreTrainedConfig, Any]:
    """Read a GGUF file's config and tokenizer, which takes ten seconds each where the vocabulary is large."""
    return _read_config(source), _tokenizer(source)


def _tokenizer(source: ModelSource) -> Any:
    with _loading(source):
        return AutoTokenizer.from_pretrained(
            source.location, gguf_file=source.gguf_file, revision=source.hub_revision, trust_remote_code=False
        )


def _read_config(source: ModelSource) -> PreTrainedConfig:
    with _loading(source):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            source.location, gguf_file=source.gguf_file, revision=source.hub_revision, trust_remote_code=False
        )
    return config


def _cached(source: ModelSource, cache: Path | None) -> ModelSource:
    """Return a GGUF source as a folder of dequantised weights and tokenizer, made on the first call."""
    if source.kind != "gguf" or cache is None:
        return source
    with source.gguf_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    folder = cache / f"{source.gguf_path.stem}-{digest}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        _save_dequantised(source, folder)
    return ModelSource(source.spec, "folder", str(folder))


def _save_dequantised(source: ModelSource, folder: Path) -> None:
    """Write the folder all at once: other processes see the whole of it or nothing."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        model = _load(source, torch.float32)
        with _quiet():
            model.save_pretrained(made)
        load_tokenizer(source.spec).save_pretrained(made)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster, with the same content
                raise
            shutil.rmtree(made)


@contextmanager
def _loading(source: ModelSource) -> Iterator[None]:
    """Load in silence, explain what fails, read a GGUF file fast, and do not wait for a Hub that cannot be reached."""
    with ExitStack() as stack:
        stack.enter_context(_explained(source))
        stack.enter_context(_quiet())
        if source.kind == "gguf":
            from tpt.model.gguf_header import plain_arrays

            stack.enter_context(plain_arrays())
        if source.kind == "hub":
            stack.enter_context(cache_alone_when_offline())
        yield


@contextmanager
def _explained(source: ModelSource) -> Iterator[None]:
    """Turn the libraries' loading errors into a ModelError that names the spec."""
    try:
        yield
    except (TPTError, MemoryError):
        raise
    # A damaged file makes the libraries raise anything: struct.error, TypeError, of tokenizers a plain Exception.
    except Exception as error:
        damaged = isinstance(error, SafetensorError)
        hint = "\nA file of its weights is damaged or not whole: download or copy it again" if damaged else ""
        if source.kind == "hub":
            hint = (
                f"\n{source.spec!r} is no local folder, so it was taken for a Hub id: check the spelling, the network, "
                "your access to a gated model (hf auth login), and that it has safetensors weights"
            )
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"model = {source.spec!r} cannot be loaded: {type(error).__name__}: {reason}{hint}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' progress bars and tables off the terminal, which belongs to the command line."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_no_table)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_table)
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _is_no_table(record: logging.LogRecord) -> bool:
    """Tell the coloured table of weights that do not fit from other warnings; ``require_weights_of`` says what is in it."""
    return "LOAD REPORT" not in str(record.msg)
