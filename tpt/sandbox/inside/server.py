"""The warm fork server inside the sandbox: one fresh, confined process for every task it is sent.

It reads no program, input or expected value: those travel as open files that it hands on unread, so its memory, which
every child begins with a copy of, holds nothing worth stealing. What a task did is decided here from the outside, by
the kernel's account of it (exit status, processor time), and its output is read by the parent after its death.

A job is one task, or two that talk to each other (a program and its tester); it ends with its last task.
Message in: JSON and five files a task (standard input, output and error, spec, result). Message out: JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import shutil
import signal
import site
import socket
import sys
import tempfile
import time
from typing import Any

from tpt.sandbox.inside import confine, link, program, tester

FILES_PER_TASK = 5
SANDBOX_ERROR = b"sandbox error: "  # begins the result of a task that could not be confined
_STDIN, _STDOUT, _STDERR, _SPEC, _RESULT, _CHANNEL, _FIRST_FREE = range(7)
_MAX_THREADS = 128
_TICK_MS = 20
# Common modules, imported once here instead of in every test.
WARM = """array bisect cmath collections copy datetime decimal fractions functools hashlib heapq io itertools math operator
queue random re statistics string textwrap threading time types typing"""


class Task:
    """A running child and what it may use."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self.limits = limits
        self.stopped = ""
        self.pid = 0
        self.pidfd = -1
        self.started = 0.0
        self.ended: dict[str, Any] | None = None

    def watch(self) -> str:
        """Return which limit the running task has passed, or an empty string."""
        if self._cpu_s() > self.limits["cpu_s"]:
            return "cpu"
        wall_s = time.monotonic() - self.started
        if wall_s - self._cpu_s() > self.limits["blocked_s"] and self._blocked_s(wall_s) > self.limits["blocked_s"]:
            return "wall"
        if wall_s > self.limits["wall_s"]:
            return "wall"
        return "threads" if len(self._threads()) > _MAX_THREADS else ""

    def _cpu_s(self) -> float:
        return time.clock_gettime((~self.pid << 3) | 2)  # the kernel's clock id of a process's processor time

    def _threads(self) -> list[str]:
        try:
            return os.listdir(f"/proc/{self.pid}/task")
        except OSError:  # it ended this moment
            return []

    def _blocked_s(self, wall_s: float) -> float:
        """Wall time in which it neither ran nor waited for a processor, so that a busy machine stops nobody."""
        waited_ns = 0
        for thread in self._threads():
            try:
                with open(f"/proc/{self.pid}/task/{thread}/schedstat", "rb") as file:
                    waited_ns += int(file.read().split()[1])
            except (OSError, IndexError):  # the thread is gone, or this kernel keeps no such account
                continue
        return wall_s - self._cpu_s() - waited_ns * 1e-9

    def kill(self) -> None:
        """Kill the task; as first process of its namespace it takes every process in it along."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self, finished: bool) -> None:
        """Collect the ended task's status."""
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.pidfd)
        cpu_s = usage.ru_utime + usage.ru_stime
        if not self.stopped and cpu_s > self.limits["cpu_s"]:
            self.stopped = "cpu"
        self.ended = {
            "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) and finished else None,
            "stopped": self.stopped,
            "cpu_s": cpu_s,
        }


class Server:
    """Forks the tasks of one job after another."""

    def __init__(self, control: int, namespaces: bool) -> None:
        self._control = socket.socket(fileno=control)
        self._pids = os.open("/proc/self/ns/pid", os.O_RDONLY) if namespaces else -1
        self._isolated = namespaces

    def serve(self) -> None:
        """Run jobs until the parent hangs up."""
        while True:
            data, files, _, _ = socket.recv_fds(self._control, 1 << 16, 2 * FILES_PER_TASK)
            if not data:
                return
            try:
                reply = self._run(json.loads(data), files)
            except OSError as error:
                reply = {"error": f"{type(error).__name__}: {error}"}
            finally:
                for file in files:
                    os.close(file)
            self._control.send(json.dumps(reply).encode())

    def _run(self, limits: list[dict[str, Any]], files: list[int]) -> dict[str, Any]:
        """Run one job; ``files`` holds FILES_PER_TASK open files for every task."""
        channels = [end.detach() for end in socket.socketpair()] if len(limits) == 2 else [-1]
        folders: list[str] = []
        tasks: list[Task] = []
        try:
            for index, wanted in enumerate(limits):
                folders.append("/tmp" if self._isolated else tempfile.mkdtemp())
                mine = files[index * FILES_PER_TASK : (index + 1) * FILES_PER_TASK]
                tasks.append(self._fork(wanted, [*mine, channels[index]], folders[-1]))
        finally:
            for channel in channels:
                if channel >= 0:
                    os.close(channel)
            _supervise(tasks, self._control.fileno())
            for folder in [] if self._isolated else folders:
                shutil.rmtree(folder, ignore_errors=True)
        return {"tasks": [task.ended for task in tasks]}

    def _fork(self, limits: dict[str, Any], files: list[int], folder: str) -> Task:
        task = Task(limits)
        task.started = time.monotonic()
        if self._isolated:
            confine.unshare_pids()
        task.pid = os.fork()
        if task.pid == 0:
            self._become(limits, files, folder)
        task.pidfd = os.pidfd_open(task.pid)
        if self._isolated:
            confine.return_to_pids(self._pids)
        return task

    def _become(self, limits: dict[str, Any], files: list[int], folder: str) -> None:
        """Turn this fresh child into the task; does not return."""
        code = 125
        try:
            os.setsid()
            _arrange(files)
            if self._isolated:
                confine.own_file_view(limits["tmp_bytes"])
            os.chdir(folder)
            confine.limit(limits["cpu_s"], limits["memory_bytes"], limits["output_bytes"])
            confine.give_up_rights()
            code = _play(limits)
        except BaseException as error:
            os.write(_RESULT, SANDBOX_ERROR + f"{type(error).__name__}: {error}".encode(errors="replace"))
        finally:
            os._exit(code)


def _arrange(files: list[int]) -> None:
    """Give the files their numbers and close every other one, the server's own included."""
    high = [os.dup2(file, 500 + index) if file >= 0 else -1 for index, file in enumerate(files)]
    for index, file in enumerate(high):
        if file >= 0:
            os.dup2(file, index, inheritable=True)
    os.closerange(_FIRST_FREE if high[_CHANNEL] >= 0 else _CHANNEL, 4096)


def _play(limits: dict[str, Any]) -> int:
    """Read the spec, close what the role must not have, and run the role."""
    with open(_SPEC, "rb") as file:
        spec = json.loads(file.read())
    role = spec["role"]
    if role == "whole":
        os.close(_RESULT)
        return program.run_whole(spec)
    if role == "checker":
        return tester.run_checker(spec, _RESULT)
    if role == "compare":
        return tester.run_output_check(spec, _RESULT)
    partner = link.Link(_CHANNEL, limits["output_bytes"])
    if role == "calls":
        os.close(_RESULT)
        return program.answer_calls(spec, partner)
    return tester.run_test(spec, partner, _RESULT)


def _supervise(tasks: list[Task], control: int) -> None:
    """Wait for the last task, a passed limit or the parent's end, then kill and reap all of them."""
    poll = select.poll()
    poll.register(control, 0)  # hang-up alone
    for task in tasks:
        poll.register(task.pidfd, select.POLLIN)
    alive = {task.pidfd: task for task in tasks}
    while alive:
        ready = [file for file, _ in poll.poll(_TICK_MS)]
        if control in ready:
            break
        ended = [alive.pop(file) for file in ready if file in alive]
        for task in ended:
            poll.unregister(task.pidfd)
            task.reap(finished=True)
        for task in alive.values():
            task.stopped = task.watch()
        if tasks[-1] in ended or any(task.stopped for task in alive.values()):
            break
    for task in alive.values():
        task.kill()
        task.reap(finished=False)


def main() -> None:
    """Warm up, then serve; the command line gives the number of the socket, the mode, and the folder that it is imported from."""
    confine.hide_from_debuggers()
    confine.prepare()
    site.setquit()  # exit() and quit(), which the interpreter lacks when started without site
    for name in WARM.split():
        importlib.import_module(name)
    program.open_standard_streams()
    program.clear_environment()
    sys.path.remove(sys.argv[3])
    sys.path.append(os.path.join(sys.argv[3], "packages"))
    gc.collect()
    gc.freeze()
    Server(int(sys.argv[1]), namespaces=sys.argv[2] == "namespaces").serve()
