"""Processes of our own, started from a folder with files named like the library's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tpt.system import child_python


def test_a_process_imports_what_this_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's paths hold there, the folder it is started in does not."""
    (tmp_path / "mine.py").write_text("import sys, random\ndef main():\n    print(random.__file__, *sys.argv[1:])\n")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "random.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    command = child_python.command("mine", "a", "b c")
    done = subprocess.run(command, cwd=tmp_path / "there", capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [sys.modules["random"].__file__, "a b c\n"]


PARENT = """
import subprocess, sys, time
from tpt.system import child_python
child = subprocess.Popen(child_python.command("slow", with_parent=True))
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")
@pytest.mark.parametrize("wait_s", [0.0, 0.05, 0.5])
def test_a_process_that_is_still_importing_ends_with_its_parent(
    wait_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(wait_s)
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert alive == []


def test_a_folder_is_not_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called."""
    (tmp_path / "left_by_a_tracker" / "run-1").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not child_python.is_installed("left_by_a_tracker")
    assert not child_python.is_installed("nowhere_to_be_found")
    assert child_python.is_installed("pytest")
