"""Export: a round's model as a folder that any other program loads, with a card that says how it was made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tpt.errors import ConfigError, RunError
from tpt.evidence import evidence_of
from tpt.evidence.looks import looks_of
from tpt.export.card import Card, model_card, prompt_messages
from tpt.export.eval_result import check_benchmark, write_eval_result
from tpt.export.gguf_file import write_gguf
from tpt.export.origin import origin_of
from tpt.export.weights import cast, is_adapter, saved_dtype, write_base, write_copy, write_merged
from tpt.records import RoundRecord
from tpt.report.rows import report_rows
from tpt.report.sentences import looks_text, unit_text
from tpt.rounds import Run, best_round
from tpt.run.directory import RunDir
from tpt.store import address_of, download_checkpoint
from tpt.system.folders import beside, take_place
from tpt.system.jsonl import digest, write_json, write_text

Dtype = Literal["as-saved", "float32", "bfloat16"]

ORIGIN = "tpt.json"
_CARD = "README.md"
_GGUF = "model.gguf"
_BASE_NOTE = "the base model: no round was significantly better; take one all the same with --round last (round {last})"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export, and in which form."""

    round: str = "best"
    """``best``, ``last``, or a number; 0 is the base model."""
    dtype: Dtype = "as-saved"
    merge: bool = False
    """Put an adapter into its base model's weights; a whole model stays what it is."""
    gguf: bool = False
    force: bool = False
    """Replace an earlier export."""
    eval_result: str = ""
    """The benchmark on the Hub that the held-out problems are, ``ID`` or ``ID:TASK``; its score goes into .eval_results."""


def export(run: RunDir, out: Path, options: ExportOptions) -> dict[str, Any]:
    """Write a finished round's model to the folder ``out``, complete or not at all, and say what was written.

    Raises:
        RunError: the round is not finished, its files are gone, changed or pickled, or ``out`` is there already.
        ModelError: the model or its tokenizer cannot be loaded, or has no GGUF form.
        ConfigError: ``options.round`` is no round.
    """
    run.require()
    check_benchmark(options.eval_result)
    opened = Run(run.path)
    records = opened.records()
    record = _chosen(records, options.round, run)
    download_checkpoint(run, record.index)
    _check_place(out, force=options.force)
    staging = beside(out)
    for leftover in (staging, beside(staging)):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        written = _write(opened, records, record, staging, options, name=out.name)
        take_place(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    told = {} if record.index or options.round == "0" else {"note": _BASE_NOTE.format(last=records[-1].index)}
    return {"folder": str(out), "round": record.index, **written, **told}


def _write(
    opened: Run, records: list[RoundRecord], record: RoundRecord, folder: Path, options: ExportOptions, *, name: str
) -> dict[str, Any]:
    config, round_dir = opened.config, opened.dir.round(record.index)
    adapter = record.index > 0 and is_adapter(round_dir.checkpoint)
    merged = adapter and options.merge
    if adapter and options.gguf and not options.merge:
        raise RunError(f"{round_dir.checkpoint} is an adapter, which has no GGUF form by itself: add --merge")
    best = best_round(opened.dir, records).index
    origin = origin_of(opened.dir, config, records, record, best=best)
    if record.index == 0:
        write_base(opened.dir, config, folder)
    elif merged:
        write_merged(opened.dir, round_dir, config, folder)
    else:
        write_copy(round_dir.checkpoint, folder)
    if options.dtype != "as-saved":
        cast(folder, options.dtype)
    if options.gguf:
        write_gguf(folder, folder / _GGUF, name=name)
    if options.eval_result:
        write_eval_result(folder, options.eval_result, record, config.evaluate)
    files = {file.name: digest(file) for file in sorted(folder.iterdir()) if file.is_file()}
    form = {"dtype": saved_dtype(folder), "adapter": adapter and not merged, "merged": merged, "gguf": options.gguf}
    write_json(folder / ORIGIN, {**origin, "form": form, "files": files})
    evidence = evidence_of(opened.dir, records)
    card = Card(
        name=name,
        origin=origin,
        config=config,
        records=records,
        rows=report_rows(records, evidence),
        claim=evidence.claim,
        units=unit_text(evidence),
        looks=looks_text(looks_of(opened.dir, evidence), level=evidence.level),
        also=evidence.also,
        record=record,
        best=best,
        form=form,
        messages=prompt_messages(config, folder),
    )
    write_text(folder / _CARD, model_card(card))
    written = [file for file in folder.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in written)
    names = sorted(file.relative_to(folder).as_posix() for file in written)
    return {**form, "megabytes": round(size / 1e6, 1), "files": names}


def _chosen(records: list[RoundRecord], which: str, run: RunDir) -> RoundRecord:
    if not records:
        raise RunError(
            f"{run.path}: no round is finished yet, not even the base model's. Go on with: tpt run {address_of(run.path)}"
        )
    if which == "best":
        return best_round(run, records)
    if which == "last":
        return records[-1]
    if not (which.isascii() and which.isdigit()):
        raise ConfigError(f"--round {which}: expected best, last or a number, such as --round 2")
    found = next((record for record in records if str(record.index) == which), None)
    if found is None:
        there = ", ".join(str(record.index) for record in records)
        raise RunError(f"{run.path}: round {which} is not finished; finished rounds: {there}")
    return found


def _check_place(out: Path, *, force: bool) -> None:
    if not (out.exists() or out.is_symlink()):
        return
    if not force:
        raise RunError(f"{out}: exists already. Choose another folder, or replace an earlier export with --force")
    if out.is_symlink() or not (out / ORIGIN).is_file():
        raise RunError(f"{out}: is no earlier export (no {ORIGIN}), so --force does not replace it. Move it away")


__all__ = ["Dtype", "ExportOptions", "export"]
