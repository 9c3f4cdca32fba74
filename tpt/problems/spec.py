"""Source specs: ``NAME?param=value&param=value``, ``NAME:REST?params``, ``PATH.jsonl?params`` or ``FILE.py:FUNCTION?params``.

Names and values are percent-decoded, so a value may hold ``&`` (``%26``) or ``=``; a ``+`` stays a ``+``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from tpt.errors import ProblemError, did_you_mean
from tpt.system.own_code import is_own_code
from tpt.system.url import require_no_url

SOURCES = (
    *("apps", "aqua", "code_contests", "gsm8k", "gsm_hard", "human_eval", "leetcode", "live_code_bench", "math"),
    *("math500", "mbpp", "reasoning_gym", "svamp", "tiny_programs", "word_problems"),
)
OWN = "own"
"""The name of a spec that names a function of the user's own."""
TABLE = "table"
"""The name of a spec that is a path to the user's own file."""

TABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""What names of files of rows end in; all but Parquet may be compressed besides: ``.jsonl.gz``."""
COMPRESSED = ".gz"


@dataclass(frozen=True, slots=True)
class Spec:
    """A source spec, taken apart."""

    text: str
    """As the user wrote it."""
    name: str
    """One of SOURCES, OWN, or TABLE."""
    rest: str
    """What follows the colon; for a TABLE the path, for OWN the function; may be empty."""
    params: dict[str, str]


def table_suffix(path: Path) -> str:
    """Return what a file's name says of its rows, ``.gz`` left off; "" where it says nothing."""
    name = path.name.lower()
    suffix = Path(name.removesuffix(COMPRESSED)).suffix
    return "" if suffix not in TABLE_SUFFIXES or (suffix == ".parquet" and name.endswith(COMPRESSED)) else suffix


def table_stem(path: Path) -> str:
    """Return the name of a file of rows without what says so: ``mine`` for ``mine.jsonl.gz``."""
    return Path(path.name[: -len(COMPRESSED)] if path.name.lower().endswith(COMPRESSED) else path.name).stem


def table_files(rest: str) -> list[Path]:
    """Return the files that a TABLE spec means: one, those of a pattern such as ``part-*.jsonl``, or those of a folder.

    Raises:
        ProblemError: the pattern matches, or the folder holds, no file of rows.
    """
    path = Path(rest).expanduser()
    if path.is_dir():
        if (path / "dataset_dict.json").is_file() or any(path.glob("*.arrow")):
            raise ProblemError(
                f"{rest}: a folder of datasets' save_to_disk, whose .arrow files are not read. Write a split as Parquet: "
                f"load_from_disk({rest!r}).to_parquet('mine.parquet')"
            )
        found = sorted(each for each in path.iterdir() if table_suffix(each) and each.is_file())
    elif path.exists() or "*" not in path.name:
        return [path]
    else:
        found = sorted(path.parent.glob(path.name))
    if not found:
        where = "is a folder" if path.is_dir() else "matches nothing"
        raise ProblemError(f"{rest} {where}; expected files ending in {', '.join(TABLE_SUFFIXES)}.")
    return found


def is_named_source(text: str) -> bool:
    """Return whether a spec begins with a source's name, and so means that, whatever modules there are of that name."""
    return text.partition("?")[0].partition(":")[0] in SOURCES


def parse_spec(text: str) -> Spec:
    """Take a source spec apart.

    Raises:
        ProblemError: for an unknown source name or a malformed parameter.
    """
    body, mark, query = text.rpartition("?")
    if not mark:
        body, query = text, ""
    params = _params(text, query)
    head, _, rest = body.partition(":")
    if head in SOURCES:
        return Spec(text, head, rest, params)
    if is_own_code(body):
        return Spec(text, OWN, body, params)
    if not body:
        raise ProblemError("the problem source is empty. Name one, such as gsm8k?split=train or mine.jsonl")
    require_no_url(body, ProblemError)
    path = Path(body).expanduser()
    if table_suffix(path) or path.is_dir():
        return Spec(text, TABLE, body, params)
    if path.is_file():
        raise ProblemError(
            f"problem source {text!r}: the file's name does not say what is in it; expected one ending in "
            f"{', '.join(TABLE_SUFFIXES)}. A spreadsheet can be saved as CSV UTF-8."
        )
    raise ProblemError(
        f"problem source {text!r}: {head!r} is unknown.{did_you_mean(head, SOURCES)} "
        f"Allowed: {', '.join(SOURCES)}, the path of a file ending in {', '.join(TABLE_SUFFIXES)}, of a folder of those, or a "
        "function of your own as FILE.py:FUNCTION."
    )


def allow_params(spec: Spec, allowed: Iterable[str]) -> None:
    """Raise ProblemError when the spec has a parameter that its source does not know."""
    names = sorted(allowed)
    for name in spec.params:
        if name not in names:
            raise ProblemError(
                f"problem source {spec.text!r}: parameter {name!r} is unknown.{did_you_mean(name, names)} "
                f"Allowed: {', '.join(names)}."
            )


def allow_no_rest(spec: Spec) -> None:
    """Raise ProblemError when something follows the name of a source that takes nothing there."""
    if spec.rest:
        raise ProblemError(
            f"problem source {spec.text!r}: {spec.name} takes nothing after a colon, got {spec.rest!r}. "
            f"Write parameters as {spec.name}?param=value."
        )


def int_param(spec: Spec, name: str, *, default: int, least: int) -> int:
    """Return a whole-number parameter of at least ``least``."""
    text = spec.params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        bad_value(spec, name, f"a whole number from {least} up")
    value = int(text)
    if value < least:
        bad_value(spec, name, f"a whole number from {least} up")
    return value


def choice_param(spec: Spec, name: str, allowed: Iterable[str], *, default: str | None = None) -> str:
    """Return a parameter that is one of a few words; without a default it must be there."""
    words = list(allowed)
    value = spec.params.get(name, default)
    if value is None:
        raise ProblemError(f"problem source {spec.text!r} needs {' or '.join(f'?{name}={word}' for word in words)}.")
    if value not in words:
        bad_value(spec, name, f"one of {', '.join(words)}", did_you_mean(value, words))
    return value


def bad_value(spec: Spec, name: str, allowed: str, hint: str = "") -> NoReturn:
    """Raise the ProblemError of a parameter whose value is not allowed."""
    raise ProblemError(
        f"problem source {spec.text!r}: {name} = {spec.params[name]!r} is not allowed.{hint} Allowed: {allowed}."
    )


def _params(text: str, query: str) -> dict[str, str]:
    params: dict[str, str] = {}
    for part in query.split("&") if query else []:
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ProblemError(
                f"problem source {text!r}: {part!r} is no parameter. Write NAME?param=value&param=value."
            )
        name = unquote(name)
        if name in params:
            raise ProblemError(f"problem source {text!r}: parameter {name!r} is given twice. Leave one of them out.")
        params[name] = unquote(value)
    return params
