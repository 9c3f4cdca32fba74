"""Finished runs that a test has changed, made to look as if their stages had left them so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpt.rounds import round_record
from tpt.run.directory import RunDir
from tpt.run.manifest import finished_stages, record_frozen, write_manifest
from tpt.run.outputs import fingerprint
from tpt.system.jsonl import read_json, write_json


def reseal(path: Path, *, report: Mapping[int, Mapping[str, Any]] | None = None) -> None:
    """Write every manifest and record of a run anew; ``report``: round to other values of its evaluation's report."""
    run = RunDir(path)
    run.frozen.unlink(missing_ok=True)
    record_frozen(run)
    for round_dir in run.rounds():
        for stage in finished_stages(round_dir):
            manifest = json.loads(round_dir.manifest(stage).read_text(encoding="utf-8"))
            places = round_dir.outputs(stage)
            frozen = {name: fingerprint(file) for name, file in round_dir.frozen_inputs(stage).items() if file.exists()}
            if stage == "evaluate":
                manifest["counts"]["report"] |= (report or {}).get(round_dir.index, {})
            write_manifest(
                round_dir,
                stage,
                inputs={**manifest["inputs"], **frozen},
                outputs={name: places[name] for name in manifest["outputs"] if places[name].exists()},
                settings=manifest["settings"],
                counts=manifest["counts"],
            )
        if round_dir.record.exists():
            write_json(round_dir.record, round_record(run, round_dir))


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file, as somebody with an editor would."""
    write_json(path, {**read_json(path), **changes})
