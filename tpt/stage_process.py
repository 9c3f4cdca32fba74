"""A process for every stage: a server that has imported the heavy libraries once and forks a child for every stage.

Importing torch and transformers takes seconds, and a stage must be a process of its own: a GPU is surely free again
when it ends, and its crash is its crash alone. The server computes nothing before it forks, so no thread or device is
carried into a child. It ends, and its child with it, when the run that started it does, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tpt import errors
from tpt.also import also_config, also_stage
from tpt.config import load_config
from tpt.config.also_section import ALSO
from tpt.errors import RunError
from tpt.evaluate import evaluate_stage
from tpt.gate.rehearsal import rehearse_stage
from tpt.model.chat import open_chat
from tpt.prune import prune_stage
from tpt.records import Problem
from tpt.run.directory import RunDir, log_event
from tpt.run.stage import StageContext
from tpt.sampling.header import run_header
from tpt.sampling.lengths import Asked, check_lengths, longest_prompt
from tpt.sampling.open import engine_name
from tpt.system import child_python
from tpt.system.folders import io_fault
from tpt.system.jsonl import read_records
from tpt.system.parent import end_with_parent, wait_readable
from tpt.system.terminal import printable, tell
from tpt.think import think_stage
from tpt.train import train_stage


def do_stage(run_path: str | Path, stage: str, round_index: int, *, progress: bool = False) -> dict[str, Any]:
    """Do one stage of one round, unless it is done, and return its manifest.

    Raises:
        StaleStageError: the stage was done with other inputs than those there now.
        RunError: an earlier stage that this one needs is not done, or the disk is full.
    """
    from tpt.model.load import use_threads

    run = RunDir(run_path)
    run.require()
    if stage == HEADER:
        tell(printable(run_header(run, load_config(run.config))), sys.stderr)
        return {}
    is_also = stage.startswith(ALSO)
    if stage not in ("evaluate", "rehearse") and not is_also and round_index < 1:
        raise RunError(f"round {round_index} has no {stage} stage; rounds with one count from 1")
    context = StageContext(run, run.round(round_index), load_config(run.config), progress)
    use_threads(context.config.threads)
    with _io_faults_told(stage, round_index):
        log_event(run, "begin", stage=stage, round=round_index)
        manifest = also_stage(context, stage) if is_also else _STAGES[stage](context)
        log_event(run, "end", stage=stage, round=round_index)
    return manifest


HEADER = "header"
"""No stage: the line that a run begins with, said by a process that may look at devices."""


@contextlib.contextmanager
def _io_faults_told(stage: str, round_index: int) -> Iterator[None]:
    """Raise RunError in place of what the system, or a library that writes weights, says of a full disk and the like."""
    try:
        yield
    except errors.TPTError:
        raise
    except Exception as error:
        if (said := io_fault(error)) is None:
            raise
        raise RunError(
            f"{_name(stage, round_index)} could not go on: {said}. Finished records are kept; put that right and run the "
            "same command again"
        ) from error


def check_run_lengths(run: RunDir, *, even_gguf: bool = False) -> int:
    """Return the tokens of the longest prompt and completion of a run, which need not have begun.

    0 for a GGUF file unless ``even_gguf``: its tokenizer would have to be converted, which the first stage does for all.

    Raises:
        ConfigError: they do not fit model and engine.
    """
    from tpt.model.load import load_architecture
    from tpt.model.spec import resolve

    config = load_config(run.config)
    if resolve(config.model).kind == "gguf" and not even_gguf:
        return 0
    chat = open_chat(config.asked_prompt, config.model)
    heldout = read_records(run.heldout, Problem)
    asked = [Asked("evaluate.max_tokens", config.evaluate.max_tokens, *longest_prompt(chat, heldout))]
    if config.rounds and config.data.source_of(config.rounds) == "self":
        problems = read_records(run.problems, Problem)
        asked.append(Asked("think.max_tokens", config.think.max_tokens, *longest_prompt(chat, problems)))
    for source in config.evaluate.also:
        problems = read_records(run.also(source.stage), Problem)
        kinds, theirs = ({each.kind for each in some} for some in (problems, heldout))
        own = also_config(config, source, kinds, theirs)
        key = f"evaluate.also: max_tokens of {source.label}" if source.max_tokens else "evaluate.max_tokens"
        its_chat = chat if own.asked_prompt == chat.prompt else open_chat(own.asked_prompt, config.model)
        asked.append(Asked(key, own.evaluate.max_tokens, *longest_prompt(its_chat, problems)))
    architecture = None if engine_name(config) == "server" else load_architecture(config.model)
    return check_lengths(config, asked, architecture)


_STAGES: dict[str, Callable[[StageContext], dict[str, Any]]] = {
    "rehearse": rehearse_stage,
    "think": think_stage,
    "prune": prune_stage,
    "train": train_stage,
    "evaluate": evaluate_stage,
}


_LENGTHS = "lengths"
"""What is asked of the server before the first stage."""
ENVIRONMENT = {
    # Idle threads that spin for long take the cores from the ones at work whenever anything else runs on the machine;
    # threads that never spin make small operations a third slower. So they spin some ten microseconds, then sleep.
    "GOMP_SPINCOUNT": "10000",
    # The libraries' own bars would come between ours.
    "TQDM_DISABLE": "1",
    # glibc hands large blocks back to the kernel when they are freed, and every step pays for fresh pages again: a
    # sixth of the decoder's time on small models. Stages are short-lived processes, so it may keep them.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""What a stage's process starts with; what the user has set goes first."""


class StageServer:
    """The run's end of the line: starts the server process and has it do stages, one after the other."""

    def __init__(self, run_path: Path, *, lock_descriptor: int, progress: bool) -> None:
        ours, theirs = socket.socketpair()
        self._run_path = run_path
        arguments = [str(theirs.fileno()), str(int(progress)), str(os.getpid())]
        command = child_python.command("tpt.stage_process", *arguments, with_parent=True)
        environment = {**ENVIRONMENT, **os.environ}
        # Ctrl-C reaches every process of the terminal. The server inherits the mask: not even while it starts is it hit.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with theirs:
                # What a library prints in a stage, such as a tracker its address, is no result: it goes to stderr.
                self._process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2, env=environment
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.pid = self._process.pid
        self._socket = ours
        self._line = ours.makefile("rw", encoding="utf-8")
        self._unshared: int | None = lock_descriptor
        """The run's lock, until the server has it."""

    def __enter__(self) -> StageServer:
        """Give the server to a with statement, which ends it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """End the server; after an error or Ctrl-C at once, as its imports or a large step would take their time."""
        if kind is not None:
            self.kill()
        self.close()

    def do(self, stage: str, round_index: int) -> None:
        """Have a stage done; raises the error that ended it."""
        self._ask(stage, round_index, self._run_path)

    def check_lengths(self, run: RunDir) -> None:
        """Raise ConfigError where prompts and completions of a run, not the server's own, do not fit model and engine."""
        self._ask(_LENGTHS, 0, run.path)

    def _ask(self, stage: str, round_index: int, run_path: Path) -> None:
        answer = ""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self._unshared is not None and self._read_line():
                # The server and its children share the run's lock: while one of them is at work, nobody else can write.
                # Before that, one that is still importing must not hold it when this process is gone.
                socket.send_fds(self._socket, [b"."], [self._unshared])
                self._unshared = None
            print(json.dumps([str(run_path), stage, round_index]), file=self._line, flush=True)
            answer = self._read_line()
        if not answer:
            raise errors.RunError(f"{_name(stage, round_index)} ended without an answer; see the messages above")
        error = json.loads(answer)
        if error is not None:
            kind = getattr(errors, error["kind"], errors.RunError)
            raise kind(error["message"])

    def _read_line(self) -> str:
        """Return the server's next line; nothing when it has ended."""
        ready = wait_readable([self._socket.fileno()], lambda: self._process.poll() is not None)
        return self._line.readline() if ready else ""

    def kill(self) -> None:
        """End the server at once, and a stage under way with it; any thread may call this."""
        self._process.kill()

    def close(self) -> None:
        """End the server, and a stage that may still be under way."""
        with contextlib.suppress(BrokenPipeError):
            self._line.close()
        self._socket.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(descriptor: int, *, progress: bool) -> None:
    """Answer stage requests until the other end hangs up."""
    # Ctrl-C is for the run and the stage at work; the server ends when the run hangs up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hung_up = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    import tpt.engines.hf.opening
    import tpt.sft  # noqa: F401  (imported for the children)

    with hung_up, socket.socket(fileno=descriptor) as connection, connection.makefile("rw", encoding="utf-8") as line:
        print("ready", file=line, flush=True)
        # The run's lock: its descriptor stays open until this process ends, and its children inherit it.
        socket.recv_fds(connection, 1, 1)
        while request := line.readline():
            run_path, stage, round_index = json.loads(request)
            answer = _in_child(run_path, stage, round_index, progress=progress, hung_up=connection)
            print(json.dumps(answer), file=line, flush=True)


def _in_child(
    run_path: str, stage: str, round_index: int, *, progress: bool, hung_up: socket.socket
) -> dict[str, str] | None:
    """Fork, do the stage in the child, and return None or what its error said."""
    receiving, sending = os.pipe()
    server = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        end_with_parent(server)
        os._exit(_do_stage(run_path, stage, round_index, progress=progress, sending=sending))
    os.close(sending)
    message, code = _said_by(child, receiving, hung_up.fileno())
    os.close(receiving)
    if message:
        error: dict[str, str] = json.loads(message)
        return error
    if code == 0:
        return None
    ended = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
    hint = " The system may have run out of memory." if code == -signal.SIGKILL else ""
    return {"kind": "RunError", "message": f"{_name(stage, round_index)} {ended}.{hint}"}


def _said_by(child: int, pipe: int, hung_up: int) -> tuple[bytes, int]:
    """Return what a child says until its end, and its exit code; the child is killed when the run hangs up."""
    said, status = b"", -1

    def ended() -> bool:
        nonlocal status
        if status < 0:
            done, found = os.waitpid(child, os.WNOHANG)
            status = found if done else -1
        return status >= 0

    while ready := wait_readable([pipe, hung_up], ended):
        if pipe not in ready:
            if not ended():
                os.kill(child, signal.SIGKILL)
            break
        part = os.read(pipe, 1 << 16)
        if not part:
            break
        said += part
    if status < 0:
        _, status = os.waitpid(child, 0)
    return said, os.waitstatus_to_exitcode(status)


def _do_stage(run_path: str, stage: str, round_index: int, *, progress: bool, sending: int) -> int:
    """Do the stage; an error goes into the pipe ``sending``, a traceback with it if it is not the user's."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if stage == _LENGTHS:
            with _io_faults_told(stage, round_index):
                check_run_lengths(RunDir(run_path))
        else:
            do_stage(run_path, stage, round_index, progress=progress)
        return 0
    except KeyboardInterrupt:
        return 130
    except errors.TPTError as error:
        _send(sending, {"kind": type(error).__name__, "message": str(error)})
    except BaseException as error:
        traceback.print_exc()
        with contextlib.suppress(OSError):
            log_event(RunDir(run_path), "traceback", stage=stage, text=traceback.format_exc())
        summary = f"{_name(stage, round_index)} failed: {type(error).__name__}: {error}"
        _send(sending, {"kind": "RunError", "message": summary})
    finally:
        # The child leaves by os._exit, which flushes nothing.
        sys.stdout.flush()
        sys.stderr.flush()
    return 1


def _name(stage: str, round_index: int) -> str:
    return "the check of lengths" if stage == _LENGTHS else f"the {stage} stage of round {round_index}"


def _send(descriptor: int, answer: dict[str, Any]) -> None:
    with open(descriptor, "w", encoding="utf-8") as pipe:
        json.dump(answer, pipe)


def main() -> None:
    """Serve as the arguments say: descriptor of the line, whether to show progress, and the run's process."""
    end_with_parent(int(sys.argv[3]))
    serve(int(sys.argv[1]), progress=sys.argv[2] == "1")
