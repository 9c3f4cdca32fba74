"""One running sandbox: jobs in, what became of them out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tpt.errors import VerifierError
from tpt.sandbox import Ended, Mode, Task, bubblewrap
from tpt.system.parent import wait_readable

_ERROR_BYTES = 4000
_BOOT = "import sys; sys.path.insert(0, sys.argv[3]); from tpt.sandbox.inside.server import main; main()"
_HASH_SEED = "0"  # programs that lean on the order of sets behave alike in every run


class SandboxDiedError(VerifierError):
    """Raised when the sandbox ended or failed under a job; the next job gets a new one."""


class Sandbox:
    """A container with a warm fork server; runs one job at a time. Not for several threads at once.

    It dies with the thread that sent its first job.
    """

    def __init__(self, mode: Mode) -> None:
        bubblewrap.require(mode)
        self._mode = mode
        self._owner = os.getpid()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._tasks: Sequence[Task] = ()
        self._files: list[int] = []
        self._deadline = 0.0

    def fileno(self) -> int:
        """Return the file that becomes readable when the job is done."""
        assert self._socket is not None
        return self._socket.fileno()

    def start(self, tasks: Sequence[Task]) -> None:
        """Begin a job of one task, or of two that are linked; the job ends with its last task.

        Raises:
            SandboxDiedError: the sandbox takes no job even when started anew.
        """
        self._tasks = tasks
        self._deadline = time.monotonic() + sum(_wall_s(task) for task in tasks) + 60
        self._files = [file for task in tasks for file in _files_of(task)]
        message = json.dumps([_limits_of(task) for task in tasks]).encode()
        for last_try in (False, True):
            if self._socket is None:
                self._open()
            assert self._socket is not None
            try:
                socket.send_fds(self._socket, [message], self._files)
                return
            except OSError as error:
                self.close(keep_files=not last_try)
                if last_try:
                    raise SandboxDiedError(f"the sandbox does not take a job: {error}") from error

    def is_lost(self) -> bool:
        """Return whether the job's end need not be waited for: the container has ended, or is long past the job's time.

        A container that was killed while it was being made may leave a process that waits for ever, the socket in its hand.
        """
        return self._process is None or self._process.poll() is not None or time.monotonic() > self._deadline

    def finish(self) -> list[Ended]:
        """Wait for the job and return what became of its tasks.

        Raises:
            SandboxDiedError: the sandbox itself failed; nothing is known of the tasks.
        """
        assert self._socket is not None
        wait_readable([self._socket.fileno()], self.is_lost)
        try:
            data = self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
        except OSError:
            data = b""
        reply = json.loads(data) if data else {"error": "the sandbox ended before its job did"}
        if "error" in reply:
            self.close()
            raise SandboxDiedError(str(reply["error"]))
        ended = [
            _read(account, self._files[5 * index : 5 * index + 5], task.limits.output_bytes)
            for index, (account, task) in enumerate(zip(reply["tasks"], self._tasks, strict=True))
        ]
        self._close_files()
        for task in ended:
            if task.result.startswith(b"sandbox error: "):
                raise SandboxDiedError(task.result[15:300].decode(errors="replace"))
        return ended

    def run(self, *tasks: Task) -> list[Ended]:
        """Run a job to its end."""
        self.start(tasks)
        return self.finish()

    def close(self, *, keep_files: bool = False) -> None:
        """Kill the container and all that runs in it."""
        if not keep_files:
            self._close_files()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if os.getpid() != self._owner:  # a forked child's copy: the container is not its own
            return
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # all of its group, for the same reason as in is_lost
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _close_files(self) -> None:
        for file in self._files:
            os.close(file)
        self._files = []

    def _open(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            flags = ["-s", "-S", "-P", "-B"]
            if self._mode == "bubblewrap":
                command = [
                    *bubblewrap.container(),
                    "--setenv",
                    "PYTHONHASHSEED",
                    _HASH_SEED,
                    "--setenv",
                    "LD_BIND_NOW",
                    "1",
                ]
                command += [bubblewrap.interpreter(), *flags, "-c", _BOOT, str(number), "namespaces", "/sandbox"]
            else:
                folder = self._lay_out_folder()
                command = [sys.executable, *flags, "-c", _BOOT, str(number), "plain", folder]
            environment = {"PYTHONHASHSEED": _HASH_SEED, "PATH": os.environ.get("PATH", "/usr/bin:/bin")}
            self._process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        self._socket = ours

    def _lay_out_folder(self) -> str:
        """Return a folder that shows the server its own modules and, as in the container, no other of the package's."""
        self._folder = tempfile.TemporaryDirectory(prefix="tpt-sandbox-")
        package = Path(self._folder.name, "tpt", "sandbox")
        package.mkdir(parents=True)
        (package / "inside").symlink_to(bubblewrap.INSIDE)
        shown = Path(self._folder.name, "packages")
        shown.mkdir()
        for path in bubblewrap.packages():
            (shown / path.name).symlink_to(path)
        return self._folder.name


def _files_of(task: Task) -> list[int]:
    """Return new files in memory: standard input, output and error, spec, result."""
    files = [os.memfd_create("input", os.MFD_CLOEXEC)] + [os.memfd_create("output", os.MFD_CLOEXEC) for _ in range(4)]
    for file, content in ((files[0], task.stdin), (files[3], json.dumps(task.spec).encode())):
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        os.lseek(file, 0, os.SEEK_SET)
    return files


def _wall_s(task: Task) -> float:
    """Return the wall time after which a task is stopped whatever it does."""
    return 60 + 40 * task.limits.cpu_s


def _limits_of(task: Task) -> dict[str, float]:
    return {
        "cpu_s": task.limits.cpu_s,
        # Sleeping is slow too, but only what is beyond doubt counts: a busy machine must not change a verdict.
        "blocked_s": _wall_s(task) if task.limits.may_wait else 5 + 2 * task.limits.cpu_s,
        "wall_s": _wall_s(task),
        "memory_bytes": task.limits.memory_mb << 20,
        "output_bytes": task.limits.output_bytes,
        "tmp_bytes": task.limits.tmp_bytes,
    }


def _read(account: dict[str, object], files: Sequence[int], output_bytes: int) -> Ended:
    """Read a dead task's files."""
    size, error_size = os.fstat(files[1]).st_size, os.fstat(files[2]).st_size
    return Ended(
        **account,  # type: ignore[arg-type]
        stdout=os.pread(files[1], output_bytes, 0),
        error=os.pread(files[2], _ERROR_BYTES, max(0, error_size - _ERROR_BYTES)).decode(errors="replace"),
        result=os.pread(files[4], output_bytes, 0),
        output_limit=size >= output_bytes,
    )
