"""The command line of the container, and whether it can run here."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tpt.errors import VerifierError
from tpt.sandbox import Mode
from tpt.sandbox.inside.confine import MACHINES

INSIDE = Path(__file__).parent / "inside"
INSTALL = "install it (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap; Arch: pacman -S bubblewrap)"
_HIDDEN: set[Path] = set()
_PACKAGES = ("numpy",)
"""What a program may import beyond the standard library, where it is installed here."""


@functools.cache
def why_not() -> str:
    """Return why bubblewrap cannot run here and what to do, or an empty string when it can."""
    if platform.machine() not in MACHINES or not sys.platform.startswith("linux"):
        return f"the sandbox for programs knows Linux on {' and '.join(MACHINES)}, this is {sys.platform} on {platform.machine()}"
    if shutil.which("bwrap") is None:
        return f"bubblewrap, the sandbox for programs, is not installed: {INSTALL}"
    trial = [*container(), "/bin/true"]
    ran = subprocess.run(trial, capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode == 0:
        return ""
    return (
        f"bubblewrap cannot make a container here: {ran.stderr.strip()[-300:]!r}. It needs user namespaces: allow them "
        "(sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, or AppArmor's userns restriction), or start "
        "the outer container so that it may nest them"
    )


def require(mode: Mode) -> None:
    """Refuse a mode that cannot run here; VerifierError says what to install or allow."""
    if mode == "bubblewrap" and (reason := why_not()):
        raise VerifierError(
            f"{reason}. Programs written by a model are run in a sandbox only; verify.sandbox = 'rlimits' (tpt check, tpt "
            "verify: --sandbox rlimits) runs them with resource limits alone, which hides no file of yours from them"
        )
    if mode == "rlimits" and platform.machine() not in MACHINES:
        raise VerifierError(f"sandbox = 'rlimits' needs Linux on {' or '.join(MACHINES)}, got {platform.machine()}")


def hide(path: str | Path) -> None:
    """Keep a folder or a file out of every container to come, wherever it lies: it holds gold answers, or what else is ours."""
    _HIDDEN.add(Path(path).expanduser().absolute())


def hide_source(source: str) -> None:
    """Keep the files of a problem source out of every container to come, if the source is files."""
    path = Path(source.partition("?")[0]).expanduser()
    named = Path(source.partition(":")[2].partition("?")[0]).expanduser()
    matching = path.parent.glob(path.name) if "*" in path.name else ()
    for each in (path, named, *matching):
        if each.parts and each.exists():
            hide(each)


def container() -> list[str]:
    """Return the bubblewrap command, ready for the program to run in it."""
    command = ["bwrap", "--unshare-all", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox"]
    command += ["--die-with-parent", "--new-session", "--clearenv"]
    # The server alone keeps the right to make namespaces, inside its own; every task drops it before its program runs.
    command += ["--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64", "bin"):
        path = Path("/", name)
        if path.is_symlink():
            command += ["--symlink", f"usr/{name}", f"/{name}"]
        elif path.is_dir():
            command += ["--ro-bind", f"/{name}", f"/{name}"]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    command += ["--proc", "/proc", "--dir", "/tmp", "--dir", "/dev"]
    for device in ("null", "zero", "urandom", "random"):
        command += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        command += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{stream}"]
    command += ["--symlink", "/proc/self/fd", "/dev/fd", "--ro-bind", str(INSIDE), "/sandbox/tpt/sandbox/inside"]
    return [*command, *_python_view(), *_masks(), "--remount-ro", "/", "--chdir", "/"]


def _masks() -> list[str]:
    """Cover what is hidden and lies below a folder that programs see, such as a project in /usr/src/app.

    Raises:
        VerifierError: a hidden folder holds what programs need.
    """
    shown = {
        Path("/usr"): Path("/usr"),
        **{path: path for name in ("lib", "lib64", "bin") if (path := Path("/", name)).is_dir()},
    }
    if sys.base_prefix != "/usr":
        shown[Path(sys.base_prefix).resolve()] = Path("/python")
    needed = [
        Path(os.__file__).resolve().parent,
        Path(interpreter_file()),
        *packages(),
        Path("/usr/lib"),
        Path("/usr/bin"),
    ]
    masks: list[str] = []
    for path in sorted({each.resolve() for each in (*_HIDDEN, Path.cwd())}):
        for outside, inside in shown.items():
            if not path.is_relative_to(outside) or not path.exists():
                continue
            if any(each.is_relative_to(path) for each in needed):
                raise VerifierError(
                    f"{path} cannot be hidden from the programs of a model, for they need the system's files in it. Start from "
                    "another folder, and keep runs and problem files out of the folders of the system and of Python"
                )
            where = str(inside / path.relative_to(outside))
            masks += ["--tmpfs", where, "--remount-ro", where] if path.is_dir() else ["--ro-bind", "/dev/null", where]
    return masks


def _python_view() -> list[str]:
    """Show the interpreter's installation and the allowed packages, away from where they lie (often a home directory)."""
    view: list[str] = []
    if sys.base_prefix != "/usr":
        view += ["--ro-bind", sys.base_prefix, "/python", "--setenv", "LD_LIBRARY_PATH", "/python/lib"]
    for path in packages():
        view += ["--ro-bind-try", str(path), f"/sandbox/packages/{path.name}"]
    return view


def packages() -> list[Path]:
    """Return the folders of the packages that a program may import, and of the libraries that lie beside them."""
    found = [spec for name in _PACKAGES if (spec := importlib.util.find_spec(name)) is not None]
    folders = [Path(folder) for spec in found for folder in spec.submodule_search_locations or []]
    return [path for folder in folders for path in (folder, folder.with_name(f"{folder.name}.libs"))]


def interpreter_file() -> str:
    """Return the path of the Python interpreter outside of the container."""
    return str(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]


def interpreter() -> str:
    """Return the path of the Python interpreter inside the container."""
    real = Path(interpreter_file())
    if sys.base_prefix == "/usr":
        return str(real)
    return str(Path("/python") / real.relative_to(Path(sys.base_prefix).resolve()))
