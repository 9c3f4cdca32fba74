"""Find code of the package that nothing in the package uses: ``python -m tools.dead_code``. Tests do not count as use."""

from __future__ import annotations

import sys
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).parents[1]
HOOKS = {
    "tpt": "imported once, for the children of the stage server",
    "ScriptedEngine": "the engine for tests, which ships with the package",
    "child_pids": "how tests see that no process of the pool is left",
    **dict.fromkeys(["on_config", "on_files", "on_page_markdown"], "mkdocs calls it"),
    **dict.fromkeys(["_repr_html_", "to_dataset", "to_polars"], "for notebooks and for scripts of users"),
    "matches": "called by its name in a worker",
    "locate": "called through Ray's handle",
    "after_exception": "Ray Train calls it",
    **dict.fromkeys(
        ["do_GET", "do_HEAD", "log_message", "handle_error"], "the server of the standard library calls it"
    ),
    "_worker_logs_enabled": "Ray reads it",
    **dict.fromkeys(["on_train_begin", "on_step_begin", "on_step_end", "on_log", "on_save"], "the trainer calls it"),
    **dict.fromkeys(["compute_loss", "floating_point_ops"], "the trainer calls it"),
    **dict.fromkeys(
        ["lazy_initialization", "get_mask_sizes", "get_seq_length", "get_max_length"], "transformers calls it"
    ),
}
"""Names that others use, and who. Attributes that are set on other libraries' objects need no entry."""
DECORATORS = ["@app.command*", "@app.callback*", "@model_validator*", "@field_validator*"]


def unused() -> list[str]:
    """Return a line for each function, class or import that the package does not use itself."""
    search = Vulture(ignore_names=list(HOOKS), ignore_decorators=DECORATORS)
    search.scavenge([str(ROOT / "tpt"), str(ROOT / "tools")])
    # Fields are data: they are written into files by their class, so no use of their names is to be seen.
    found = [item for item in search.get_unused_code(min_confidence=60) if item.typ not in ("variable", "attribute")]
    return [f"{item.filename.relative_to(ROOT)}:{item.first_lineno}: unused {item.typ} {item.name}" for item in found]


if __name__ == "__main__":
    lines = unused()
    print("\n".join(lines))
    sys.exit(bool(lines))
