"""What the rounds took, and how training went."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tpt.report.html.axes import Frame, number_axis
from tpt.report.html.charts import Line, Part, legend, line_chart, stacked_rows
from tpt.report.html.markup import Content, node, table
from tpt.report.html.page_data import PageData, StageCost, round_name
from tpt.report.html.scores import figure, ramp
from tpt.report.html.words import model_title
from tpt.report.status import clock_text
from tpt.run.directory import STAGES

_TOKENS = "What was sampled, the unneeded ones too, and what one accepted trace cost."


def cost_figures(data: PageData) -> list[Element]:
    """Return what each round took."""
    longest = max((sum(cost.seconds.values()) for cost in data.costs), default=1.0)
    rows = [_cost_row(cost) for cost in data.costs]
    total = _cost_row(
        StageCost(
            0,
            sum(cost.think_tokens for cost in data.costs),
            sum(cost.evaluate_tokens for cost in data.costs),
            sum(cost.accepted for cost in data.costs),
            {stage: sum(cost.seconds.get(stage, 0.0) for cost in data.costs) for stage in STAGES},
        )
    )
    headings = [
        "round",
        "tokens to learn from",
        "tokens to score",
        "accepted traces",
        "tokens per accepted trace",
        "time",
    ]
    return [
        figure(
            "Time by stage",
            "Where the time went, in hours, minutes and seconds; evaluate is what the claims rest on.",
            legend([(stage, f"stage-{stage}") for stage in STAGES]),
            stacked_rows("Time of each stage, by round", [_stage_times(cost) for cost in data.costs], total=longest),
        ),
        *_training(data),
        node(
            "figure",
            {"class": "wide"},
            node("figcaption", None, node("h3", None, "Tokens"), node("p", None, _TOKENS)),
            table(headings, [*rows, ["All", *total[1:]]]),
        ),
    ]


def _training(data: PageData) -> list[Element]:
    if not data.trainings:
        return []
    lines = [
        Line(
            round_name(training.round),
            ramp(training.round, len(data.records)),
            [(float(step), loss) for step, loss in enumerate(training.losses, start=1)],
        )
        for training in data.trainings
    ]
    values = [value for line in lines for _, value in line.points]
    keys = ("examples", "steps", "loss_first", "loss_last", "target_tokens", "mean_relative_change", "dropped_too_long")
    headings = [
        "round",
        "examples",
        "steps",
        "first loss",
        "last loss",
        "trained tokens",
        "mean relative change",
        "too long",
    ]
    rows = [[model_title(each.round), *(_plain(each.counts.get(key)) for key in keys)] for each in data.trainings]
    content: list[Content] = []
    if values:
        steps = number_axis([1.0, *(float(len(line.points)) for line in lines)], "optimizer step")
        content.append(
            line_chart("Training loss by step, one curve a round", Frame(steps, number_axis([0.0, *values])), lines)
        )
    return [
        figure(
            "Training loss",
            "Mean loss of the trained tokens at each optimizer step; the traces are the model's own, so it starts low, and a "
            "curve that falls to zero means that they are learned by heart.",
            *content,
            numbers=table(headings, rows),
        ),
    ]


def _stage_times(cost: StageCost) -> tuple[str, list[Part]]:
    name = round_name(cost.round)
    times = [(stage, cost.seconds.get(stage, 0.0)) for stage in STAGES]
    parts = [
        Part(clock_text(taken), f"stage-{stage}", taken, f"{name}, {stage}: {clock_text(taken)}")
        for stage, taken in times
    ]
    return "base" if cost.round == 0 else str(cost.round), parts


def _cost_row(cost: StageCost) -> list[Content]:
    each = f"{cost.think_tokens / cost.accepted:,.0f}" if cost.accepted else ""
    learned = f"{cost.think_tokens:,}" if cost.think_tokens else ""
    accepted = f"{cost.accepted:,}" if cost.accepted else ""
    return [
        model_title(cost.round),
        learned,
        f"{cost.evaluate_tokens:,}",
        accepted,
        each,
        clock_text(sum(cost.seconds.values())),
    ]


def _plain(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else ""
