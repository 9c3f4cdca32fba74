"""A plan as text to read."""

from __future__ import annotations

from collections.abc import Sequence

from tpt.plan.hardware import GIB
from tpt.plan.power import power_sentence
from tpt.plan.run_plan import RunPlan
from tpt.system.terminal import text_table, wrapped
from tpt.system.words import counted


def plan_text(plan: RunPlan, outline: str, *, width: int | None = None) -> str:
    """Return a plan's tables, ``width`` characters wide; ``outline`` is what the run does, rendered."""
    parts = [outline, wrapped(f"on: {plan.hardware}", width), _stage_table(plan, width), _memory_text(plan, width)]
    disk = ", ".join(f"{name} {_size(size)}" for name, size in plan.disk.items())
    parts.append(wrapped(f"disk: {disk}", width))
    if plan.reality:
        parts.append(_reality_table(plan, width))
    assumed = "assumed:\n" + "\n".join(f"  - {each}" for each in plan.assumptions)
    parts += [wrapped(each, width) for each in (assumed, power_sentence(plan.power), _verdict(plan))]
    return "\n\n".join(parts)


def _stage_table(plan: RunPlan, width: int | None) -> str:
    rows = [["round", "stage", "samples", "tokens", "prompt tokens", "TFLOP", "minutes", ""]]
    rows += [
        [
            str(stage.round),
            stage.stage,
            f"{stage.samples:,}",
            f"{stage.tokens:,}",
            f"{stage.prompt_tokens:,}",
            f"{stage.flops / 1e12:,.1f}",
            _minutes(stage.seconds),
            "done" if stage.done else "",
        ]
        for stage in plan.stages
    ]
    total = plan.total
    rows.append(["total", "", "", f"{total.tokens:,}", "", f"{total.flops / 1e12:,.1f}", _minutes(total.seconds), ""])
    return _table(rows, width, drop=(5, 4, 2))


def _reality_table(plan: RunPlan, width: int | None) -> str:
    rows = [["round", "stage", "tokens planned", "measured", "ratio", "minutes planned", "measured", "ratio"]]
    rows += [
        [
            str(each.round),
            each.stage,
            f"{each.planned_tokens:,}",
            f"{each.tokens:,}",
            _ratio(each.tokens_ratio),
            _minutes(each.planned_seconds),
            _minutes(each.seconds),
            _ratio(each.seconds_ratio),
        ]
        for each in plan.reality
    ]
    before, now = plan.before, plan.total
    ratio = now.seconds / before.seconds if now.seconds is not None and before.seconds else None
    rows.append(
        [
            "all",
            "as it looks now",
            f"{before.tokens:,}",
            f"{now.tokens:,}",
            _ratio(now.tokens / max(1, before.tokens)),
            _minutes(before.seconds),
            _minutes(now.seconds),
            _ratio(ratio),
        ]
    )
    return "planned before the run, and measured:\n" + _table(rows, width, drop=(4, 7))


def _memory_text(plan: RunPlan, width: int | None) -> str:
    rows = [["memory of a device", "needed GiB", "there", "devices", "fits", "of that, GiB"]]
    rows += [
        [
            fit.stage,
            f"{fit.needed / GIB:.1f}",
            f"{fit.available / GIB:.1f}",
            str(fit.devices),
            "yes" if fit.fits else "NO",
            fit.parts,
        ]
        for fit in plan.memory
    ]
    return _table(rows, width, drop=(5, 3))


def _verdict(plan: RunPlan) -> str:
    if not plan.fits:
        lines = [f"DOES NOT FIT on {plan.hardware.partition(':')[0]}:"]
        for fit in plan.memory:
            if not fit.fits:
                lines += [f"  {fit.stage}: " + fit.instead.replace("\n", "\n    ")]
        if plan.fits_on:
            lines.append(f"As it is, it fits on {plan.devices} x " + ", ".join(plan.fits_on))
        return "\n".join(lines)
    total = plan.total
    said = f"{total.sampled_tokens:,} tokens to sample, {total.trained_tokens:,} to train on"
    if total.seconds is not None:
        said += f", about {_duration(total.seconds)}"
    if plan.price is not None:
        said += f", price {plan.price:,.2f} for {counted(plan.devices, 'device')}"
    if plan.stages and all(stage.done for stage in plan.stages):
        return f"{said}: all of it is done."
    return f"{said}.{' The run may stop earlier (stop.patience).' * plan.may_stop}"


def _minutes(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds / 60:.2f}" if seconds < 600 else f"{seconds / 60:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"


def _table(rows: Sequence[Sequence[str]], width: int | None, *, drop: Sequence[int]) -> str:
    """Return rows as columns, numbers to the right."""
    columns = list(zip(*rows, strict=True))
    words = [at for at, cells in enumerate(columns) if not any(cell[:1].isdigit() for cell in cells[1:])]
    return "\n".join(text_table(rows, width=width, left=words, drop=drop))
