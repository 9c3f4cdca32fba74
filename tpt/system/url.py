"""Web addresses, which may stand in the place of paths: which ones are, and the sentence where none can be taken."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from tpt.errors import TPTError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""One slash suffices: a URL that was made a path has lost the other."""


def is_url(path: str | Path) -> bool:
    """Return whether a path is a URL instead."""
    return bool(_SCHEME.match(str(path)))


def whole_url(path: str | Path) -> str:
    """Return a URL with both slashes after its scheme."""
    return _SCHEME.sub(r"\1://", str(path), count=1)


def require_no_url(path: str | Path, error: type[TPTError], *, beside: str = "") -> None:
    """Raise an error for a URL in a file's place; what may be a secret in it is not shown. ``beside``: what else to say."""
    if is_url(path):
        parts = urlsplit(whole_url(path))
        if parts.scheme == "file":
            # Whatever became of its third slash.
            local = f"/{parts.netloc}{parts.path}".replace("//", "/")
            raise error(f"file://{local}: name the path itself: {local}")
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        raise error(f"{shown} is a URL, and files are read from this machine. Download it and name the file.{beside}")
