"""How a model was made, in sentences that its config bears out: what it learned from, what was kept of that, and how."""

from __future__ import annotations

from tpt.config import RunConfig
from tpt.config.stage_sections import PruneConfig
from tpt.system.words import counted

_SOURCES = {
    "self": "the model sampled step-by-step solutions",
    "human": "the solutions that the problems came with were taken instead of samples",
    "file": "solutions that were sampled elsewhere were taken from files",
}
_METHOD = "*Think, Prune, Train* (arXiv 2504.18116)"


def made_by(config: RunConfig, rounds: int) -> str:
    """Return how so many rounds made the model."""
    sources = _sources(config, rounds)
    learned = "; or, in other rounds, ".join(_SOURCES[each] for each in sources)
    if config.data.mix:
        learned += f", and solutions that the problems came with made up {config.data.mix:.0%} of each training set"
    said = f"{counted(rounds, 'round')} of {_METHOD}: {learned}; {_kept(config.prune)}; and the model was {_trained(config)}."
    return f"{said} No reinforcement learning, no reward model, no teacher." if _is_plain(config, sources) else said


def judged_by(config: RunConfig) -> str:
    """Return what the verdicts on training solutions leave open."""
    if config.prune.keep:
        return "What was trained on was kept by a function of the user's own (`prune.keep`), not by verdicts alone."
    if config.prune.wrong_only:
        return "Wrong solutions were trained on, for diagnosis (`prune.wrong_only`)."
    if not config.prune.correct_only:
        return "Solutions were not pruned by their verdicts: wrong ones may have been trained on."
    return "Solutions were judged by their final answer: a wrong derivation that ends in a right answer may have been trained on."


def _sources(config: RunConfig, rounds: int) -> list[str]:
    return list(dict.fromkeys(config.data.source_of(index) for index in range(1, rounds + 1)))


def _kept(prune: PruneConfig) -> str:
    if prune.keep:
        return "a function of the user's own decided which were kept (`prune.keep`)"
    if prune.wrong_only:
        return "only those were kept whose answer is wrong, for diagnosis (`prune.wrong_only`)"
    if not prune.correct_only:
        return "right and wrong ones were kept alike (`prune.correct_only = false`)"
    beside = f", and programs that passed at least {prune.min_tests_passed:.0%} of their tests" * (
        prune.min_tests_passed > 0
    )
    return f"a verifier kept those whose final answer is right{beside}"


def _trained(config: RunConfig) -> str:
    prune, train = config.prune, config.train
    if prune.per_problem == 1:
        taken = "one of them per problem"
    else:
        taken = "all of them" if prune.per_problem == "all" else f"at most {prune.per_problem} of them per problem"
    if config.data.mode == "accumulate":
        taken += (
            " and round, those of earlier rounds too" if prune.per_problem != "all" else ", those of earlier rounds too"
        )
    own = [f"`{key}`" for key, value in {"prune.weigh": prune.weigh, "train.trainer": train.trainer}.items() if value]
    return f"fine-tuned on {taken}" + (f", by functions of the user's own ({', '.join(own)})" if own else "")


def _is_plain(config: RunConfig, sources: list[str]) -> bool:
    """Return whether all was the model's own, and nothing of it was weighted or minimised by code of the user's own."""
    is_own_code = any((config.prune.keep, config.prune.weigh, config.train.trainer, ":" in config.train.loss))
    return sources == ["self"] and not config.data.mix and not is_own_code
