"""Check a model with its config before a run: sample a few dozen held-out problems, and say what they show."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tpt.config import RunConfig
from tpt.config.answer_format import format_warnings
from tpt.gate import EarlySamples, GateReport, early_problems, gate_report
from tpt.gate.watch import MOST_SAMPLES, seen_of
from tpt.records import Trace, Verdict
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.stage import StageContext, problems_by_id
from tpt.sampling.open import sampling_of
from tpt.sampling.sample import Pass, sample
from tpt.sampling.samplers import Fixed
from tpt.seeds import shuffled
from tpt.start_model import base_model
from tpt.system.jsonl import read_records


def check_model(config: RunConfig) -> GateReport:
    """Sample random held-out problems from the config's model and return what the gate says of them.

    Raises:
        TPTError: whatever a run would raise when it starts: bad problems, a model that cannot be loaded.
    """
    from tpt.model.load import use_threads

    with tempfile.TemporaryDirectory(prefix="tpt-check-") as folder:
        run = Run(Path(folder) / "run", config)
        run.prepare()
        context = StageContext(run.dir, run.dir.round(0), run.config, progress=True)
        use_threads(run.config.threads)
        return gate_report(_seen(context), warnings=_warnings(run.dir, run.config))


def _seen(context: StageContext) -> EarlySamples:
    config, round_dir = context.config, context.round_dir
    heldout = problems_by_id(context.run.heldout)
    samples = min(config.evaluate.samples, MOST_SAMPLES)
    chosen = sorted(early_problems(shuffled(list(heldout), config.seed, "gate"), samples))
    problems = {problem_id: heldout[problem_id] for problem_id in chosen}
    asked = Pass(Fixed(chosen, samples), sampling_of(config.evaluate), round_dir.evaluate)
    with context.display("check of the model", total=asked.sampler.target, spent_s=0.0) as display:
        (collected,), _ = sample(context, base_model(context.run, config), problems, asked, display=display)
    traces, verdicts = (
        read_records(round_dir.evaluate_traces, Trace),
        read_records(round_dir.evaluate_verdicts, Verdict),
    )
    pairs = list(zip(traces, verdicts, strict=True))
    pace = collected.sampling_s / max(1, collected.traces)
    return seen_of(context, problems, pairs, pace, config.evaluate)


def _warnings(run: RunDir, config: RunConfig) -> list[str]:
    kinds = {problem.kind for problem in problems_by_id(run.heldout).values()}
    return format_warnings(config.prompt.texts, config.verify.answer_format, kinds)
