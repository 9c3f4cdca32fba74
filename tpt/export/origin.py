"""Where an exported model comes from, as plain values: settings, digests, versions."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from tpt.config import RunConfig
from tpt.records import RoundRecord
from tpt.run.directory import STAGES, RunDir
from tpt.run.manifest import load_manifest, require_output
from tpt.run.outputs import fingerprint
from tpt.start_model import base_model
from tpt.system.jsonl import to_table
from tpt.system.version import __version__

_INPUTS = ("examples", "traces", "verdicts", "checkpoint")


def origin_of(
    run: RunDir, config: RunConfig, records: list[RoundRecord], record: RoundRecord, *, best: int
) -> dict[str, Any]:
    """Return the lineage of a round's model, after checking that its weights are those that were trained and scored.

    Raises:
        RunError: the weights or a manifest are gone, damaged or changed.
    """
    round_dir = run.round(record.index)
    if record.index:
        require_output(round_dir.manifest("train"), "checkpoint", round_dir.checkpoint)
    scored = load_manifest(round_dir.manifest("evaluate"))
    rounds = [_round(run, each) for each in records if 0 < each.index <= record.index]
    return {
        "made_by": {"think-prune-train": __version__},
        "method": "Think, Prune, Train (arXiv 2504.18116)",
        "run": run.path.resolve().name,
        "round": record.index,
        "best_round": best,
        "base": {"model": portable(config.model), "digest": base_model(run, config).digest},
        "problems": {"train": fingerprint(run.problems), "heldout": fingerprint(run.heldout)},
        "prompt": scored["settings"]["engine"]["prompt"],
        "rounds": rounds,
        "scores": [{"round": each.index, "evaluate": to_table(each.evaluate)} for each in records],
        "versions": scored.get("versions", {}),
        "config": portable(config.model_dump()),
    }


def portable(value: Any) -> Any:
    """Return plain values with the paths of this machine cut to their last part, as nobody else has them."""
    if isinstance(value, dict):
        return {key: portable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [portable(each) for each in value]
    if isinstance(value, str) and value.startswith(("/", "~/")) and "\n" not in value:
        return PurePath(value).name
    return value


def _round(run: RunDir, record: RoundRecord) -> dict[str, Any]:
    """Return the digests of what a round's stages left behind."""
    round_dir = run.round(record.index)
    digests: dict[str, str] = {}
    for stage in STAGES:
        manifest = load_manifest(round_dir.manifest(stage))
        digests |= {
            name: value for name, value in manifest["outputs"].items() if name in _INPUTS and stage != "evaluate"
        }
        if stage == "train":
            digests["start model"] = manifest["inputs"]["model"]
    return {"round": record.index, **digests}
