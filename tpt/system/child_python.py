"""What this Python can import, and processes of our own that import the same, whatever lies in the current folder."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

_START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that calls a module's ``main`` in a new process; it finds the arguments in ``sys.argv[1:]``.

    By itself, ``python -c`` looks for modules in the current folder first, so that a user's ``random.py`` there would
    stand in for the library's.
    """
    return [sys.executable, "-P", "-c", _START.format(module=module), json.dumps(sys.path), *arguments]


def is_installed(package: str) -> bool:
    """Return whether a package can be imported.

    A mere folder of that name, such as the ``wandb`` that a tracker leaves behind, is found too, but has no file.
    """
    found = find_spec(package)
    return found is not None and found.origin is not None
