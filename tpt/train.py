"""Train: fine-tune the round's start model on its examples.

Reads the round's examples and the start model; leaves a checkpoint, train_log.jsonl and train.json.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tpt.config import EngineConfig, PromptConfig, TrainConfig
from tpt.config.own_code_keys import own_code_settings
from tpt.config.train_section import TRAIN_OPERATIONAL
from tpt.errors import TrainError
from tpt.model.adapter_folder import seen_by_all
from tpt.model.chat import IGNORED_LABEL, open_chat
from tpt.records import Example, Problem
from tpt.run.manifest import read_manifest, versions, write_manifest
from tpt.run.sealed import digest_of
from tpt.run.stage import StageContext, problems_by_id
from tpt.seeds import seed_for
from tpt.start_model import base_model, output_of, require_weights, start_model_of
from tpt.system.jsonl import read_records

if TYPE_CHECKING:
    from tpt.sft import Encoded, FitLog, Row


NO_EFFECT_ON_WEIGHTS = frozenset(["save_every_steps", "report_to", *TRAIN_OPERATIONAL])
"""Settings of training that may change in the middle of it."""


_LOW_ADAPTER_RATE = 2e-6


def train_stage(context: StageContext) -> dict[str, Any]:
    """Fine-tune the round's start model on its examples."""
    config, round_dir, run = context.config, context.round_dir, context.run
    model = start_model_of(run, round_dir, config)
    trained_by = config.train.model_dump(exclude=set(NO_EFFECT_ON_WEIGHTS))
    settings = {
        "seed": config.seed,
        "train": trained_by,
        "prompt": config.asked_prompt.model_dump(),
        **own_code_settings(config, "train.trainer", "train.loss"),
    }
    inputs = {
        "examples": output_of(round_dir, "prune", "examples", round_dir.examples),
        "model": model.digest,
        "settings": digest_of(settings),
    }
    base = base_model(run, config)
    if config.train.interpolate:
        inputs["base model"] = base.digest
    if done := read_manifest(round_dir, "train", inputs):
        _forget_state(round_dir.checkpoint)
        return done
    require_weights(model)
    spent_s = context.spent_s("train")
    started = time.monotonic() - spent_s
    examples = read_records(round_dir.examples, Example)
    with context.display("train", total=1, spent_s=spent_s) as display:
        other = None if model.digest == base.digest else base.spec
        training = Training(
            examples,
            problems_by_id(run.problems),
            config.train,
            config.asked_prompt,
            Start(model.spec, model.digest, base=other, cache=run.path / "cache"),
            out=round_dir.checkpoint,
            seed=seed_for(config.seed, "train", round_dir.index),
        )
        counts = _do(
            training,
            lambda step, steps, loss: display.update(step, total=steps, note=f"loss {loss:.3f}"),
            ray=config.engine,
        )
        loss = f", loss {counts['loss_first']:.3f} to {counts['loss_last']:.3f}" if "loss_first" in counts else ""
        display.finish(f"{len(examples)} examples{loss}")
    counts |= {"start_round": model.round, "wall_s": round(time.monotonic() - started, 3)}
    outputs = {"checkpoint": round_dir.checkpoint}
    done = write_manifest(round_dir, "train", inputs=inputs, outputs=outputs, settings=settings, counts=counts)
    # Not before: killed in between, the whole training would be done again.
    _forget_state(round_dir.checkpoint)
    return done


@dataclass(frozen=True, slots=True)
class Start:
    """The weights that training starts from."""

    model: str
    """Its spec."""
    digest: str = ""
    """Of its files; a training that was killed goes on only from checkpoints with the same one."""
    base: str | None = None
    """Spec of the base model, for ``train.interpolate``; None: the start model is the base model."""
    cache: Path | None = None
    """Keeps a GGUF model dequantised for the next round that starts from it."""


def train(
    examples: Sequence[Example],
    problems: Mapping[str, Problem],
    *,
    config: TrainConfig,
    prompt: PromptConfig,
    start: Start,
    out: Path,
    seed: int,
    progress: Callable[[int, int, float], None] | None = None,
    ray: EngineConfig | None = None,
    reread: bool = False,
) -> dict[str, Any]:
    """Fine-tune a model on the examples, write the checkpoint ``out``, and return what there is to say about it.

    ``progress`` is called after each optimizer step with (step, steps, loss). Beside ``out`` a ``train_log.jsonl`` gets
    a line a step, and a folder with the suffix ``.state`` holds, until all is done, what a killed training goes on from
    when it is called again. ``ray`` names the cluster that trains where ``config.where`` is "ray". With ``reread``
    the checkpoint is read again, and must give the logits of the model that was trained.

    Raises:
        TrainError: the examples must not be trained on, or training changed nothing; ``out`` is then untouched.
        ModelError: the start model cannot be loaded.
        ClusterError: the cluster cannot be joined, has no room, or a node lacks what it needs.
    """
    counts = _do(Training(examples, problems, config, prompt, start, out, seed, reread), progress, ray=ray)
    _forget_state(out)
    return counts


def _do(
    training: Training, progress: Callable[[int, int, float], None] | None, *, ray: EngineConfig | None
) -> dict[str, Any]:
    """Do a training here, in several processes, or on a cluster; what it could go on from stays."""
    from tpt import sft

    config = training.config
    if config.trainer:
        told = sft.train_by_own_code(
            config.trainer, lambda folder: replace(training, out=folder), training.out, cache=training.start.cache
        )
        return {"examples": len(training.examples), **_expected_tokens(training), **told}
    sft.check_devices(config)
    if config.method != "full" and config.learning_rate <= _LOW_ADAPTER_RATE:
        print(
            f'train.method = "{config.method}" with train.learning_rate = {config.learning_rate:g}: an adapter wants 10 to '
            "100 times the rate of full training, such as 1e-4",
            file=sys.stderr,
        )
    if config.where == "ray":
        anywhere, files = _for_all_nodes(training)
        from tpt.cluster.train import train_on_ray

        return train_on_ray(anywhere, config, ray or EngineConfig(), out=anywhere.out, files=files, progress=progress)
    if config.devices > 1:
        return sft.run_in_parallel(config.devices, training, progress)
    return training(progress)


@dataclass(frozen=True, slots=True)
class Training:
    """One training, for one process or for one of several; calling it does it."""

    examples: Sequence[Example]
    problems: Mapping[str, Problem]
    config: TrainConfig
    prompt: PromptConfig
    start: Start
    out: Path
    """The checkpoint."""
    seed: int
    reread: bool = False
    """Whether the checkpoint is read again and must give the logits of the model that was trained."""

    def __call__(self, progress: Callable[[int, int, float], None] | None) -> dict[str, Any]:
        """Do it; in all processes but the first, what is returned says nothing."""
        from tpt import sft
        from tpt.model.load import load_architecture
        from tpt.model.shape import width_of
        from tpt.system.memory import peak_bytes

        config, start, out, ranks = self.config, self.start, self.out, sft.ranks()
        clock, device = _Clock(), sft.device_of(ranks)
        chat = open_chat(self.prompt, start.model, start.cache)
        encoded = sft.encode(self.examples, self.problems, chat, max_length=config.max_length)
        _say_refused(encoded)
        clock.lap("encode_s")
        sft.check_installed(config, device)
        architecture = load_architecture(start.model, cache=start.cache)
        precision = sft.resolve_precision(config.precision, hidden_size=width_of(architecture), device=device)
        memory = sft.check_memory(architecture, encoded.rows, config, device=device, precision=precision)
        clock.lap("check_s")
        trainee = sft.open_trainee(
            start.model, config, device=device, precision=precision, cache=start.cache, seed=self.seed
        )
        clock.lap("load_s")
        point = sft.ResumePoint(_state_of(out), _key(encoded.rows, config, start, self.seed))
        try:
            log = sft.fit(
                trainee.model,
                chat.tokenizer,
                encoded.rows,
                config=config,
                seed=self.seed,
                progress=progress,
                point=point,
                log_path=out.with_name("train_log.jsonl"),
            )
        except TrainError:
            # The same again would end the same.
            point.remove()
            raise
        sft.gather(trainee)
        clock.lap("fit_s")
        if not ranks.is_first:
            return {}
        change = sft.finish(trainee, chat, out, base=start.base, row=encoded.rows[0])
        if self.reread:
            sft.check_saved(trainee, chat, out, encoded.rows[0])
        clock.lap("save_s")
        return {
            **_counted(encoded),
            "template": chat.template_name,
            **_told(log),
            **_shortened(asdict(change)),
            "method": config.method,
            "devices": ranks.world,
            "saved_dtype": "float32",
            "device": device.type,
            "memory_estimate": memory,
            "peak_memory_mb": peak_bytes(device) // 2**20,
            "times": clock.laps,
        }


def _expected_tokens(training: Training) -> dict[str, int]:
    """Return what tpt's own trainer would pass over: a trainer of the user's own that does more or less says so itself."""
    chat = open_chat(training.prompt, training.start.model, training.start.cache)
    rows = [chat.training_ids(example.messages, example.token_ids) for example in training.examples]
    trained = sum(label != IGNORED_LABEL for _, labels in rows for label in labels)
    epochs = training.config.epochs
    return {"target_tokens": epochs * trained, "total_tokens": epochs * sum(len(ids) for ids, _ in rows)}


def _state_of(out: Path) -> Path:
    return out.with_name(out.name + ".state")


def _forget_state(out: Path) -> None:
    # A trainer of the user's own trains beside it, and may have asked ours to.
    for folder in (out, out.with_name(f"{out.name}.own")):
        shutil.rmtree(_state_of(folder), ignore_errors=True)


def _for_all_nodes(training: Training) -> tuple[Training, list[str]]:
    """Return a training with paths that mean the same on every machine, and those that must exist there."""
    start = training.start
    model, files = seen_by_all(start.model)
    base, more = (None, list[str]()) if start.base is None else seen_by_all(start.base)
    cache = None if start.cache is None else start.cache.resolve()
    start = replace(start, model=model, base=base, cache=cache)
    return replace(training, start=start, out=training.out.resolve()), files + more


def _shortened(values: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}


def _say_refused(encoded: Encoded) -> None:
    for name, reason in list(encoded.refused.items())[:1]:
        print(
            f"{len(encoded.refused)} examples are not trained on, as their tokens would not be those sampled; {name}: {reason}",
            file=sys.stderr,
        )


def _counted(encoded: Encoded) -> dict[str, Any]:
    return {
        "examples": len(encoded.rows),
        "dropped_too_long": encoded.dropped,
        "prompts_checked": encoded.prompts_checked,
        "tokens_checked": encoded.tokens_checked,
        "refused_other_tokens": len(encoded.refused),
        "longest_tokens": max(len(row.input_ids) for row in encoded.rows),
    }


def _told(log: FitLog) -> dict[str, Any]:
    tenth = max(1, log.steps // 10)
    return {
        "steps": log.steps,
        "loss_first": round(fmean(log.losses[:tenth]), 5),
        "loss_last": round(fmean(log.losses[-tenth:]), 5),
        "losses": log.losses,
        "grad_norms": log.grad_norms,
        "target_tokens": log.target_tokens,
        "total_tokens": log.total_tokens,
        "padding_share": round(log.padding_tokens / (log.padding_tokens + log.total_tokens), 4),
        "packed": log.packed,
        "resumed_at": log.resumed_at,
        "precision": log.precision,
    }


def _key(rows: Sequence[Row], config: TrainConfig, start: Start, seed: int) -> str:
    """Return the digest of what the trained weights follow from."""
    import torch

    parts = [
        [(row.input_ids, row.labels, row.weight) for row in rows],
        config.model_dump(exclude=set(NO_EFFECT_ON_WEIGHTS)),
        [start.model, start.digest, seed],
        [versions(), torch.get_num_threads(), torch.cuda.is_available()],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Clock:
    """Splits the wall time."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
