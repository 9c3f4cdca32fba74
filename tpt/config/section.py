"""What every section of the config has in common: checked where it is read, never changed afterwards."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from tpt.system.own_code import is_own_code


def _a_function(name: str) -> str:
    if not is_own_code(name):
        raise PydanticCustomError("own_code", "should be a function of your own, FILE.py:FUNCTION or MODULE:FUNCTION")
    return name


OwnCode = Annotated[str, AfterValidator(_a_function)]
"""The name of a function of the user's own, see docs/own_code.md."""
NoOwnCode = Annotated[str, AfterValidator(lambda name: name and _a_function(name))]
"""The same, or empty."""
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """Settings that are checked where they are read and never change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
