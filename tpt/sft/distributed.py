"""Training in several processes, one a device, that end together.

A launcher process imports the libraries once, computes nothing, and forks one process a device. The process with rank 0
tells through a pipe how far training is and what came of it. When one of them fails, or the process that asked for
the training dies, however it dies, the kernel ends all others at once. They meet through a file and talk over the
loopback interface, so no port is taken and nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import torch
from torch import distributed

from tpt import errors
from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.system import child_python
from tpt.system.folders import io_fault
from tpt.system.parent import end_with_parent

Progress = Callable[[int, int, float], None]
Task = Callable[[Progress], dict[str, Any]]
"""What each process does; it must be picklable, and what it returns must be plain values."""

_RANK, _WORLD, _LOCAL_RANK, _LOCAL_WORLD = "TPT_RANK", "TPT_WORLD", "TPT_LOCAL_RANK", "TPT_LOCAL_WORLD"
_KILLED = 128 + signal.SIGKILL
"""Exit code of the process that started the others, when one of them was killed."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many training processes this is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Among those of its machine."""
    local_world: int = 1

    @property
    def is_first(self) -> bool:
        """Return whether this process is the one that writes and speaks."""
        return self.rank == 0


def ranks() -> Ranks:
    """Return this process's ranks; those of the only one there is unless it was given others."""
    names = (_RANK, _WORLD, _LOCAL_RANK, _LOCAL_WORLD)
    alone = astuple(Ranks())
    return Ranks(*(int(os.environ.get(name, number)) for name, number in zip(names, alone, strict=True)))


def init_rank(ranks: Ranks, *, threads: int) -> None:
    """Take ranks, as torchrun would give them, and a number of CPU threads; the process group is not made here."""
    numbers = {_RANK: ranks.rank, _WORLD: ranks.world, _LOCAL_RANK: ranks.local_rank, _LOCAL_WORLD: ranks.local_world}
    if ranks.world > 1:
        numbers |= {"RANK": ranks.rank, "WORLD_SIZE": ranks.world}
        numbers |= {"LOCAL_RANK": ranks.local_rank, "LOCAL_WORLD_SIZE": ranks.local_world}
    os.environ |= {name: str(number) for name, number in {**numbers, "OMP_NUM_THREADS": threads}.items()}
    torch.set_num_threads(threads)


def device_of(ranks: Ranks) -> torch.device:
    """Return the device that a process trains on."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", ranks.local_rank if ranks.world > 1 else torch.cuda.current_device())


def broadcast(value: int) -> int:
    """Return the first process's value, in all of them."""
    if ranks().world == 1:
        return value
    told = [value]
    distributed.broadcast_object_list(told, src=0)
    return told[0]


def barrier() -> None:
    """Go on when every process is here."""
    if ranks().world > 1:
        distributed.barrier()


def check_devices(config: TrainConfig) -> None:
    """Refuse a number of devices that is not here; those of a cluster are looked at there.

    Raises:
        TrainError: there are fewer GPUs, or the system has no way to end all processes together.
    """
    if config.devices <= 1 or config.where == "ray":
        return
    if sys.platform != "linux":
        raise TrainError(f"train.devices = {config.devices} needs Linux; set it to 1")
    # Counted without taking a GPU, so that the processes find all memory free.
    found = torch.cuda.device_count()
    if torch.cuda.is_available() and found < config.devices:
        raise TrainError(f"train.devices = {config.devices}, but there are {found} CUDA devices; set it to {found}")


def run_in_parallel(world: int, task: Task, progress: Progress | None) -> dict[str, Any]:
    """Do a task in ``world`` processes and return what it returns in the first.

    Raises:
        TPTError: the task raised it in one of them.
        TrainError: one of them failed otherwise, or was killed.
    """
    receiving, sending = os.pipe()
    with tempfile.TemporaryDirectory(prefix="tpt-train-") as meeting:
        arguments = [str(sending), str(world), str(os.getpid()), str(torch.get_num_threads()), meeting]
        command = child_python.command("tpt.sft.distributed", *arguments)
        environment = {"GOMP_SPINCOUNT": "10000", "TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false"}
        # A process that has asked the CUDA runtime whether there are GPUs can fork none that use them.
        environment |= {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        process = subprocess.Popen(
            command,
            pass_fds=[sending],
            stdin=subprocess.PIPE,
            env={**environment, **os.environ},
            # Ctrl-C is for the process that waits; it ends these.
            start_new_session=True,
        )
        os.close(sending)
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin as given:
                pickle.dump(task, given)
            with open(receiving, encoding="utf-8") as told:
                outcome = _follow(told, progress)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
    return _result(outcome, code)


def _follow(told: IO[str], progress: Progress | None) -> dict[str, Any]:
    """Pass on the steps, and return what is told last."""
    outcome: dict[str, Any] = {}
    for line in told:
        message = json.loads(line)
        if "step" not in message:
            outcome = outcome or message
        elif progress is not None:
            progress(*message["step"])
    return outcome


def _result(outcome: dict[str, Any], code: int) -> dict[str, Any]:
    # What the others say of a process that was killed under them is not the reason.
    if "error" in outcome and code != _KILLED:
        raise getattr(errors, outcome["error"], TrainError)(outcome["message"])
    if code != 0 or "result" not in outcome:
        raise TrainError(
            f"a training process ended without an answer (exit code {code}); see the messages above. The system may "
            "have run out of memory: lower train.micro_batch_size, or set train.gradient_checkpointing = true"
        )
    result: dict[str, Any] = outcome["result"]
    return result


def main() -> None:
    """Import, fork, and wait for the processes; the arguments are those that ``run_in_parallel`` gives."""
    sending, world, parent, threads = (int(each) for each in sys.argv[1:5])
    end_with_parent(parent)
    task: Task = pickle.load(sys.stdin.buffer)
    launcher, children = os.getpid(), set()
    for rank in range(world):
        child = os.fork()
        if child == 0:
            end_with_parent(launcher)
            _work(rank, world, task, sending=sending, threads=max(1, threads // world), meeting=sys.argv[5])
        children.add(child)
    os.close(sending)
    while children:
        child, status = os.wait()
        children.discard(child)
        if status:
            # The others wait for it, and would for ever; they end with this process.
            os._exit(_KILLED if _was_killed(status, children) else 1)
    os._exit(0)


def _was_killed(status: int, others: set[int]) -> bool:
    """Return whether a process was killed: the one of this wait status, or another, which is why this one failed."""
    ends = [status, *(os.waitpid(each, os.WNOHANG)[1] for each in others)]
    return any(os.WIFSIGNALED(end) for end in ends)


def _work(rank: int, world: int, task: Task, *, sending: int, threads: int, meeting: str) -> NoReturn:
    """Do the task as one process of several, and leave."""
    code = 1
    try:
        _join(rank, world, threads=threads, meeting=meeting)
        with open(sending, "w", encoding="utf-8", buffering=1) as pipe:
            try:
                result = task(lambda *step: _tell(pipe, {"step": step} if rank == 0 else None))
                distributed.barrier()
                _tell(pipe, {"result": result} if rank == 0 else None)
                code = 0
            except errors.TPTError as error:
                _tell(pipe, {"error": type(error).__name__, "message": str(error)})
            except Exception as error:
                if said := io_fault(error):
                    _tell(pipe, {"error": "RunError", "message": f"training could not go on: {said}. Put that right"})
                else:
                    traceback.print_exc()
                    _tell(pipe, {"error": "TrainError", "message": failure(rank, error)})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _join(rank: int, world: int, *, threads: int, meeting: str) -> None:
    """Make this process one of several."""
    init_rank(Ranks(rank, world, rank, world), threads=threads)
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
        backend = "cpu:gloo,cuda:nccl"
    where = (Path(meeting) / "store").as_uri()
    distributed.init_process_group(backend, init_method=where, rank=rank, world_size=world)


def _tell(pipe: IO[str], message: dict[str, Any] | None) -> None:
    if message is not None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()


def failure(rank: int, error: Exception) -> str:
    """Return what to say of a process that failed."""
    hint = ""
    if isinstance(error, torch.OutOfMemoryError):
        hint = ". Lower train.micro_batch_size, or set train.gradient_checkpointing = true"
    return f"the training process on device {rank} failed: {type(error).__name__}: {error}{hint}"
