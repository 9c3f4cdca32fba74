"""What to watch beside the scores: diversity, what the model says of fixed texts, lengths, verdicts, easy and hard problems."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from tpt.report.collapse import no_alarm
from tpt.report.html.axes import Frame, number_axis, round_axis
from tpt.report.html.charts import Line, Part, legend, line_chart, stacked_rows
from tpt.report.html.markup import Content, node, table
from tpt.report.html.page_data import PageData, round_name
from tpt.report.html.scores import figure
from tpt.report.html.series import Series, diversity_series, length_series, probe_series
from tpt.report.html.words import model_title
from tpt.system.words import counted

_OUTCOMES = {
    "CORRECT": "right",
    "WRONG": "wrong",
    "NO_ANSWER": "no answer",
    "TIMEOUT": "time limit",
    "ERROR": "error",
}
_DIFFICULTY = (
    ("never", "share-0", -1.0, 0.0),
    ("under a third", "share-1", 0.0, 1 / 3),
    ("up to two thirds", "share-2", 1 / 3, 2 / 3),
    ("more", "share-3", 2 / 3, 1 - 1e-9),
    ("always", "share-4", 1 - 1e-9, 1.0),
)
"""Label, look, and the bounds of the share of right tries: above the first, at most the second."""


def alarm_list(data: PageData) -> Element:
    """Return the alarms, each kind with what its last round has shown."""
    if not data.alarms:
        return node("p", {"class": "no-alarm"}, no_alarm(data.evidence))
    items: list[Content] = []
    for alarm in {alarm.name: alarm for alarm in data.alarms}.values():
        rounds = [str(each.round) for each in data.alarms if each.name == alarm.name]
        title = f"Alarm: {alarm.name}, round{'s' if len(rounds) > 1 else ''} {', '.join(rounds)}"
        said = f"In round {alarm.round}, {alarm.seen}. {alarm.advice}"
        items += [node("dt", None, title), node("dd", None, f"{said} (Threshold: {alarm.threshold}.)")]
    return node("dl", {"class": "alarms"}, *items)


def watch_figures(data: PageData) -> list[Element]:
    """Return what tells whether a model narrows down or degenerates: diversity, fixed texts, lengths."""
    found = [
        _small_charts(
            "Diversity",
            "Whether the right traces still differ: when these narrow down while the score rises, further rounds have less to "
            "learn from. Likeness, repetition and compression rise then.",
            diversity_series(data.records),
        )
    ]
    if probed := probe_series(data.records):
        found.append(
            _small_charts(
                "The model itself",
                "What each round's model says of texts that stay the same: how sure it is of the next token, how far it has "
                "moved from the base model, and how strange the source's own solutions have become to it.",
                probed,
            )
        )
    lengths = "How long the traces are: lengths that drift, traces cut off or caught in a loop are signs of decay."
    return [*found, _small_charts("Length", lengths, length_series(data.records))]


def verdict_figures(data: PageData) -> list[Element]:
    """Return what became of the traces, and how the problems spread from never to always solved."""
    return [_outcomes(data), _difficulty(data)]


def _small_charts(title: str, explanation: str, series: Sequence[Series]) -> Element:
    rounds = sorted({index for each in series for index in each.values})
    charts: list[Content] = [_small_chart(each, rounds) for each in series if each.drawn]
    rows = [[each.label, *(_with_error(each, index) for index in rounds)] for each in series]
    numbers = table(["", *(round_name(index) for index in rounds)], rows)
    built = figure(title, explanation, node("div", {"class": "smalls"}, *charts), numbers=numbers)
    built.set("class", "wide")
    return built


def _small_chart(series: Series, rounds: Sequence[int]) -> Element:
    points = sorted(series.values.items())
    errors = [1.96 * series.errors.get(index, 0.0) for index, _ in points]
    band = (
        [(value - error, value + error) for (_, value), error in zip(points, errors, strict=True)]
        if series.errors
        else []
    )
    notes = [f"{round_name(index)}: {_with_error(series, index)}" for index in series.values]
    bounds = [bound for pair in band for bound in pair] or [value for _, value in points]
    # A change of less than a tenth must not look like a fall.
    middle = max(bounds, key=abs)
    low, high = min(bounds), max(*bounds, series.reach)
    room = max(0.0, abs(middle) / 10 - (high - low)) / 2
    axis = number_axis([max(0.0, low - room) if low >= 0 else low - room, high + room], steps=3)
    frame = Frame(round_axis(rounds, label=""), axis, width=300, height=150, right=14)
    drawn = line_chart(f"{series.label}, by round", frame, [Line("", "plain", points, band, notes)])
    better = {"up": " ↑ higher is better", "down": " ↓ lower is better", "": ""}[series.better]
    title = node("h4", None, series.label, node("span", {"class": "better"}, better))
    return node("div", {"class": "small"}, title, drawn)


def _with_error(series: Series, index: int) -> str:
    if index not in series.values:
        return ""
    value = f"{series.values[index]:,.4g}"
    return f"{value} ± {series.errors[index]:.2g}" if index in series.errors else value


def _difficulty(data: PageData) -> Element:
    rows, numbers = [], []
    for record in data.records:
        shares = data.shares[record.index]
        counts = [sum(low < share <= high for share in shares) for _, _, low, high in _DIFFICULTY]
        parts = [
            Part(f"{count:,}", look, count, f"{round_name(record.index)}, {label}: {counted(count, 'problem')}")
            for (label, look, _, _), count in zip(_DIFFICULTY, counts, strict=True)
        ]
        rows.append(("base" if record.index == 0 else str(record.index), parts))
        numbers.append([model_title(record.index), *(f"{count:,}" for count in counts)])
    return figure(
        "Easy and hard problems",
        "Held-out problems by the share of their tries that are strictly right: whether a round solves new problems or only gets "
        "surer of easy ones.",
        legend([(label, look) for label, look, _, _ in _DIFFICULTY]),
        stacked_rows("Held-out problems by the share of right tries, by round", rows),
        numbers=table(["round", *(label for label, _, _, _ in _DIFFICULTY)], numbers),
    )


def _outcomes(data: PageData) -> Element:
    cards = data.evidence.rounds
    there = [name for name in _OUTCOMES if any(card.outcomes.get(name) for card in cards)]
    rows = []
    for card in cards:
        whole = sum(card.outcomes.values()) or 1
        parts = [
            Part(
                f"{card.outcomes.get(name, 0) / whole:.0%}",
                f"outcome-{name.lower()}",
                card.outcomes.get(name, 0),
                f"{round_name(card.round)}, {_OUTCOMES[name]}: {card.outcomes.get(name, 0):,}",
            )
            for name in there
        ]
        rows.append(("base" if card.round == 0 else str(card.round), parts))
    numbers = [[model_title(card.round), *(f"{card.outcomes.get(name, 0):,}" for name in _OUTCOMES)] for card in cards]
    return figure(
        "What became of the traces",
        "Every trace for the held-out problems has one verdict; right and wrong are about the value, whatever the format.",
        legend([(_OUTCOMES[name], f"outcome-{name.lower()}") for name in there]),
        stacked_rows("Share of each verdict, by round", rows),
        numbers=table(["round", *_OUTCOMES.values()], numbers),
    )
