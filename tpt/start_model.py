"""What a stage builds on: the weights a round starts with, and an earlier stage's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpt.config import RunConfig
from tpt.errors import RunError
from tpt.evidence.best_round import best_round_of
from tpt.run.directory import RoundDir, RunDir
from tpt.run.manifest import digest_of, fingerprint, load_manifest, require_output
from tpt.system.jsonl import read_json, write_json


@dataclass(frozen=True, slots=True)
class Model:
    """Weights to sample from or to start training from."""

    spec: str
    digest: str
    round: int
    """The round that trained it; 0 for the base model."""


def base_model(run: RunDir, config: RunConfig) -> Model:
    """Return the base model, whose digest is taken once and kept: later changes of its files must not go unseen.

    Raises:
        RunError: the file that keeps the digest is damaged.
    """
    if not run.base.exists():
        write_json(run.base, {"model": config.model, "digest": model_digest(config.model)})
    base = read_json(run.base)
    if not isinstance(base, dict) or not isinstance(base.get("digest"), str):
        raise RunError(f"{run.base}: damaged: not a model and its digest. Delete it to have it made again")
    return Model(config.model, base["digest"], 0)


def model_before(run: RunDir, place: RoundDir, config: RunConfig) -> Model:
    """Return the model that a round starts with: the last round's, the best one's after a loss, or the base model."""
    start = start_round(run, place, config)
    return base_model(run, config) if start == 0 else model_after(run.round(start))


def start_round(run: RunDir, place: RoundDir, config: RunConfig) -> int:
    """Return the round whose model a round starts with: the one before, or the best when that was a loss.

    Raises:
        RunError: losses are to be rolled back (stop.rollback), and a round before this one is not evaluated.
    """
    if not config.stop.rollback:
        return place.index - 1
    for index in range(place.index):
        before = run.round(index)
        output_of(before, "evaluate", "verdicts", before.evaluate_verdicts)
    choice = best_round_of(run, config, range(place.index))
    return choice.best if choice.last_is_loss else place.index - 1


def model_after(place: RoundDir) -> Model:
    """Return the model that a round trained.

    Raises:
        RunError: it is not trained yet, or its files are gone.
    """
    manifest = place.manifest("train")
    if not manifest.exists():
        raise RunError(f"{place.checkpoint}: round {place.index} has no trained model yet. Do its train stage first")
    if not place.checkpoint.is_dir():
        raise RunError(
            f"{place.checkpoint}: missing, though {manifest} says it was written. Delete {manifest} to make it again"
        )
    # The digest of the weights was taken when they were written; reading them all again for every stage would cost
    # minutes with a large model.
    return Model(str(place.checkpoint), str(load_manifest(manifest)["outputs"].get("checkpoint")), place.index)


def output_of(place: RoundDir, stage: str, name: str, path: Path) -> str:
    """Return the digest of an earlier stage's output, after checking that it is still what that stage wrote.

    Raises:
        RunError: the stage is not done, or its output is gone or changed.
    """
    manifest = place.manifest(stage)
    if not manifest.exists():
        raise RunError(f"round {place.index} has no finished {stage} stage ({manifest} is missing). Do it first")
    return require_output(manifest, name, path)


def model_digest(model: str) -> str:
    """Return a digest of a base model's files; of its name alone for a Hub id, whose files the Hub keeps."""
    from tpt.model.spec import resolve

    source = resolve(model)
    if source.kind == "hub":
        return digest_of(source.location)
    return fingerprint(source.gguf_path if source.kind == "gguf" else Path(source.location))
