"""Run: rounds of think, prune, train and evaluate on one run directory; resumes, keeps the best round, stops."""

from __future__ import annotations

import html
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tpt.audit.run_problems import load_also, load_both
from tpt.config import RunConfig, load_config, render_toml
from tpt.config.answer_format import format_warnings
from tpt.config.own_code_keys import require_own_code
from tpt.errors import RunError, StaleStageError
from tpt.evidence.best_round import BestRound, best_round_of
from tpt.evidence.looks import record_look
from tpt.evidence.telling import told
from tpt.records import EvalReport, Example, Problem, RoundRecord, Trace, Verdict
from tpt.run.directory import RoundDir, RunDir, log_event, log_failure, set_aside
from tpt.run.kept_checkpoints import drop_checkpoints
from tpt.run.lock import lock
from tpt.run.manifest import finished_stages, load_manifest, record_frozen, require_frozen, require_unchanged_run
from tpt.run.record_list import RecordList
from tpt.run.resumed_config import changed_keys, with_absolute_paths
from tpt.stage_process import HEADER, StageServer, do_stage
from tpt.start_model import base_record
from tpt.store import StoreSync, address_of, downloaded, synced, working_copy_of
from tpt.system.jsonl import (
    count_lines,
    from_table,
    iterate_records,
    read_records,
    read_table,
    replace_records,
    to_table,
    write_json,
    write_text,
)
from tpt.system.terminal import tell
from tpt.system.url import is_url
from tpt.system.words import counted, score_text

_Found = TypeVar("_Found")


class Run:
    """A run directory and its config.

    ::

        run = tpt.Run("runs/first", tpt.load_config("run.toml"))
        for record in run.rounds():
            print(record.index, record.evaluate.pass_at_k[1])
    """

    def __init__(self, path: Path | str, config: RunConfig | None = None, *, progress: bool = False) -> None:
        """Open a run directory, or, given a config, make it; the path may be a URL, such as s3://bucket/runs/first.

        Raises:
            RunError: there is no run and no config, or the folder holds other files.
        """
        self.dir = RunDir(downloaded(path) if config is None and is_url(path) else working_copy_of(path))
        self.progress = progress
        if config is None:
            self.dir.require()
            self.config = load_config(self.dir.config)
        else:
            self.dir.require_own()
            self.config = with_absolute_paths(config)

    def rounds(self) -> Iterator[RoundRecord]:
        """Do every round that is not done yet, and yield each round's record, the base model's (round 0) first.

        Killed at any moment and called again, it goes on where it was.

        Raises:
            RunLockedError: another process is writing this run.
        """
        with lock(self.dir) as held, synced(self.dir) as sync, told(self.dir, self.config) as teller:
            if held.left_by and self.progress:
                tell(f"{self.dir.path}: {held.left_by} ended without finishing; going on from there", sys.stderr)
            try:
                with StageServer(self.dir.path, lock_descriptor=held.descriptor, progress=self.progress) as server:
                    # The server imports its libraries meanwhile.
                    self.prepare(check=server.check_lengths)
                    self._warn()
                    sync.prepared()
                    sync.stop_by(server.kill)
                    if self.progress:
                        server.do(HEADER, 0)
                    if self._is_to_be_rehearsed():
                        server.do("rehearse", 0)
                    records: list[RoundRecord] = []
                    while not self.stop_reason(records):
                        round_dir = self.dir.round(len(records))
                        is_new = not round_dir.record.exists()
                        self._do((*round_dir.stages, *self._also(at_end=False)), round_dir, server, sync)
                        records.append(round_record(self.dir, round_dir))
                        write_json(round_dir.record, records[-1])
                        best = best_round(self.dir, records).index
                        write_text(self.dir.best, f"round-{best}\n")
                        if records[-1].index:
                            record_look(self.dir, records[-1].index)
                        sync.recorded(round_dir)
                        if self.config.train.keep == "best+last" and (dropped := drop_checkpoints(self.dir, best=best)):
                            log_event(self.dir, "checkpoints dropped", rounds=dropped)
                        teller.round(records, is_new=is_new)
                        yield records[-1]
                    for index in self.scored_at_end(records):
                        self._do(self._also(at_end=True), self.dir.round(index), server, sync)
                teller.finished(self.stop_reason(records))
            except BaseException as error:
                log_failure(self.dir, error)
                raise
            log_event(self.dir, "finished", why=self.stop_reason(records))

    def _do(self, stages: Sequence[str], round_dir: RoundDir, server: StageServer, sync: StoreSync) -> None:
        for stage in stages:
            sync.before(stage, round_dir)
            server.do(stage, round_dir.index)
            sync.after(stage, round_dir)

    def _is_to_be_rehearsed(self) -> bool:
        return bool(self.config.rounds) and not self.dir.round(1).manifest("train").exists()

    def _also(self, *, at_end: bool) -> list[str]:
        """Return the stages that score further problems, where this is the time for them."""
        evaluate = self.config.evaluate
        return [each.stage for each in evaluate.also] if at_end == (evaluate.also_rounds == "best") else []

    def scored_at_end(self, records: list[RoundRecord]) -> list[int]:
        """Return the rounds that score further problems after the last round, where that is the time for them."""
        return sorted({0, best_round(self.dir, records).index or records[-1].index}) if self._also(at_end=True) else []

    def _warn(self) -> None:
        """Say where the prompt asks for another answer format than the one that counts."""
        kinds = {problem.kind for problem in iterate_records(self.dir.heldout, Problem)} if self.progress else set()
        for said in format_warnings(self.config.prompt.texts, self.config.verify.answer_format, kinds):
            tell(f"warning: {said}", sys.stderr)

    def records(self) -> list[RoundRecord]:
        """Return the records of the rounds that are finished.

        Raises:
            StaleStageError: a file of a finished stage was changed since.
        """
        require_unchanged_run(self.dir)
        return [read_record(self.dir, each) for each in self.dir.rounds() if each.record.exists()]

    def problems(self, *, scored: bool = False) -> RecordList[Problem]:
        """Return the training problems, or the held-out ones.

        Raises:
            RunError: they are not there yet.
        """
        self.dir.require_problems()
        return RecordList(read_records(self.dir.heldout if scored else self.dir.problems, Problem))

    def traces(self, round_index: int, *, scored: bool = False) -> RecordList[Trace]:
        """Return what was sampled in a round to learn from, or, of held-out problems, to score its model."""
        round_dir = self.dir.round(round_index)
        return RecordList(read_records(round_dir.evaluate_traces if scored else round_dir.traces, Trace))

    def verdicts(self, round_index: int, *, scored: bool = False) -> RecordList[Verdict]:
        """Return the verdicts on ``traces``, in the same order."""
        round_dir = self.dir.round(round_index)
        return RecordList(read_records(round_dir.evaluate_verdicts if scored else round_dir.verdicts, Verdict))

    def examples(self, round_index: int) -> RecordList[Example]:
        """Return what a round was trained on."""
        return RecordList(read_records(self.dir.round(round_index).examples, Example))

    def _repr_html_(self) -> str:
        """Return the scores by round as a notebook shows them."""
        rows = [["round", "pass@1", "value right in any format", "greedy", "examples"]]
        for record in self.records():
            report, trained = record.evaluate, self.dir.round(record.index).examples
            scores = [report.pass_at_k[1], report.pass_at_k_lenient[1], report.greedy_lenient]
            shown = [score_text(each) if each else "" for each in scores]
            rows.append([str(record.index), *shown, f"{count_lines(trained):,}" if trained.exists() else ""])
        cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        table = "".join(f"<tr>{row}</tr>" for row in cells)
        what = html.escape(
            f"{self.dir.path}: in percent, with 95 % intervals; what may be claimed says: tpt report {self.dir.path}"
        )
        return f"<table>{table}</table><p>{what}</p>"

    def stop_reason(self, records: list[RoundRecord]) -> str:
        """Return why no further round is done after these, or "" when one is."""
        return stop_reason(records, self.config, _choice(self.dir, self.config, records)) if records else ""

    def prepare(self, check: Callable[[RunDir], None] | None = None) -> None:
        """Make the run directory: config, problems frozen and checked; nothing if it is there already.

        ``check`` is called before anything is written, with a run of the same config and problems elsewhere.

        Raises:
            RunError: the run there has another config, and finished stages.
            ProblemError: the problems cannot be read, overlap, or have a gold answer that its own verifier refuses.
            OwnCodeError: a function that the config names cannot be imported.
        """
        changed = self.require_same_config()
        require_own_code(self.config)
        if not changed and self._is_frozen():
            require_frozen(self.dir)
            also = self._load_missing_also()
            write_text(self.dir.config, render_toml(self.config))
            self._freeze_also(also)
            return
        train, heldout, left_out = load_both(self.config)
        also = load_also(self.config, train, self.config.evaluate.also)
        if check:
            check_elsewhere(self.config, (train, heldout, also), check)
        if changed:
            # Nothing was finished with the config that is there, so the one given now takes its place.
            further = (self.dir.path / "also").glob("*.jsonl")
            for path in (self.dir.base, self.dir.frozen, self.dir.problems, self.dir.heldout, *further):
                path.unlink(missing_ok=True)
            for round_dir in self.dir.rounds():
                set_aside(round_dir)
        if left_out:
            log_event(self.dir, "left out", problems=left_out)
            if self.progress:
                tell(
                    f"left out: {counted(len(left_out), 'problem')} (problems.drop_bad), see logs/events.jsonl",
                    sys.stderr,
                )
        self._freeze(train, heldout, also)

    def _is_frozen(self) -> bool:
        """Return whether all problems are here; runs of earlier versions kept no record of them, which is written last."""
        is_recorded = self.dir.frozen.exists() or bool(self.dir.rounds())
        return is_recorded and self.dir.problems.exists() and self.dir.heldout.exists()

    def _freeze(self, train: list[Problem], heldout: list[Problem], also: dict[str, list[Problem]]) -> None:
        write_text(self.dir.config, render_toml(self.config))
        replace_records(self.dir.problems, train)
        replace_records(self.dir.heldout, heldout)
        self._freeze_also(also)

    def require_same_config(self) -> str:
        """Return the keys of the config that is there which differ from this one's; empty: none, or there is no config.

        Raises:
            RunError: there are such keys, and stages were finished with them.
        """
        changed = changed_keys(self.dir, self.config) if self.dir.exists() else ""
        if changed and any(map(finished_stages, self.dir.rounds())):
            raise RunError(
                f"{self.dir.path}: holds a run with another config:\n{changed}\nUse another directory (--out), or "
                f"go on with the config that is there: tpt run {address_of(self.dir.path)}"
            )
        return changed

    def _load_missing_also(self) -> dict[str, list[Problem]]:
        """Load the further sets that are not here yet."""
        missing = [each for each in self.config.evaluate.also if not self.dir.also(each.stage).exists()]
        return load_also(self.config, read_records(self.dir.problems, Problem), missing) if missing else {}

    def _freeze_also(self, sets: dict[str, list[Problem]]) -> None:
        for stage, problems in sets.items():
            if not self.dir.also(stage).exists():
                replace_records(self.dir.also(stage), problems)
        record_frozen(self.dir)


def check_elsewhere(
    config: RunConfig,
    problems: tuple[list[Problem], list[Problem], dict[str, list[Problem]]],
    check: Callable[[RunDir], _Found],
) -> _Found:
    """Return what ``check`` says of a run of a config, its training, held-out and further problems, that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tpt-lengths-") as folder:
        elsewhere = Run(folder, config)
        elsewhere._freeze(*problems)
        return check(elsewhere.dir)


def do_alone(run: RunDir, stage: str, index: int) -> dict[str, Any]:
    """Do one stage of one round in this process, unless it is done, and return its manifest."""
    run.require_problems()
    round_dir = run.round(index)
    with lock(run), synced(run) as sync:
        require_frozen(run)
        sync.before(stage, round_dir)
        try:
            manifest = do_stage(run.path, stage, index, progress=True)
        except BaseException as error:
            log_failure(run, error)
            raise
        if round_dir.record.exists() and is_finished(round_dir):
            # What was done again may say something else.
            write_json(round_dir.record, round_record(run, round_dir))
        sync.after(stage, round_dir)
    return manifest


def round_record(run: RunDir, round_dir: RoundDir) -> RoundRecord:
    """Put together what a finished round's manifests say."""
    manifests = {stage: load_manifest(round_dir.manifest(stage)) for stage in round_dir.stages}
    counts = {stage: dict(manifest["counts"]) for stage, manifest in manifests.items()}
    report = from_table(EvalReport, counts["evaluate"]["report"])
    model = str(round_dir.checkpoint.relative_to(run.path)) if round_dir.index else base_record(run)["model"]
    return RoundRecord(
        index=round_dir.index,
        model=model,
        evaluate=report,
        think=counts.get("think"),
        prune=counts.get("prune"),
        train=counts.get("train"),
        wall_s=round(sum(each["wall_s"] for each in counts.values()), 3),
    )


def read_record(run: RunDir, round_dir: RoundDir) -> RoundRecord:
    """Read a finished round's record.

    Raises:
        StaleStageError: it is not what the manifests of the round's stages say.
    """
    record = read_table(round_dir.record, RoundRecord)
    if is_finished(round_dir) and to_table(round_record(run, round_dir)) != to_table(record):
        raise StaleStageError(
            f"{round_dir.record}: not what the manifests of the round's stages say. It is made again by: "
            f"tpt run {address_of(run.path)}"
        )
    return record


def is_finished(round_dir: RoundDir) -> bool:
    """Return whether all stages of a round are finished."""
    return all(round_dir.manifest(stage).exists() for stage in round_dir.stages)


def best_round(run: RunDir, records: list[RoundRecord]) -> RoundRecord:
    """Return which of some finished rounds, one or more, is the best; see tpt.evidence.best_round.

    Raises:
        RunError: the verdicts of a round are gone or damaged.
    """
    best = _choice(run, load_config(run.config), records).best
    return next(record for record in records if record.index == best)


def stop_reason(records: list[RoundRecord], config: RunConfig, choice: BestRound) -> str:
    """Return why no further round is done after these, or "" when one is."""
    if len(records) > config.rounds:
        if not config.rounds:
            return "no round is asked for (rounds = 0)"
        return "the one round is done" if config.rounds == 1 else f"all {config.rounds} rounds are done"
    newest = max(choice.best, choice.highest)
    waited = records[-1].index - newest
    if config.stop.patience and waited >= config.stop.patience:
        return (
            f"no new best and no new highest held-out score after round {newest} in {counted(waited, 'round')} "
            f"(stop.patience = {config.stop.patience})"
        )
    return ""


def _choice(run: RunDir, config: RunConfig, records: list[RoundRecord]) -> BestRound:
    return best_round_of(run, config, [record.index for record in records])
