"""The model card of an exported model, in the Hub's format."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tpt.config import RunConfig
from tpt.evidence import Claim, Group
from tpt.export.recipe import judged_by, made_by
from tpt.model.chat import Chat
from tpt.problems.math import aqua, gsm8k, gsm_hard, math
from tpt.problems.spec import parse_spec
from tpt.records import Estimate, Message, Problem, RoundRecord
from tpt.report.groups import groups_table
from tpt.report.rows import RoundRow
from tpt.report.sentences import claim_text, gain_text
from tpt.report.summary import beside_scores
from tpt.system.words import bounds, counted

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_DATASETS = {
    "aqua": aqua.HUB_ID,
    "gsm8k": gsm8k.HUB_ID,
    "gsm_hard": gsm_hard.HUB_ID,
    "math": math.HUB_ID,
    "math500": math.HUB_ID_500,
}
_FILES = 10
"""Files named in a card, at most."""
_FENCE = re.compile(r"`{3,}")


@dataclass(frozen=True, slots=True)
class Card:
    """Everything a card says."""

    name: str
    origin: dict[str, Any]
    config: RunConfig
    records: list[RoundRecord]
    rows: list[RoundRow]
    claim: Claim | None
    units: str
    """What the intervals are over: problems, or clusters of them."""
    looks: list[str]
    """What many looks at the same held-out problems leave of a gain."""
    also: list[Group]
    """The further sets that rounds were scored on."""
    record: RoundRecord
    """The round that is exported."""
    best: int
    form: dict[str, Any]
    messages: list[Message]
    """The prompt, the question left open."""


def prompt_messages(config: RunConfig, folder: Path) -> list[Message]:
    """Return the turns that ask a question, as the exported tokenizer's template takes them."""
    from transformers import AutoTokenizer

    chat = Chat(AutoTokenizer.from_pretrained(folder), config.asked_prompt)
    return chat.messages(Problem(id="", question="{question}", answer=""))


def model_card(card: Card) -> str:
    """Return a card in Markdown, with the front matter that the Hub reads."""
    parts = [_front_matter(card), f"# {_plain(card.name)}", _summary(card), _scores(card), _training(card)]
    parts += [_usage(card), _caveats(card), _lineage(card)]
    return "\n\n".join(parts) + "\n"


def _front_matter(card: Card) -> str:
    from huggingface_hub import ModelCardData

    base, source = card.origin["base"]["model"], parse_spec(card.config.problems.train).name
    is_hub, dataset = bool(_HUB_ID.fullmatch(base)) and not base.endswith(".gguf"), _DATASETS.get(source)
    is_free = card.config.model == "embedded"
    known = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["think-prune-train", "self-improvement", "rejection-sampling", "sft"],
        base_model=base if is_hub else None,
        datasets=[dataset] if dataset else None,
        license="apache-2.0" if is_free else None,
    )
    asked = [
        "" if is_hub else f"# base_model: OWNER/NAME   (it was made from {_plain(base)})",
        "" if dataset else f"# datasets: [OWNER/NAME]   (problems: {_plain(source)})",
        "" if is_free else "# license: NAME   (that of the base model binds, and so may that of the problems)",
    ]
    return "\n".join(["---", known.to_yaml(), *filter(None, asked), "---"])


def _summary(card: Card) -> str:
    base, record = card.origin["base"]["model"], card.record
    if record.index == 0:
        return f"The base model `{_code(base)}` as it was scored at the start of a Think-Prune-Train run. Nothing was trained."
    adapter = " The folder holds an adapter: `transformers` puts it on its base model where `peft` is installed."
    return f"Made from `{_code(base)}` by {made_by(card.config, record.index)}" + (
        adapter if card.form["adapter"] else ""
    )


def _scores(card: Card) -> str:
    evaluate = card.config.evaluate
    report = card.record.evaluate
    k = max(report.pass_at_k)
    lines = [
        "## Scores",
        "",
        f"On {counted(report.problems, 'held-out problem')} (`{_code(card.config.problems.heldout)}`), "
        f"{counted(report.samples, 'sample')} each "
        f"at temperature {evaluate.temperature:g}, top_p {evaluate.top_p:g}, at most {evaluate.max_tokens:,} tokens. "
        "*Strict*: right and in the asked format; *lenient*: right in any form; *greedy*: lenient, of one greedy sample a "
        f"problem. In percent, [95 % interval over {card.units}]; gains are paired by problem. The strict gain has three parts: "
        "*format* (right values written as asked), *sharpening* (samples nearer to the greedy answer, which greedy decoding "
        f"of the base model gives without training) and *skill* (the greedy answer right).{beside_scores(card.records)}",
        "",
        f"| round | pass@1 strict | pass@1 lenient | greedy | pass@{k} strict | gain strict | format | sharpening | skill |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in card.rows:
        mark = " (this model)" if row.round == card.record.index else ""
        scores = [row.strict, row.lenient, row.greedy, row.pass_at_k]
        cells = [*map(_percent, scores), *map(gain_text, (row.gain, row.format, row.sharpening, row.skill))]
        lines.append(f"| {row.round}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines + _further(card))


def _further(card: Card) -> list[str]:
    """Return what this model and the base model scored on further sets."""
    shown = {0, card.record.index}
    groups = [replace(group, rounds=[each for each in group.rounds if each.round in shown]) for group in card.also]
    if not groups:
        return []
    said = "Scored besides, on problems that were not trained on either; differences are paired by problem:"
    return ["", said, "", groups_table("set", groups)]


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    low, high = bounds(estimate)
    return f"{100 * estimate.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _training(card: Card) -> str:
    config, record = card.config, card.record
    lines = ["## How it was made", ""]
    lines.append(f"- Problems: `{_code(config.problems.train)}`, disjoint from the held-out ones.")
    if record.index:
        think, prune, train = config.think, config.prune, config.train
        lines.append(
            f"- Think: at most {counted(think.samples, 'sample')} a problem, temperature {think.temperature:g}, "
            f"top_p {think.top_p:g}, at most {think.max_tokens:,} tokens; sampler `{think.sampler}`; data: "
            f"`{config.data.source}`, `{config.data.mode}`; human share: {config.data.mix:g}."
        )
        lines.append(
            f"- Prune: correct only: {_yes(prune.correct_only)}; asked format: {_yes(prune.require_format)}; "
            f"{prune.per_problem} per problem, picked `{prune.pick}`; size {prune.size}; duplicates: `{prune.dedupe}`."
        )
        lines.append(
            f"- Train: from the `{train.start_from}` model, {counted(train.epochs, 'epoch')}, learning "
            f"rate {train.learning_rate:g} ({train.schedule}), {train.batch_size} examples a step, loss on completions only."
        )
    for each in card.records[1 : record.index + 1]:
        if imported := (each.think or {}).get("imported"):
            files = ", ".join(f"`{_code(file['file'])}` ({file['digest'][:12]})" for file in imported["files"][:_FILES])
            lines.append(
                f"- Round {each.index} took {counted(imported['traces'], 'imported sample')}, from "
                f"{counted(len(imported['files']), 'file')}: {files}."
            )
        train_counts, prune_counts = each.train or {}, each.prune or {}
        lines.append(
            f"- Round {each.index}: {prune_counts.get('solved_problems', '?')} problems solved, "
            f"{train_counts.get('examples', '?')} examples, loss {train_counts.get('loss_first', '?')} to "
            f"{train_counts.get('loss_last', '?')}."
        )
    lines.append(f"- Weights: {card.form['dtype']}.{_rounding(card)}")
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _rounding(card: Card) -> str:
    """Say what rounding to bfloat16 takes away from the last round's training."""
    counts = card.record.train or {}
    if card.form["dtype"] != "bfloat16" or "changed_share_bfloat16" not in counts:
        return ""
    return (
        f" They were trained in float32, where the last round changed {counts['changed_share']:.1%} of them; rounded to "
        f"bfloat16, {counts['changed_share_bfloat16']:.1%} still differ from that round's start. The rest of what was "
        "learned in it is lost in this file: score it before relying on the table above."
    )


def _usage(card: Card) -> str:
    sampling = card.config.evaluate
    text = json.dumps(card.messages, indent=2, ensure_ascii=False)
    code = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        "messages = [...]  # those above, {question} replaced by yours",
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)',
        f"output = model.generate(**inputs, max_new_tokens={sampling.max_tokens}, do_sample=True, "
        f"temperature={sampling.temperature:g}, top_p={sampling.top_p:g}, top_k={sampling.top_k})",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))',
    ]
    return "\n".join(
        [
            "## Use",
            "",
            "The scores hold for this prompt, word for word, `{question}` standing for the question:",
            "",
            _fenced(text, "json"),
            "",
            "It stops by itself: the end tokens are in `generation_config.json`.",
            "",
            _fenced("\n".join(code), "python"),
        ]
    )


def _caveats(card: Card) -> str:
    rounds = len(card.records)
    lines = ["## Caveats", ""]
    if card.record.index and card.record.index == card.best:
        lines.append(
            f"- This round was chosen as the best of {rounds} models, the base model among them, by held-out problems "
            "that are in the table, so its score and gain there are somewhat too good." + _claimed(card.claim)
        )
    if card.record.index:
        lines.append(f"- {judged_by(card.config)}")
        lines += [f"- {said}" for said in card.looks]
    lines.append("- The interval covers the choice of problems alone, not another training seed.")
    measured = any(each.round == card.record.index for group in card.also for each in group.rounds)
    beside = " and the further sets above" if measured else ""
    lines.append(f"- Nothing outside this kind of problem{beside} was measured; other abilities may have changed.")
    return "\n".join(lines)


def _claimed(claim: Claim | None) -> str:
    """Say what problems that had no part in the choice show, where some were kept apart."""
    if claim is None:
        return " Too few problems were kept out of the choice to tell: score it on new ones."
    if not claim.independent:
        return " No problems were kept out of the choice: score it on new ones."
    return f" On the {claim.problems:,} problems that had no part in the choice, {claim_text(claim)}"


def _lineage(card: Card) -> str:
    origin = card.origin
    lines = [
        "## Lineage",
        "",
        "All of it, the config included, is in `tpt.json`.",
        "",
        "| what | sha256 |",
        "|---|---|",
    ]
    rows = {"base model": origin["base"]["digest"], "prompt": origin["prompt"]}
    rows |= {f"{name} problems": each for name, each in origin["problems"].items()}
    for each in origin["rounds"]:
        rows |= {f"round {each['round']} {name}": value for name, value in each.items() if name != "round"}
    lines += [f"| {name} | `{value}` |" for name, value in rows.items()]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return "\n".join([*lines, "", f"Scored with {versions}."])


def _fenced(text: str, language: str) -> str:
    """Return a code block whose fence the text cannot end."""
    longest = max((len(found) for found in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _plain(text: str) -> str:
    """Return text that stays on its line and is neither markup nor the end of a comment."""
    return re.sub(r"[\s<>`|]+", " ", text).strip()


def _code(text: str) -> str:
    return re.sub(r"[\s`|]+", " ", text).strip()
