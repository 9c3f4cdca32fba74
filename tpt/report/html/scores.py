"""The scores of the rounds: the table, learning curves, pass@k, format and skill, problems won and lost."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from tpt.evidence import Comparison, Coverage, Difference
from tpt.records import Estimate
from tpt.report.html.axes import Frame, doubling_axis, number_axis, round_axis, share_axis
from tpt.report.html.charts import Bar, Line, Part, flow_chart, interval_bars, legend, line_chart
from tpt.report.html.markup import Content, details, node, table
from tpt.report.html.page_data import PageData, round_name
from tpt.report.html.words import interval, model_title, signed_points, verdict
from tpt.report.sentences import unit_text
from tpt.system.words import bounds, score_text

_LABELLED = 5
"""Curves that are all named at their ends."""
_RAMP = 6
"""Shades that tell rounds apart, from the first to the last."""


def rounds_element(data: PageData) -> Element:
    """Return the scores of every round."""
    most = max(card.samples for card in data.evidence.rounds)
    headings = [
        "round",
        "strict pass@1",
        "lenient pass@1",
        "greedy, lenient",
        f"strict pass@{most}",
        f"majority of {most}",
        "against base",
        "verdict",
    ]
    rows: list[list[Content]] = []
    for card in data.evidence.rounds:
        found = card.to_base.strict if card.to_base else None
        majority = card.maj_at_k.get(most)
        gain = f"{signed_points(found.mean)} {interval(found)}" if found else ""
        rows.append(
            [
                node(
                    "span",
                    {"class": "best"} if card.best else None,
                    model_title(card.round) + (" ★" if card.best else ""),
                ),
                score_text(card.strict),
                score_text(card.lenient),
                score_text(card.greedy_lenient) if card.greedy_lenient else "",
                score_text(card.pass_at_k[most]) if most in card.pass_at_k else "",
                score_text(majority) if majority else "",
                gain,
                node("span", {"class": f"finding {found.finding.split()[0]}"}, found.finding) if found else "",
            ]
        )
    note = (
        f"★ the best round. ± and brackets: 95 % intervals over {unit_text(data.evidence)}; differences in points, paired by "
        "problem."
    )
    return table(headings, rows, caption=note)


def verdicts(data: PageData) -> Element:
    """Return what is to be said of each round, in words."""
    items: list[Content] = []
    for card in data.evidence.rounds[1:]:
        items += [node("dt", None, model_title(card.round)), node("dd", None, verdict(card))]
    return node("dl", {"class": "verdicts"}, *items)


def score_figures(data: PageData) -> list[Element]:
    """Return the figures of the scores; those that need two rounds only where there are two."""
    found = [_learning_curves(data), _pass_at_k(data)]
    compared = len(data.evidence.rounds) > 1 and any(card.to_base for card in data.evidence.rounds)
    return [*found, _split_bars(data), _coverage_flow(data)] if compared else found


def figure(title: str, explanation: str, *content: Content, numbers: Element | None = None) -> Element:
    """Return a figure with its explanation and, folded away, its numbers."""
    caption = node("figcaption", None, node("h3", None, title), node("p", None, explanation))
    return node("figure", None, caption, *content, *([details("Numbers", numbers)] if numbers is not None else []))


def ramp(index: int, count: int) -> str:
    """Return the look of one of several ordered curves; the base model's is grey."""
    return "ramp-0" if index == 0 else f"ramp-{max(1, round(index * _RAMP / max(1, count - 1)))}"


def _learning_curves(data: PageData) -> Element:
    cards = data.evidence.rounds
    lines = []
    for name in ("lenient", "strict"):
        scores: list[tuple[int, Estimate]] = [
            (card.round, card.strict if name == "strict" else card.lenient) for card in cards
        ]
        lines.append(
            Line(
                name,
                name,
                [(index, each.mean) for index, each in scores],
                [bounds(each) for _, each in scores],
                [f"{round_name(index)}, {name}: {score_text(each)}" for index, each in scores],
            )
        )
    ends = [bound for line in lines for pair in line.band for bound in pair]
    frame = Frame(round_axis([card.round for card in cards]), share_axis(ends))
    rows = [[model_title(card.round), score_text(card.strict), score_text(card.lenient)] for card in cards]
    return figure(
        "Score by round",
        "How often a single try at a held-out problem is right: lenient, the value; strict, also in the format asked for. Bands "
        f"are 95 % intervals over {unit_text(data.evidence)}.",
        line_chart("Strict and lenient pass@1 by round, with 95 % intervals", frame, lines),
        numbers=table(["round", "strict, %", "lenient, %"], rows),
    )


def _pass_at_k(data: PageData) -> Element:
    cards = data.evidence.rounds
    names = {card.round: round_name(card.round).removesuffix(" model") for card in cards}
    # More labels than can be told apart at the end of the curves: those that matter stay, a legend has them all.
    is_crowded = len(cards) > _LABELLED
    labelled = {card.round for card in cards if not is_crowded or card.best or card in (cards[0], cards[-1])}
    lines = [
        Line(
            names[card.round] if card.round in labelled else "",
            ramp(index, len(cards)) + (" strong" if card.best else ""),
            [(k, each.mean) for k, each in sorted(card.pass_at_k.items())],
            notes=[
                f"{round_name(card.round)}, pass@{k}: {score_text(each)}" for k, each in sorted(card.pass_at_k.items())
            ]
            if len(card.pass_at_k) <= 8
            else [],
        )
        for index, card in enumerate(cards)
    ]
    values = [value for line in lines for _, value in line.points]
    most = max(k for card in cards for k in card.pass_at_k)
    shown = [2**power for power in range(most.bit_length()) if 2**power <= most]
    rows = [
        [model_title(card.round), *(score_text(card.pass_at_k[k]) if k in card.pass_at_k else "" for k in shown)]
        for card in cards
    ]
    return figure(
        "pass@k of every round",
        "The chance that at least one of k tries is strictly right: curves that rise on the left and meet on the right mean that "
        "the model got surer of what it could already do. The best round is drawn strong.",
        *(
            [legend([(names[card.round], ramp(index, len(cards))) for index, card in enumerate(cards)])]
            if is_crowded
            else []
        ),
        line_chart(
            "Strict pass@k by k, one curve a round", Frame(doubling_axis(most, "tries k"), share_axis(values)), lines
        ),
        numbers=table(["round", *(f"pass@{k}, %" for k in shown)], rows),
    )


def _split_bars(data: PageData) -> Element:
    compared = [(card.round, _parts(card.to_base)) for card in data.evidence.rounds if card.to_base]
    groups = [
        (float(index), [_part_bar(label, look, part, index) for label, look, part in parts])
        for index, parts in compared
    ]
    ends = [0.0, *(100 * end for _, parts in compared for _, _, part in parts for end in (part.low, part.high))]
    frame = Frame(round_axis([index for index, _ in compared], margin=0.6), number_axis(ends), right=14)
    rows = [
        [model_title(index), *(f"{signed_points(part.mean)} {interval(part)}" for _, _, part in parts)]
        for index, parts in compared
    ]
    shown = compared[-1][1]
    return figure(
        "Format, sharpening or skill?",
        "What the strict gain over the base model is made of, in points; the parts add up to it. Format: more of the right "
        "values written as asked. Sharpening: samples come nearer to the greedy answer, which greedy decoding gives without "
        "training. Skill: the greedy answer is right more often. Whiskers are 95 % intervals.",
        legend([(label, look) for label, look, _ in shown]),
        interval_bars("Strict gain over the base model and its parts, by round", frame, groups),
        numbers=table(["round", *(label for label, _, _ in shown)], rows),
    )


def _parts(found: Comparison) -> list[tuple[str, str, Difference]]:
    """Return the label, look and size of each part of a gain; without greedy samples there are two."""
    if found.sharpening is None or found.skill is None:
        return [("format", "format", found.format), ("right values", "skill", found.lenient)]
    return [
        ("format", "format", found.format),
        ("sharpening", "sharpening", found.sharpening),
        ("skill", "skill", found.skill),
    ]


def _coverage_flow(data: PageData) -> Element:
    cards = data.evidence.rounds
    steps = [(card, card.to_previous or card.to_base) for card in cards[1:]]
    flows = [_flow_parts(compared, card.round) for card, compared in steps if compared]
    columns = [("base" if card.round == 0 else str(card.round), card.solved) for card in cards]
    rows = [
        [
            f"{model_title(compared.other)} → {round_name(card.round)}",
            *(f"{count:,.0f}" for count in _flow_counts(compared.coverage, compared.problems)),
        ]
        for card, compared in steps
        if compared
    ]
    return figure(
        "Problems won and lost",
        f"Held-out problems with a strictly right try among {cards[0].samples} (above) and without (below), and how they move "
        f"from round to round; {len(data.evidence.never_solved):,} of {cards[0].problems:,} were never solved. The trace browser "
        "lists each group.",
        legend(
            [("solved", "solved"), ("unsolved", "unsolved"), ("newly solved", "gained"), ("no longer solved", "lost")]
        ),
        flow_chart(
            "Held-out problems solved and unsolved, from round to round", columns, flows, whole=cards[0].problems
        ),
        numbers=table(["from → to", "kept", "lost", "gained", "still unsolved"], rows),
    )


def _flow_parts(found: Comparison, after: int) -> list[Part]:
    words = ("solved by both", "no longer solved", "newly solved", "solved by neither")
    looks = ("kept", "lost", "gained", "never")
    return [
        Part(look, look, count, f"{round_name(found.other)} → {round_name(after)}: {count:,.0f} {word}")
        for look, word, count in zip(looks, words, _flow_counts(found.coverage, found.problems), strict=True)
    ]


def _flow_counts(coverage: Coverage, problems: int) -> tuple[float, float, float, float]:
    kept = problems - coverage.gained - coverage.lost - coverage.neither
    return kept, coverage.lost, coverage.gained, coverage.neither


def _part_bar(label: str, look: str, part: Difference, index: int) -> Bar:
    note = f"{round_name(index)}, {label}: {signed_points(part.mean)} points {interval(part)}"
    return Bar(label, look, 100 * part.mean, 100 * part.low, 100 * part.high, note)
