"""What several tests share: the command line in this process, and one finished run of the embedded model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import ENTRY, QUICKSTART, TINY, Finished, Result, Tpt, sets
from server_stub import Stub

from tpt.cli.app import main


def pytest_configure() -> None:
    """Let children hear Ctrl-C even if the tests run in the background of a shell, which has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One CPU thread for the tensor library: its bits depend on how many there are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tpt(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tpt:
    """Calls the command line as the shell does: returns the exit code, stdout and stderr, those of children too."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["tpt", *map(str, arguments)])
        # Typer's own messages are as wide as the terminal.
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        code = ended.value.code or 0
        assert isinstance(code, int)
        assert "Traceback" not in err, err
        return Result(code, out, err)

    return call


@pytest.fixture
def fails(tpt: Tpt) -> Callable[..., str]:
    """Calls the command line, which must explain itself on stderr and put nothing on stdout."""

    def call(*arguments: object, code: int = 1) -> str:
        result = tpt(*arguments)
        assert result.code == code, result
        assert not result.out
        assert "error: " in result.err.lower() or "Error" in result.err
        return result.err

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run of one round on the embedded model; to be read only."""
    path = tmp_path_factory.mktemp("finished") / "run"
    command = [*ENTRY, "run", str(QUICKSTART), "--out", str(path), *sets(*TINY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return Finished(path, done.stdout, done.stderr)


@pytest.fixture
def finished_copy(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run, to be spoilt."""
    return shutil.copytree(finished.path, tmp_path / "copy")


@pytest.fixture
def problem_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as a JSONL file of problems."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def stub() -> Iterator[Stub]:
    """An HTTP server that completes as a test says."""
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
