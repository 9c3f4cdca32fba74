"""What a plan rests on, said in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from tpt.plan.hardware import BANDWIDTH_SHARE, DECODING_SHARE, MFU
from tpt.plan.history import History
from tpt.plan.power import GAIN_SPREAD
from tpt.plan.stages import Setting
from tpt.sampling.header import slow_format
from tpt.scoring.solve_rates import SOLVE_RATE


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What the user knows beyond the config."""

    gpu: str = ""
    """NAME or NAME:COUNT; empty: the machine at hand."""
    price: float | None = None
    """Of a device for an hour."""
    solve_rate: float | None = None
    """Mean share of samples that may be trained on."""
    completion_tokens: float | None = None
    """Mean length of a completion."""
    mfu: float = MFU
    """Share of a GPU's arithmetic that training reaches."""
    detect: float | None = None
    """A true gain in points that the held-out problems should show."""


def assumptions(setting: Setting, options: PlanOptions, history: History, *, is_to_come: bool) -> list[str]:
    """Return what the plan rests on, a sentence each; ``is_to_come``: whether any stage is."""
    work, config, gpu = setting.work, setting.work.config, setting.hardware.gpu
    said = [f"Prompts: {work.train.mean:.0f} tokens in the mean, by {work.counted_by}."]
    if is_to_come and history.evaluated:
        last = history.evaluated[max(history.evaluated)]
        said.append(
            f"Solve rate and lengths of the stages to come: as the finished ones show; held-out problems "
            f"{last.rates.mean:.0%} in round {max(history.evaluated)}."
        )
    elif is_to_come:
        rate = SOLVE_RATE if options.solve_rate is None else options.solve_rate
        known = "a guess; say what you know with --solve-rate" if options.solve_rate is None else "given"
        said.append(
            f"Solve rate: {rate:.0%} in the mean, {known}; Beta-distributed over problems, the same in every round."
        )
        said.append(
            f"Completions: {work.completion:.0f} tokens in the mean, by {work.completion_source} (--completion-tokens)."
        )
    if gpu is not None:
        used = max(config.engine.tensor_parallel_size, config.train.devices, 1)
        said.append(
            f"Roofline: decoding reaches {BANDWIDTH_SHARE:.0%} of the memory's speed or {DECODING_SHARE:.0%} of the "
            f"arithmetic, training {setting.hardware.mfu:.0%} of the arithmetic (--mfu); engine {work.engine}."
        )
        if used < setting.hardware.devices:
            said.append(
                f"The config uses {used} of {setting.hardware.devices} devices (engine.tensor_parallel_size, train.devices); "
                "the price counts all."
            )
    elif setting.speed is not None:
        said.append(
            "Minutes: a few layers of the model were timed on this machine just now; other work on it makes them longer."
        )
        if slow := slow_format(config, None):
            said.append(f"{slow}.")
    elif setting.sampled_here:
        said.append(
            "Minutes: not known, as the model is too large to be timed here, or transformers' generate decodes it."
        )
    if config.engine.name == "ray":
        said.append("Sampling is counted for one of Ray's replicas; n of them take about an nth of the time.")
    if history.done and is_to_come:
        said.append("Minutes of the stages to come: scaled to what the finished stages took.")
    said.append(
        f"True gains differ over problems with a standard deviation of {100 * GAIN_SPREAD:.0f} points, a guess; the smaller the "
        "gain, the less they do."
    )
    said.append("Verification is counted as for plain numbers; programs and formulas take longer.")
    return said
