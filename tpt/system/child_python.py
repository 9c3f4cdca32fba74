"""What this Python can import, and processes of our own that import the same, whatever lies in the current folder."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec

_END_WITH = (
    "import ctypes, os, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == {parent} or os._exit(1); "
)
"""As ``tpt.system.parent.end_with_parent`` does, before anything else is imported: that takes a minute on a busy machine."""
_START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"


def command(module: str, *arguments: str, with_parent: bool = False) -> list[str]:
    """Return the command that calls a module's ``main`` in a new process; it finds the arguments in ``sys.argv[1:]``.

    ``with_parent``: on Linux the process ends with this one, from its first instruction on; elsewhere its ``main`` has to
    see to that. The thread that starts it has to outlive it.

    By itself, ``python -c`` looks for modules in the current folder first, so that a user's ``random.py`` there would
    stand in for the library's.
    """
    start = _END_WITH.format(parent=os.getpid()) if with_parent else ""
    return [sys.executable, "-P", "-c", start + _START.format(module=module), json.dumps(sys.path), *arguments]


def is_installed(package: str) -> bool:
    """Return whether a package can be imported.

    A mere folder of that name, such as the ``wandb`` that a tracker leaves behind, is found too, but has no file.
    """
    found = find_spec(package)
    return found is not None and found.origin is not None
