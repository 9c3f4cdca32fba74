"""Think, prune, train: the whole algorithm on the package's public pieces, in the order in which it happens.

    python examples/loop.py [CONFIG.toml] [FOLDER]

No run directory, no resuming, no processes of its own: it is here to be read, and to be changed for an experiment.
What ``tpt run`` adds is durability, evidence and speed; with the same config (and ``engine.batch_invariant``) both end
with the same training sets and the same weights, byte for byte.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from tpt import Problem, RunConfig, Trace, Verdict, load_config
from tpt.audit.run_problems import load_sources
from tpt.engines import Request, complete
from tpt.model.chat import open_chat
from tpt.model.load import use_threads
from tpt.prune import select
from tpt.records import Example
from tpt.sampling.collect import trace_of
from tpt.sampling.open import open_engine, sampling_of
from tpt.scoring.score import score
from tpt.seeds import seed_for
from tpt.system.jsonl import replace_records
from tpt.train import Start, train
from tpt.verifiers.judge import judge

Problems = Mapping[str, Problem]


def main(config: RunConfig, folder: Path) -> None:
    """Score the base model, then do every round: think, prune, train, evaluate."""
    use_threads(config.threads)
    training, heldout = ({problem.id: problem for problem in problems} for problems in load_sources(config))
    model = config.model
    evaluate(config, model, heldout, round_index=0)
    for round_index in range(1, config.rounds + 1):
        traces, verdicts = think(config, model, training, round_index)
        examples = prune(config, model, training, traces, verdicts, round_index)
        replace_records(folder / f"round-{round_index}" / "examples.jsonl", examples)
        model = fine_tune(config, model, training, examples, folder, round_index)
        evaluate(config, model, heldout, round_index)


def think(config: RunConfig, model: str, problems: Problems, round_index: int) -> tuple[list[Trace], list[Verdict]]:
    """Sample ``think.samples`` solutions of every training problem, and let a program judge each."""
    return sample(config, model, problems, config.think.samples, round_index, stage="think")


def prune(
    config: RunConfig,
    model: str,
    problems: Problems,
    traces: list[Trace],
    verdicts: list[Verdict],
    round_index: int,
) -> list[Example]:
    """Keep one correct trace of each of the first ``prune.size`` solved problems of a random order.

    A problem's samples are independent draws, so its first correct one is as good as a random one; ``tpt run`` takes the
    same one, as it stops sampling a problem there.
    """
    policy = config.prune.model_copy(update={"pick": "first"})
    chat = open_chat(config.asked_prompt, model)
    return select(
        traces,
        verdicts,
        problems,
        policy=policy,
        messages=chat.messages,
        seed=config.seed,
        round_index=round_index,
        limits=config.verify,
    ).examples


def fine_tune(
    config: RunConfig, model: str, problems: Problems, examples: list[Example], folder: Path, round_index: int
) -> str:
    """Fine-tune the last round's model on this round's examples alone (replace, not accumulate); return its folder."""
    out = folder / f"round-{round_index}" / "checkpoint"
    train(
        examples,
        problems,
        config=config.train,
        prompt=config.asked_prompt,
        start=Start(model),
        out=out,
        seed=seed_for(config.seed, "train", round_index),
    )
    return str(out)


def evaluate(config: RunConfig, model: str, problems: Problems, round_index: int) -> None:
    """Score the model on held-out problems, which are never trained on."""
    traces, verdicts = sample(config, model, problems, config.evaluate.samples, round_index, stage="evaluate")
    report = score(traces, verdicts, ks=config.evaluate.ks, seed=config.seed).report
    scores = ", ".join(f"pass@{k} {value.mean:.1%}" for k, value in report.pass_at_k.items())
    print(f"round {round_index}: {scores} strict; pass@1 {report.pass_at_k_lenient[1].mean:.1%} lenient")


def sample(
    config: RunConfig, model: str, problems: Problems, samples: int, round_index: int, *, stage: str
) -> tuple[list[Trace], list[Verdict]]:
    """Sample every problem so many times, at the stage's temperature, and judge the traces."""
    sampling = sampling_of(config.think if stage == "think" else config.evaluate)
    chat = open_chat(config.asked_prompt, model)
    prompts = {problem_id: tuple(chat.prompt_ids(problem)) for problem_id, problem in problems.items()}
    longest = max(map(len, prompts.values())) + sampling.max_tokens
    seeds = {
        (problem_id, number): seed_for(config.seed, stage, round_index, problem_id, number)
        for problem_id in problems
        for number in range(samples)
    }
    engine = open_engine(config, model, chat=chat, longest=longest)
    requests = [Request(key, prompts[key[0]], seed, sampling) for key, seed in seeds.items()]
    traces = [trace_of(completion, seeds[completion.id], chat) for completion in complete(engine, requests)]
    engine.close()
    return traces, judge(traces, problems, limits=config.verify)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    default = [Path(__file__).with_name("quickstart.toml"), Path("runs/loop")]
    path, out = given + default[len(given) :]
    main(load_config(path), out)
