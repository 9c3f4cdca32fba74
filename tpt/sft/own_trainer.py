"""A trainer of the user's own: a function that writes a model's folder, which is believed once it loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpt.errors import ModelError, OwnCodeError
from tpt.model.load import load_model, load_tokenizer
from tpt.system.folders import take_place
from tpt.system.own_code import call_own_code


def train_by_own_code(
    name: str, training_into: Callable[[Path], Any], out: Path, *, cache: Path | None
) -> dict[str, Any]:
    """Have a function write the checkpoint ``out``, and return what it says of it, a dict of numbers or nothing.

    The function takes a ``tpt.train.Training`` with an empty folder as its ``out``, leaves weights, config and
    tokenizer there, and is called anew after a crash. The folder becomes ``out`` once what is in it was seen to load.

    Raises:
        OwnCodeError: the function raises, or what it wrote is not a model.
    """
    folder = out.with_name(out.name + ".own")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    told = call_own_code(name, training_into(folder))
    if not isinstance(told, dict | None):
        raise OwnCodeError(f"train.trainer = {name}: it returned {told!r:.100}; expected a dict of numbers, or None")
    try:
        load_tokenizer(str(folder), cache=cache)
        weights = load_model(str(folder), dtype="float32", device="cpu", cache=cache)
    except ModelError as error:
        raise OwnCodeError(
            f"train.trainer = {name}: what it wrote is not a model that loads: {error}. It must leave weights, config and "
            "tokenizer in the folder that it is given"
        ) from None
    take_place(folder, out)
    return {"trainer": name, "parameters": weights.num_parameters(), **(told or {})}
