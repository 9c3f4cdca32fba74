"""What a run will cost, told before anything is spent: tokens, arithmetic, time, memory, disk and price."""

from __future__ import annotations

from tpt.plan.assumptions import PlanOptions
from tpt.plan.hardware import GPUS, MFU
from tpt.plan.power import WORTH_SEEING, expected_power, power_warnings
from tpt.plan.run_plan import RunPlan, Total, outline, plan_run
from tpt.plan.text import plan_text
from tpt.scoring.solve_rates import SOLVE_RATE

__all__ = [
    "GPUS",
    "MFU",
    "SOLVE_RATE",
    "WORTH_SEEING",
    "PlanOptions",
    "RunPlan",
    "Total",
    "expected_power",
    "outline",
    "plan_run",
    "plan_text",
    "power_warnings",
]
