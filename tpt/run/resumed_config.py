"""Which keys of its config a run may be resumed with other values of.

No finished stage depends on those. Another value of any other key would make a run of two halves.
"""

from __future__ import annotations

from pathlib import Path

from tpt.config import AlarmConfig, NotifyConfig, RunConfig, load_config
from tpt.config.engine_section import OPERATIONAL
from tpt.config.own_code_keys import with_absolute_own_code
from tpt.config.stage_sections import ALSO_KEYS, VERIFY_OPERATIONAL
from tpt.config.train_section import TRAIN_OPERATIONAL
from tpt.errors import ConfigError
from tpt.run.directory import RunDir
from tpt.system.jsonl import to_table
from tpt.system.url import require_no_url

_MAY_CHANGE = (
    "rounds",
    "stop.patience",
    "evaluate.greedy",
    *(f"evaluate.{key}" for key in ALSO_KEYS),
    "stop.gate",
    "threads",
    *(f"engine.{key}" for key in OPERATIONAL),
    *(f"verify.{key}" for key in VERIFY_OPERATIONAL),
    *(f"train.{key}" for key in TRAIN_OPERATIONAL),
    *(f"alarms.{name}" for name in AlarmConfig.model_fields),
    *(f"notify.{name}" for name in NotifyConfig.model_fields),
)
"""Keys that a run may be resumed with other values of: no finished stage depends on them."""
_CHOOSING = ("stop.rule", "stop.alpha", "evaluate.choose_share")
"""Such keys too, unless losses are rolled back: then it depends on them which model a round started with."""


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Return the config with paths that mean the same from whichever folder the run is resumed."""
    changed = with_absolute_own_code(config)
    if config.model != "embedded" and Path(config.model).exists():
        changed = changed.model_copy(update={"model": str(Path(config.model).resolve())})
    if config.data.file:
        require_no_url(config.data.file, ConfigError)
        data = config.data.model_copy(update={"file": str(Path(config.data.file).expanduser().resolve())})
        changed = changed.model_copy(update={"data": data})
    return changed


def changed_keys(run: RunDir, config: RunConfig) -> str:
    """Return the keys that may not change but did, a line each."""
    before, now = _flat(to_table(load_config(run.config).model_dump())), _flat(to_table(config.model_dump()))
    rolls_back = before["stop.rollback"] or now["stop.rollback"]
    allowed = _MAY_CHANGE if rolls_back else _MAY_CHANGE + _CHOOSING
    if not any(each.manifest("train").exists() for each in run.rounds()):
        # Such as after a training that did not fit into memory: what was sampled stays.
        allowed += tuple(key for key in now if key.startswith("train."))
    changed = [key for key in now if before.get(key) != now[key] and key not in allowed]
    return "\n".join(f"  {key}: {before.get(key)!r} there, {now[key]!r} now" for key in changed[:10])


def _flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict) and key != "columns":
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
