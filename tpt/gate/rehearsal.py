"""A rehearsal of every later stage before the first sample, on a tiny random model of the same architecture.

Load, decode, one training step with the run's own settings, save, read again, decode again and stop: what could not end
is told within seconds, instead of after the first round's samples.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpt.config import RunConfig, TrainConfig
from tpt.engines import Request, Sampling, complete
from tpt.errors import GateError, TPTError, TrainError, did_you_mean
from tpt.model.chat import open_chat
from tpt.records import Example, Problem
from tpt.run.manifest import versions
from tpt.run.sealed import digest_of
from tpt.run.stage import StageContext
from tpt.sampling.open import engine_name
from tpt.start_model import base_model
from tpt.system.jsonl import iterate_records, read_json, write_json
from tpt.train import Start, train

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_DECODED = 2
"""Tokens of a completion."""
_SLOTS = 8
_SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=_DECODED)
_LEAST_RATE = 1e-4
"""Learning rate: the one step must be seen in random weights."""
_TEMPORARY = ".rehearsal-"
_ANSWER = 200
"""Characters of the answer that is trained on, at most."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What became of a rehearsal."""

    ok: bool
    said: str
    """What was done, or what failed, in a sentence."""
    seconds: float


def rehearse_stage(context: StageContext) -> dict[str, Any]:
    """Rehearse a run once for each config and base model, and return what is kept of it in rehearsal.json.

    With ``stop.gate`` at "warn" a failure is only said, and at "off" nothing is rehearsed.

    Raises:
        GateError: a later stage would fail.
    """
    run, config = context.run, context.config
    if config.stop.gate == "off":
        return {}
    known = read_json(run.rehearsal) if run.rehearsal.exists() else None
    key = digest_of([base_model(run, config).digest, config.model_dump(), versions()])
    if isinstance(known, dict) and known.get("key") == key:
        return known
    problem = next(iterate_records(run.problems, Problem))
    found = rehearse(config, problem, cache=run.path / "cache", folder=run.path)
    if not found.ok and config.stop.gate == "stop":
        raise GateError(found.said)
    if not found.ok:
        print(f"warning: {found.said}", file=sys.stderr, flush=True)
    kept = {"key": key, "ok": found.ok, "said": found.said, "seconds": found.seconds}
    write_json(run.rehearsal, kept)
    return kept


def rehearse(config: RunConfig, problem: Problem, *, cache: Path | None, folder: Path | None = None) -> Rehearsal:
    """Go through the stages of a run on a tiny model; nothing is left on disk.

    The tiny model is asked and trained on ``problem``. ``cache`` keeps a GGUF model dequantised; None: it is read anew.
    Temporary files go into ``folder``; None: the system's folder for them.

    Raises:
        TPTError: the model, its tokenizer or its chat template cannot be read.
    """
    started = time.monotonic()
    stage = "model"
    try:
        for left in folder.glob(f"{_TEMPORARY}*") if folder else ():
            shutil.rmtree(left)  # by a process that was killed
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=folder) as temporary:
            stages = _Stages(config, problem, Path(temporary), cache)
            for step, act in stages.steps():
                stage = step
                act()
    except TPTError as error:
        if stage in ("model", "load"):
            raise  # the model is not there, whatever its architecture
        reason = str(error)
    except Exception as error:  # a family that something is not made for raises whatever it raises
        reason = f"{type(error).__name__}: {error}"
    else:
        seconds = round(time.monotonic() - started, 2)
        return Rehearsal(True, f"{stages.done} in {seconds:.1f} s", seconds)
    said = (
        f"rehearsal of this run on a tiny random model of the same architecture: the {stage} step fails: {reason}\n"
        'Nothing was sampled. Put that right, or go on all the same with stop.gate = "warn"'
    )
    return Rehearsal(False, said, round(time.monotonic() - started, 2))


class _Stages:
    """The steps of a rehearsal, in order, each on what the one before left."""

    def __init__(self, config: RunConfig, problem: Problem, folder: Path, cache: Path | None) -> None:
        self._config, self._problem, self._cache = config, problem, cache
        self._tiny, self._trained = folder / "model", folder / "round-1" / "checkpoint"
        name = engine_name(config)
        self._decodes = name == "hf" or (name == "ray" and config.engine.replica_engine == "hf")
        here = {} if name == "hf" else {"device": "auto"}
        self._settings = config.engine.model_copy(update={"slots": _SLOTS, **here})
        self.done = "loaded, decoded, trained a step, saved and read again"

    def steps(self) -> list[tuple[str, Any]]:
        """Return what is done, with names for messages."""
        steps = [
            ("load", self._load),
            ("decode", lambda: self._decode(self._tiny)),
            ("train", self._train),
            ("evaluate", lambda: self._decode(self._trained)),
        ]
        if not self._decodes:
            self.done = "loaded, trained a step, saved and read again"
        return steps

    def _load(self) -> None:
        """Save a tiny relative of the model with its own tokenizer, as any model is found."""
        from tpt.model.load import load_architecture
        from tpt.model.tiny import tiny_model
        from tpt.sft import save_checkpoint

        self._chat = open_chat(self._config.asked_prompt, self._config.model, self._cache)
        self._architecture = load_architecture(self._config.model, cache=self._cache)
        self._chat.prompt_ids(self._problem)
        model = tiny_model(self._architecture)
        self._is_tiny = model is not None
        if model is None:
            self.done = f"not done: no small {self._architecture.model_type!r} model can be made"
            return
        save_checkpoint(model, self._chat, self._tiny)

    def _decode(self, model: Path) -> None:
        """Have the engine complete a prompt; engines that are not this process's are tried when they are opened."""
        if not self._is_tiny or not self._decodes:
            return
        from tpt.engines.hf.opening import open_hf

        chat = open_chat(self._config.asked_prompt, str(model))
        prompt = self._chat.prompt_ids(self._problem)
        if chat.prompt_ids(self._problem) != prompt:
            raise GateError(
                f"the saved tokenizer gives other tokens for problem {self._problem.id!r} than the one loaded"
            )
        length = len(prompt) + _DECODED
        with contextlib.redirect_stderr(io.StringIO()):  # its advice comes when the model itself is opened
            engine = open_hf(str(model), chat, self._settings, max_length=length, cache=self._cache)
        try:
            list(complete(engine, [Request((self._problem.id, 0), prompt, 0, _SAMPLING)]))
        finally:
            engine.close()

    def _train(self) -> None:
        """Train a step by the run's own settings, save, and read again what was saved."""
        if not self._is_tiny:
            return
        problem, chat = self._problem, self._chat
        answer = problem.answer[:_ANSWER].strip() or "0"
        messages = [*chat.messages(problem), {"role": "assistant", "content": f"#### {answer}"}]
        _check_targets(self._config.train, self._architecture)
        train(
            [Example(problem.id, 0, messages)],
            {problem.id: problem},
            config=_one_step(self._config.train, self._architecture),
            prompt=self._config.asked_prompt,
            start=Start(str(self._tiny)),
            out=self._trained,
            seed=self._config.seed,
            reread=True,
        )


def _check_targets(config: TrainConfig, architecture: PreTrainedConfig) -> None:
    """Refuse a layer that the whole model lacks, such as one whose number is too high for it.

    Raises:
        TrainError: there is one.
    """
    names = [name.strip() for name in config.lora_targets.split(",") if "." in name]
    if config.method == "full" or not names:
        return
    from tpt.model.tiny import layer_names

    layers = layer_names(architecture)
    for name in names:
        if not any(layer == name or layer.endswith(f".{name}") for layer in layers):
            raise TrainError(f"train.lora_targets names {name!r}, which this model lacks.{did_you_mean(name, layers)}")


def _one_step(config: TrainConfig, architecture: PreTrainedConfig) -> TrainConfig:
    """Return the settings of a training for one step of it, here, in the precision that the whole model gets."""
    from tpt import sft
    from tpt.model.shape import width_of

    device = sft.device_of(sft.ranks())
    precision = sft.resolve_precision(config.precision, hidden_size=width_of(architecture), device=device)
    names = [name.strip() for name in config.lora_targets.split(",")]
    needs_gpu = config.optimizer != "adamw" or config.liger or config.method == "qlora"
    if config.where == "ray" and needs_gpu and device.type == "cpu":
        # The nodes that train have what this machine lacks.
        method = "lora" if config.method == "qlora" else config.method
        config = config.model_copy(update={"optimizer": "adamw", "liger": False, "method": method})
    return config.model_copy(
        update={
            "epochs": 1,
            "precision": precision,
            "learning_rate": max(config.learning_rate, _LEAST_RATE),
            "max_length": 2**31,
            "report_to": [],
            "save_every_steps": 0,
            "where": "here",
            "devices": config.devices if config.where == "here" else 0,
            # A layer named by its number may be one that the tiny model lacks.
            "lora_targets": ",".join(dict.fromkeys(name.rpartition(".")[2] for name in names if name)),
        }
    )
