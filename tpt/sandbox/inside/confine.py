"""What a forked child does to itself before it runs code it does not trust; it can undo none of it.

Runs inside the sandbox on the bare standard library: nothing of tpt can be imported here.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import resource
import struct
from typing import NamedTuple

_CLONE_NEWNS, _CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
_CLONE_THREAD = 0x00010000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_SIGKILL = 9
_LAST_CAPABILITY = 63
_STACK_BYTES = 120 << 20  # the kernel leaves at least 128 MiB below the stack of any process
_OPEN_FILES = 64
_THREADS = 128
_CAPABILITY_HEADER = struct.pack("=Ii", 0x20080522, 0)

libc = ctypes.CDLL(None, use_errno=True)


class Machine(NamedTuple):
    """System call numbers of one processor family."""

    audit: int
    clone: int
    denied: dict[str, int]


_CLONE3 = 435
# No new processes or programs, no sockets, no memory that no limit counts (memfd, System V and POSIX shared memory and
# queues), no look into other processes, no namespaces, mounts, keys, tracing, file handles.
# fmt: off
_DENIED_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442,
    "memfd_secret": 447,
}
MACHINES = {
    "x86_64": Machine(0xC000003E, 56, {
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "socket": 41, "memfd_create": 319, "shmget": 29,
        "semget": 64, "msgget": 68, "mq_open": 240, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "unshare": 272, "setns": 308, "chroot": 161, "pivot_root": 155, "mount": 165, "umount2": 166, "add_key": 248,
        "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
        "syslog": 103, "name_to_handle_at": 303, "open_by_handle_at": 304, "personality": 135,
    }),
    "aarch64": Machine(0xC00000B7, 220, {
        "execve": 221, "execveat": 281, "socket": 198, "memfd_create": 279, "shmget": 194, "semget": 190, "msgget": 186,
        "mq_open": 180, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "unshare": 97, "setns": 268,
        "chroot": 51, "pivot_root": 41, "mount": 40, "umount2": 39, "add_key": 217, "request_key": 218, "keyctl": 219,
        "syslog": 116, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "name_to_handle_at": 264, "open_by_handle_at": 265,
        "personality": 92,
    }),
}
# fmt: on


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare_pids() -> None:
    """Make the next forked child the first process of a process namespace of its own."""
    _check(libc.unshare(CLONE_NEWPID), "unshare")


def return_to_pids(namespace: int) -> None:
    """Undo unshare_pids for the forks to come; ``namespace`` is an open ``/proc/self/ns/pid``."""
    _check(libc.setns(namespace, CLONE_NEWPID), "setns")


def own_file_view(tmp_bytes: int) -> None:
    """Give this process an empty /tmp of limited size and a read-only /proc that shows itself alone.

    Read-only, because to the kernel's settings in /proc/sys a program that the superuser started is the superuser, whatever
    rights it has given up.
    """
    _check(libc.unshare(_CLONE_NEWNS | _CLONE_NEWIPC), "unshare")
    options = f"size={tmp_bytes},nr_inodes=4096,mode=0700".encode()
    _check(libc.mount(b"tmpfs", b"/tmp", b"tmpfs", _MS_NOSUID | _MS_NODEV, options), "mount /tmp")
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if libc.mount(b"proc", b"/proc", b"proc", flags, b"subset=pid") != 0:  # not known before Linux 5.8
        _check(libc.mount(b"proc", b"/proc", b"proc", flags, None), "mount /proc")


def limit(cpu_s: float, memory_bytes: int, file_bytes: int) -> None:
    """Set the resource limits; ``memory_bytes`` comes on top of what the interpreter has mapped already."""
    mapped = _mapped_pages() * resource.getpagesize()
    stack_most = resource.getrlimit(resource.RLIMIT_STACK)[1]
    stack = _STACK_BYTES if stack_most == resource.RLIM_INFINITY else min(_STACK_BYTES, stack_most)
    # A backstop of the exact limit that the server keeps; generous, because the kernel counts it in ticks, and a tick
    # that the host of a virtual machine took away counts too.
    seconds = int(2 * cpu_s) + 10
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_STACK: stack,
        resource.RLIMIT_AS: mapped + memory_bytes,
    }
    if _counts_processes_by_namespace():
        wanted[resource.RLIMIT_NPROC] = _THREADS
    for kind, value in wanted.items():
        resource.setrlimit(kind, (value, value))


def _mapped_pages() -> int:
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(statm, 100).split()[0])
    finally:
        os.close(statm)


@functools.cache
def _counts_processes_by_namespace() -> bool:
    """From Linux 5.14 on RLIMIT_NPROC counts the sandbox alone; before, all processes of the user."""
    major, minor = (int(part) for part in os.uname().release.split(".")[:2])
    return (major, minor) >= (5, 14) and os.getuid() != 0


def give_up_rights() -> None:
    """Drop every capability (``prepare`` has seen to new ones), and forbid the system calls that no test needs."""
    _check(libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0), "prctl")
    _check(libc.capset(_CAPABILITY_HEADER, bytes(24)), "capset")
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    code = _filter()
    _check(
        libc.prctl(_PR_SET_SECCOMP, 2, struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(code)), 0, 0), "seccomp"
    )


@functools.cache  # the server makes it once, for all its children
def _filter() -> ctypes.Array[ctypes.c_char]:
    """Return the seccomp filter: threads may be made, processes not."""
    machine = MACHINES[platform.machine()]

    def step(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, jump_true, jump_false, value)

    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, absent = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
    program = [
        step(load, 4),  # the processor family of the call
        step(equal, machine.audit, 1, 0),
        step(answer, refuse),
        step(load, 0),  # the number of the call
        step(at_least, 0x40000000, 0, 1),  # the second numbering that x86-64 has
        step(answer, refuse),
    ]
    for number in (*machine.denied.values(), *_DENIED_EVERYWHERE.values()):
        program += [step(equal, number, 0, 1), step(answer, refuse)]
    # clone3 hides its flags from filters; the C library falls back to clone when it is absent.
    program += [step(equal, _CLONE3, 0, 1), step(answer, absent)]
    program += [
        step(equal, machine.clone, 0, 3),
        step(load, 16),
        step(any_bit, _CLONE_THREAD, 1, 0),
        step(answer, refuse),
    ]
    program += [step(answer, allow)]
    return ctypes.create_string_buffer(b"".join(program))


def prepare() -> None:
    """Do in the server what all its children need alike: no capability but those that it holds is ever to be had."""
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(_LAST_CAPABILITY + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _counts_processes_by_namespace()
    _filter()
    for name in ("capset", "mount", "unshare", "setns"):  # look them up now, not in every child
        getattr(libc, name)


def hide_from_debuggers() -> None:
    """Close this process's /proc entries and memory to others of the same user."""
    _check(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
