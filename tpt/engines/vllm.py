"""vLLM in the stage's own process: its scheduler, its kernels and its paged cache behind the engine protocol.

vLLM's engine core runs in this process, so it dies with it; only tensor parallelism starts worker processes, which end
when this one does. The tokenizer stays with ``Chat``: prompts go in as ids, ids come out, and nothing of the model's
generation_config.json is heeded.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from tpt.config import EngineConfig
from tpt.engines import Completion, Guarantee, Request, RequestId, Sampling
from tpt.engines.requests import check_request
from tpt.engines.stops import sampled_completion
from tpt.errors import EngineError, ModelError, did_you_mean
from tpt.model import adapter_folder
from tpt.model.chat import Chat
from tpt.model.load import local_source, resolve_dtype
from tpt.model.spec import ModelSource
from tpt.records import Problem
from tpt.system.child_python import is_installed

_AUTO_SLOTS = 256
_QUOTED = 300
_CPU_CACHE_BYTES = 2 * 2**30
_ENVIRONMENT = {
    # The core in this process: a killed stage leaves nothing behind.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Tensor-parallel workers must not inherit what this process has imported and opened.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
_ENVIRONMENT_DEFAULTS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    # Verifiers run beside the engine; nothing may be tied to single cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_PROBE = Sampling(temperature=2.0, top_p=1.0, top_k=0, max_tokens=16)

_UNUSABLE = (ValueError, RuntimeError, AssertionError, ImportError, OSError, KeyError, TypeError)
"""What vLLM's start-up raises for models and settings that it cannot serve."""


def open_vllm(spec: str, chat: Chat, settings: EngineConfig, *, max_length: int, cache: Path | None) -> VLLMEngine:
    """Load a model and return an engine on it; a folder with an adapter is served as such, on its base model's weights.

    ``settings.device`` is a check only: which device vLLM runs on was decided when it was built. ``max_length`` is that
    of prompt and completion together; ``cache`` keeps GGUF models dequantised.

    Raises:
        EngineError: vLLM is not installed, cannot run here, or cannot run this model.
    """
    if not is_installed("vllm"):
        raise EngineError(
            'engine.name = "vllm", but vLLM is not installed: pip install "think-prune-train[vllm]" on a machine with an '
            'NVIDIA GPU; without one, engine.name = "hf" is the engine to use'
        )
    os.environ.update(_ENVIRONMENT)
    for name, value in _ENVIRONMENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    adapter = served_adapter(spec)
    source = local_source(adapter.base if adapter else spec, cache)
    core = _load(source, adapter, settings, max_length)
    slots = settings.slots or _AUTO_SLOTS
    return VLLMEngine(core, chat, slots=slots, max_length=max_length, spec=spec, adapter=adapter)


class VLLMEngine:
    """An Engine on vLLM; see ``tpt.engines.Engine``.

    On a GPU the guarantee is measured: three short requests, two of them with one seed, show whether vLLM honours seeds.
    Where it does not, as on CPUs, none are sent, and every stage draws from chance.
    """

    guarantee: Guarantee
    slots: int

    def __init__(
        self, core: Any, chat: Chat, *, slots: int, max_length: int, spec: str, adapter: Adapter | None
    ) -> None:
        """Take over a vLLM ``LLMEngine``; raises EngineError when it cannot load the adapter."""
        self.slots = slots
        self._core: Any = core
        self._vllm_error = _vllm_error()
        self._chat = chat
        self._spec = spec
        self._max_length = max_length
        self._vocabulary = core.model_config.get_vocab_size()
        self._running: dict[str, tuple[Request, str]] = {}
        """By request id as text: the request and what vLLM calls it inside."""
        self._adapter = _lora_request(core, adapter) if adapter else None
        # On CPUs vLLM cannot turn a request's generator back after a prompt prefilled in parts, and its step fails.
        self.guarantee = "neither" if core.vllm_config.device_config.device_type == "cpu" else "seeded"
        if self.guarantee == "seeded" and not self._honours_seeds():
            self.guarantee = "neither"

    def add(self, request: Request) -> None:
        """Queue a request; EngineError when it can never be served."""
        key = _key(request.id)
        is_known = key in self._running
        check_request(request, is_known=is_known, max_length=self._max_length, vocabulary=self._vocabulary)
        prompt = {"type": "token", "prompt_token_ids": list(request.prompt_ids)}
        try:
            internal = self._core.add_request(key, prompt, self._params(request), lora_request=self._adapter)
        except (ValueError, self._vllm_error) as error:
            raise EngineError(f"problem {request.id[0]!r}: vLLM does not take the request: {_gist(error)}") from error
        self._running[key] = request, internal

    def step(self) -> list[Completion]:
        """Have vLLM do one step and return what finished."""
        if not self._running:
            return []
        try:
            outputs = self._core.step()
        except (RuntimeError, self._vllm_error) as error:
            raise EngineError(
                f"vLLM failed while sampling: {type(error).__name__}: {_gist(error)}. Finished records are kept; where "
                "memory ran out, lower engine.slots or engine.gpu_memory_utilization"
            ) from error
        return [self._completion(output) for output in outputs if output.finished]

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests and return how many tokens they had sampled."""
        dropped = [(key, self._running.pop(key)[1]) for key in map(_key, ids) if key in self._running]
        sampled = self._sampled(internal for _, internal in dropped)
        self._core.abort_request([key for key, _ in dropped])
        return sampled

    def under_way(self) -> int:
        """Return how many tokens the requests in flight have sampled so far."""
        return self._sampled(internal for _, internal in self._running.values())

    def _sampled(self, internal_keys: Iterable[str]) -> int:
        states = self._core.output_processor.request_states
        return sum(int(states[key].detokenizer.num_output_tokens()) for key in internal_keys if key in states)

    def describe(self) -> dict[str, Any]:
        """Return versions, device and settings, for the stage manifest."""
        import vllm

        config = self._core.vllm_config
        cuda = torch.cuda.is_available()
        return {
            "engine": "vllm",
            "vllm": vllm.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "model": self._spec,
            "adapter": self._adapter is not None,
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "device": str(config.device_config.device_type),
            "device_name": torch.cuda.get_device_name() if cuda else "cpu",
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            "prefix_caching": config.cache_config.enable_prefix_caching,
            "eager": config.model_config.enforce_eager,
            "slots": self.slots,
            "max_length": self._max_length,
            "kv_cache_blocks": config.cache_config.num_gpu_blocks,
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None,
            "seeds_honoured": self.guarantee == "seeded",
            "guarantee": self.guarantee,
            "chat_template": self._chat.template_name,
            "chat_fingerprint": self._chat.fingerprint(),
            "stop_ids": sorted(self._chat.stop_ids),
        }

    def close(self) -> None:
        """Free everything, and end the worker processes if there are any; the engine cannot be used again."""
        from vllm.distributed import cleanup_dist_env_and_memory

        if self._core is None:
            return
        self._running.clear()
        self._core.engine_core.shutdown()
        self._core = None
        cleanup_dist_env_and_memory()

    def _params(self, request: Request) -> Any:
        """Return vLLM's sampling parameters with nothing left to a default that could change a completion."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = request.sampling
        return SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=0.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            seed=request.seed if self.guarantee == "seeded" else None,
            max_tokens=sampling.max_tokens,
            min_tokens=0,
            # What ends a completion is the chat's affair alone, not that of the model's config.
            ignore_eos=True,
            stop_token_ids=sorted(self._chat.stop_ids),
            stop=list(sampling.stop_strings) or None,
            detokenize=bool(sampling.stop_strings),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _completion(self, output: Any) -> Completion:
        request, _ = self._running.pop(output.request_id)
        done = output.outputs[0]
        token_ids = tuple(int(token) for token in done.token_ids)
        if done.finish_reason not in ("stop", "length") or not token_ids:
            raise EngineError(
                f"problem {request.id[0]!r}, sample {request.id[1]}: vLLM ended it with finish_reason "
                f"{done.finish_reason!r} after {len(token_ids)} tokens; its messages above may say why"
            )
        return sampled_completion(request, token_ids, self._chat.decode, self._chat.stop_ids)

    def _honours_seeds(self) -> bool:
        """Return whether one seed gives one completion and another seed another, at vLLM's highest temperature."""
        ids = self._chat.prompt_ids(Problem("probe", "?", ""))[-1:]
        sampling = dataclasses.replace(_PROBE, max_tokens=min(_PROBE.max_tokens, self._max_length - 1))
        for sample, seed in enumerate((11, 12, 11)):
            self.add(Request(("probe", sample), ids, seed, sampling))
        found: dict[int, tuple[int, ...]] = {}
        while self._running:
            found.update({completion.id[1]: completion.token_ids for completion in self.step()})
        return found[0] == found[2] != found[1]


def _load(source: ModelSource, adapter: Adapter | None, settings: EngineConfig, max_length: int) -> Any:
    """Return a vLLM ``LLMEngine``; EngineError when it cannot run the model here."""
    from vllm import EngineArgs, LLMEngine

    device = _device(settings.device)
    needed = {
        "model": source.location,
        "revision": source.revision,
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "dtype": str(resolve_dtype(settings.dtype, torch.device(device))).removeprefix("torch."),
        "max_model_len": max_length,
        "max_num_seqs": settings.slots or _AUTO_SLOTS,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "enable_lora": adapter is not None,
        "max_lora_rank": adapter.vllm_rank if adapter else 16,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    # Where requests cannot have seeds of their own, two stages must not draw the same numbers.
    usual = {"seed": secrets.randbits(31)}
    if device == "cpu":
        usual |= {"enforce_eager": True, "kv_cache_memory_bytes": _CPU_CACHE_BYTES}
    _check_options(settings.options, known=[each.name for each in dataclasses.fields(EngineArgs)], needed=list(needed))
    try:
        return LLMEngine.from_engine_args(EngineArgs(**{**usual, **needed, **settings.options}))
    except (*_UNUSABLE, _vllm_error()) as error:
        raise EngineError(
            f"vLLM cannot run {source.spec!r} here: {type(error).__name__}: {_gist(error)}; VLLM_LOGGING_LEVEL=INFO in the "
            'environment shows more, and engine.name = "hf" does without vLLM'
        ) from error


def _device(asked: str) -> str:
    """Return the device that the installed vLLM was built for; EngineError when it is not the one asked for."""
    from vllm.platforms import current_platform

    device = str(current_platform.device_type)
    if asked not in ("auto", device) or device not in ("cpu", "cuda"):
        raise EngineError(
            f"engine.device = {asked!r}, but the installed vLLM runs on {device or 'no device of this machine'!r}; "
            'set engine.device = "auto", install the vLLM built for the device, or use engine.name = "hf"'
        )
    return device


def _check_options(options: dict[str, Any], *, known: list[str], needed: list[str]) -> None:
    for name in options:
        if name in needed:
            raise EngineError(f"engine.options.{name} cannot be set: tpt sets this argument of vLLM itself")
        if name not in known:
            raise EngineError(f"engine.options.{name} is no argument of vLLM's EngineArgs.{did_you_mean(name, known)}")


def _lora_request(core: Any, adapter: Adapter) -> Any:
    """Have vLLM load an adapter and return what requests name it by."""
    from vllm.lora.request import LoRARequest

    lora = LoRARequest(lora_name="checkpoint", lora_int_id=1, lora_path=str(adapter.folder))
    try:
        core.add_lora(lora)
    except (*_UNUSABLE, _vllm_error()) as error:
        raise EngineError(
            f"{adapter.folder}: vLLM cannot serve this adapter: {type(error).__name__}: {_gist(error)}; use engine.name = "
            '"hf", or merge it into its base model'
        ) from error
    return lora


def _vllm_error() -> type[Exception]:
    from vllm.exceptions import VLLMError

    error: type[Exception] = VLLMError
    return error


def _gist(error: Exception) -> str:
    """Return the beginning of an error's message on one line."""
    line = " ".join(str(error).split())
    return line if len(line) <= _QUOTED else line[:_QUOTED] + " ..."


def _key(request_id: RequestId) -> str:
    return f"{request_id[1]}/{request_id[0]}"


_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A folder with an adapter instead of a whole model."""

    folder: Path
    base: str
    """Model spec of the weights it belongs to."""
    rank: int

    @property
    def vllm_rank(self) -> int:
        """The smallest of the ranks that vLLM makes room for which holds this adapter's."""
        return next((rank for rank in _VLLM_RANKS if rank >= self.rank), _VLLM_RANKS[-1])


def served_adapter(spec: str) -> Adapter | None:
    """Return the adapter in a folder, None when the spec is no such folder.

    Raises:
        EngineError: its config does not name a base model and a rank, or vLLM does not know its kind.
    """
    try:
        found = adapter_folder.find_adapter(spec)
    except ModelError as error:
        raise EngineError(str(error)) from error
    if found is None:
        return None
    if found.is_dora:
        raise EngineError(
            f'{found.folder}: vLLM has no DoRA adapters; set train.adapter = "merge", or engine.name = "hf"'
        )
    return Adapter(found.folder, found.base, found.rank)
