"""What goes to a store with a stage, on a store in memory: no server, no network."""

from __future__ import annotations

from pathlib import Path

from obstore.store import MemoryStore

from tpt.run.directory import RunDir
from tpt.run.manifest import write_manifest
from tpt.store.objects import Store
from tpt.store.working_copy import WorkingCopy


def test_whoever_goes_on_elsewhere_finds_the_rehearsal_too(tmp_path: Path) -> None:
    """Otherwise it is rehearsed again."""
    objects = MemoryStore()
    store = Store("memory:///run", 1.0, lambda patience_s: objects)
    here, there = RunDir(tmp_path / "here"), RunDir(tmp_path / "there")
    round_dir = here.round(0)
    round_dir.evaluate.mkdir(parents=True)
    for path in (here.config, here.base, here.rehearsal, round_dir.evaluate_traces):
        path.write_text(f'{{"file": "{path.name}"}}\n')
    outputs = {"traces": round_dir.evaluate_traces}
    write_manifest(round_dir, "evaluate", inputs={}, outputs=outputs, settings={}, counts={})
    copy = WorkingCopy(here, store)
    copy.upload_frozen()
    copy.upload_stage(round_dir, "evaluate", check=lambda: None)
    WorkingCopy(there, store).download()
    for path in (here.config, here.base, here.rehearsal, round_dir.evaluate_traces, round_dir.manifest("evaluate")):
        assert (there.path / path.relative_to(here.path)).read_bytes() == path.read_bytes()
