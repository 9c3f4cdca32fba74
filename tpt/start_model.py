"""Which weights a round works with: those it samples from, those its training starts from, those it trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.config import RunConfig
from tpt.errors import RunError
from tpt.evidence.best_round import best_round_of
from tpt.model.adapter_folder import find_adapter
from tpt.run.directory import RoundDir, RunDir
from tpt.run.manifest import checkpoint_is_here, load_manifest, require_output, require_unchanged
from tpt.run.outputs import fingerprint
from tpt.run.sealed import digest_of, read_sealed, write_sealed

_REMADE = ", or delete it to have it made again"


@dataclass(frozen=True, slots=True)
class StartModel:
    """Weights to sample from or to start training from."""

    spec: str
    digest: str
    round: int
    """The round that trained it; 0 for the base model."""


def base_model(run: RunDir, config: RunConfig) -> StartModel:
    """Return the base model, whose digest is taken once and kept: later changes of its files must not go unseen.

    Raises:
        StaleStageError: the file that keeps the digest was changed.
        RunError: it is damaged.
    """
    if not run.base.exists():
        write_sealed(run.base, {"model": config.model, **model_identity(config.model)})
    base = base_record(run)
    _require_unmoved(run, config.model, base)
    return StartModel(config.model, base["digest"], 0)


def base_record(run: RunDir) -> dict[str, str]:
    """Return what ``base.json`` says: the base model's spec, its digest, and the commit of a Hub id.

    Raises:
        StaleStageError: the file was changed since the run began.
        RunError: it is missing or damaged.
    """
    base = read_sealed(run.base, is_entry=lambda key, _: key in ("model", "digest", "commit"), remedy=_REMADE)
    if not all(isinstance(base.get(key), str) for key in ("model", "digest")):
        raise RunError(f"{run.base}: damaged: not a model and its digest. Delete it to have it made again")
    return base


def _require_unmoved(run: RunDir, model: str, base: dict[str, Any]) -> None:
    """Refuse a Hub id that has come to stand for another commit; runs of before have none to compare with."""
    then = base.get("commit")
    now = model_identity(model).get("commit") if then else None
    if then != now:
        name = model.partition("@")[0]
        raise RunError(
            f"model = {model!r} is another commit on the Hub than when {run.path} began: {then} then, {now} now. Put the one of "
            f"then into the local Hub cache, or begin a new run with --set model={name}@{then}, which cannot move"
        )


def start_model_of(run: RunDir, round_dir: RoundDir, config: RunConfig) -> StartModel:
    """Return the model whose weights a round's training starts from (``train.start_from``): last, or base."""
    return base_model(run, config) if config.train.start_from == "base" else sampled_model_of(run, round_dir, config)


def sampled_model_of(run: RunDir, round_dir: RoundDir, config: RunConfig) -> StartModel:
    """Return the model that a round samples from: the last round's, the best one's after a loss, or the base model."""
    start = start_round_of(run, round_dir, config)
    return base_model(run, config) if start == 0 else trained_model_of(run.round(start))


def start_round_of(run: RunDir, round_dir: RoundDir, config: RunConfig) -> int:
    """Return the round whose model a round starts with: the one before, or the best when that was a loss.

    Raises:
        RunError: losses are to be rolled back (stop.rollback), and a round before this one is not evaluated.
    """
    if not config.stop.rollback:
        return round_dir.index - 1
    for index in range(round_dir.index):
        before = run.round(index)
        output_of(before, "evaluate", "verdicts", before.evaluate_verdicts)
    choice = best_round_of(run, config, range(round_dir.index))
    return choice.best if choice.last_is_loss else round_dir.index - 1


def trained_model_of(round_dir: RoundDir) -> StartModel:
    """Return the model that a round trained; its files may be deleted, see ``require_weights``.

    Raises:
        RunError: it is not trained yet, or its files are changed.
    """
    manifest = round_dir.manifest("train")
    if not manifest.exists():
        raise RunError(
            f"{round_dir.checkpoint}: round {round_dir.index} has no trained model yet. Do its train stage first"
        )
    # Reading all weights again for every stage would cost minutes with a large model: size and time of change will do.
    require_unchanged(round_dir, "train")
    return StartModel(
        str(round_dir.checkpoint), str(load_manifest(manifest)["outputs"].get("checkpoint")), round_dir.index
    )


def require_weights(model: StartModel) -> None:
    """Raise RunError where the files of a trained model are deleted: finished stages do without, others read them."""
    if model.round and not checkpoint_is_here(round_dir := RoundDir(Path(model.spec).parent, model.round)):
        manifest = round_dir.manifest("train")
        raise RunError(
            f"{model.spec}: missing, though {manifest} says it was written. Delete {manifest} to make it again"
        )


def output_of(round_dir: RoundDir, stage: str, name: str, path: Path) -> str:
    """Return the digest of an earlier stage's output, after checking that it is still what that stage wrote.

    Raises:
        RunError: the stage is not done, or its output is gone or changed.
    """
    manifest = round_dir.manifest(stage)
    if not manifest.exists():
        raise RunError(f"round {round_dir.index} has no finished {stage} stage ({manifest} is missing). Do it first")
    return require_output(manifest, name, path)


def base_digest_now(run: RunDir, config: RunConfig) -> str:
    """Return the digest of a run's base model as it is now, taken as the run took it."""
    from tpt.model.spec import resolve

    source = resolve(config.model)
    if source.kind == "hub" and "commit" not in base_record(run):
        return digest_of(source.location)  # all that runs of before kept of a Hub id
    return model_identity(config.model)["digest"]


def model_identity(model: str) -> dict[str, str]:
    """Return a digest of a base model's files, and of a Hub id the commit that it stands for, which is one of them all."""
    from tpt.model.load import hub_commit
    from tpt.model.spec import resolve

    source, adapter = resolve(model), find_adapter(model)
    if adapter is not None:
        parts = [fingerprint(adapter.folder), model_identity(adapter.base)["digest"]]
        return {"digest": digest_of(parts)}
    if source.kind == "hub":
        commit = hub_commit(source)
        return {"digest": digest_of([source.location, commit]), "commit": commit}
    return {"digest": fingerprint(source.gguf_path if source.kind == "gguf" else Path(source.location))}
