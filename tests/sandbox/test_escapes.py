"""What hostile programs try. Each attempt must fail, harm nothing outside, and leave nothing for the next program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpt.sandbox import Ended, Limits, Task
from tpt.sandbox.worker import Sandbox

LIMITS = Limits(cpu_s=2, memory_mb=256)


def run(sandbox: Sandbox, program: str, stdin: str = "", limits: Limits = LIMITS) -> Ended:
    (ended,) = sandbox.run(Task({"role": "whole", "program": program}, limits, stdin.encode()))
    return ended


def attempt(sandbox: Sandbox, statements: str, prelude: str = "import os, sys, ctypes, signal, socket") -> str:
    """Run statements that must raise OSError; return what was raised, or a word for success."""
    lines = "\n".join("    " + line for line in statements.splitlines())
    program = f"{prelude}\ntry:\n{lines}\n    print('DONE')\nexcept OSError as error:\n    print(type(error).__name__)"
    ended = run(sandbox, program)
    assert ended.exit_code == 0, ended.error
    return ended.stdout.decode().strip()


def healthy(sandbox: Sandbox) -> bool:
    return run(sandbox, "print(sum(map(int, input().split())))", "1 2").stdout == b"3\n"


@pytest.mark.parametrize(
    "statements",
    [
        "socket.create_connection(('1.1.1.1', 53), 1)",
        "socket.create_connection(('127.0.0.1', 22), 1)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))",
    ],
)
def test_there_is_no_network(sandbox, statements):
    assert attempt(sandbox, statements).endswith("Error")


def test_the_home_directory_and_the_files_of_the_machine_are_out_of_sight(sandbox, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("token")
    paths = [str(secret), str(Path.home() / ".bashrc"), str(Path(__file__)), "/etc/passwd", "/etc/hostname", "/var/log"]
    paths += ["/root", "/home", "/etc/shadow", "/sys", "/run"]
    program = f"import os\nprint([os.path.exists(path) for path in {paths!r}])"
    assert "True" not in run(sandbox, program).stdout.decode()
    listed = run(sandbox, "import os; print(sorted(os.listdir('/')))").stdout.decode()
    assert set(json.loads(listed.replace("'", '"'))) <= {
        "bin", "dev", "etc", "lib", "lib64", "packages", "proc", "python", "sandbox", "tmp", "usr",
    }  # fmt: skip


def test_the_parents_environment_is_never_visible(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    fresh = Sandbox("bubblewrap")
    program = (
        "import os, glob\nprint(dict(os.environ))\n"
        "for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):\n    print(open(path, 'rb').read())\n"
        "import ctypes\nprint(ctypes.CDLL(None).getenv(b'HF_TOKEN'))"
    )
    try:
        ended = run(fresh, program)
    finally:
        fresh.close()
    assert "verysecret" not in ended.stdout.decode() and "HF_TOKEN" not in ended.stdout.decode()
    assert "HOME" in ended.stdout.decode()


def test_no_other_process_is_in_sight_or_in_reach(sandbox):
    program = (
        "import os\nprint([int(name) for name in os.listdir('/proc') if name.isdigit()], os.getpid(), os.getppid())"
    )
    assert run(sandbox, program).stdout == b"[1] 1 0\n"
    for pid in (0, -1, 2, 3, os.getpid()):
        # 0 and -1 mean all it can reach, which is itself; it ignores its own signals as first process of its namespace.
        attempt(sandbox, f"os.kill({pid}, signal.SIGKILL)")
        assert healthy(sandbox)


@pytest.mark.parametrize(
    "statements",
    [
        "os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import multiprocessing; multiprocessing.get_context('fork').Process(target=print).start()",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
    ],
)
def test_no_process_is_made(sandbox, statements):
    assert attempt(sandbox, statements) in ("PermissionError", "BlockingIOError")


def test_a_fork_bomb_is_harmless(sandbox):
    program = "import os, _thread\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    assert run(sandbox, program).stopped == "cpu"
    bomb = "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()"
    ended = run(sandbox, "import threading\nthreading.stack_size(65536)\n" + bomb)
    assert ended.stopped == "threads" or ended.exit_code != 0
    assert healthy(sandbox)


def test_a_memory_bomb_is_harmless(sandbox):
    ended = run(sandbox, "held = []\nwhile True: held.append(bytearray(10**7))")
    assert ended.exit_code == 1 and ended.error.strip().endswith("MemoryError")
    assert "Error" in attempt(sandbox, "import mmap\nfor _ in range(99): m = mmap.mmap(-1, 10**9)")
    assert run(sandbox, "x = 'a' * 10\nwhile True: x += x").exit_code == 1
    assert healthy(sandbox)


def test_no_uncounted_memory(sandbox):
    call = "\nif number < 0: raise OSError(ctypes.get_errno(), 'refused')"
    libc = "libc = ctypes.CDLL(None, use_errno=True)\n"
    assert attempt(sandbox, "os.memfd_create('x')") == "PermissionError"
    assert attempt(sandbox, libc + "number = libc.shmget(0, 1 << 30, 0o1600)" + call) == "PermissionError"


def test_filling_the_disk_is_harmless(sandbox):
    program = (
        "import os\nwritten = 0\ntry:\n    for number in range(10**6):\n        with open(f'/tmp/{number}', 'wb') as file:\n"
        "            written += file.write(bytes(1 << 20))\nexcept OSError as error:\n    print(written >> 20, error.errno)"
    )
    megabytes, error = map(int, run(sandbox, program).stdout.split())
    assert megabytes <= 64 and error in (27, 28)
    assert attempt(sandbox, "for n in range(10**5): open(f'/tmp/{n}', 'w').close()") == "OSError"
    assert run(sandbox, "import os; print(os.listdir('/tmp'))").stdout == b"[]\n"


def test_the_system_and_the_checker_are_read_only(sandbox):
    for path in (
        "/sandbox/tpt/sandbox/inside/server.py",
        "/sandbox/tpt/sandbox/inside/new.py",
        "/usr/bin/x",
        "/new",
        "/python/x",
    ):
        assert attempt(sandbox, f"open({path!r}, 'r+b' if os.path.exists({path!r}) else 'wb').write(b'x')").endswith(
            "Error"
        )
    assert attempt(sandbox, "os.remove('/sandbox/tpt/sandbox/inside/server.py')") in ("OSError", "PermissionError")
    assert attempt(sandbox, "os.rename('/sandbox', '/tmp/s')") in ("OSError", "PermissionError")


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "/root/.ssh/id_rsa",
        "/proc/1/root/etc/passwd",
        "/../../etc/shadow",
        "/proc/self/cwd/../../etc/passwd",
    ],
)
def test_symbolic_links_lead_nowhere(sandbox, target):
    assert attempt(sandbox, f"os.symlink({target!r}, '/tmp/link')\nopen('/tmp/link').read()").endswith("Error")


@pytest.mark.parametrize(
    "call",
    [
        "ptrace(16, 2, 0, 0)",
        "unshare(0x10000000)",
        "mount(b'none', b'/tmp', b'tmpfs', 0, None)",
        "umount2(b'/proc', 2)",
        "setns(0, 0)",
        "chroot(b'/tmp')",
        "bpf(0, 0, 0)",
        "setuid(0)",
        "syscall(57)",
        "syscall(435, 0, 0)",
        "syscall(0x40000000 + 57)",
        "sethostname(b'x', 1)",
    ],
)
def test_forbidden_system_calls_fail(sandbox, call):
    statements = f"libc = ctypes.CDLL(None, use_errno=True)\nif libc.{call} < 0: raise OSError(1, 'refused')"
    if "bpf" in call:
        statements = statements.replace("bpf(", "syscall(321, ")
    assert attempt(sandbox, statements).endswith("Error")


def test_no_capability_and_no_way_to_one(sandbox):
    status = run(sandbox, "print(open('/proc/self/status').read())").stdout.decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"


def test_limits_cannot_be_raised(sandbox):
    for name in ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CPU", "RLIMIT_CORE"):
        raising = f"resource.setrlimit(resource.{name}, (10**12, 10**12))"
        statements = f"import resource\ntry:\n    {raising}\nexcept ValueError: raise OSError"
        assert attempt(sandbox, statements) == "OSError"


def test_only_its_own_files_are_open(sandbox):
    found = run(
        sandbox, "import os\nfor fd in range(3, 2000):\n    try: os.fstat(fd); print(fd)\n    except OSError: pass"
    )
    assert found.stdout == b""


def test_endless_output_ends(sandbox):
    ended = run(sandbox, "while True: print('x' * 10**6)")
    assert ended.output_limit and len(ended.stdout) <= LIMITS.output_bytes
    quiet = run(sandbox, "import sys\nwhile True: sys.stderr.write('x' * 10**6)")
    assert quiet.exit_code != 0 and len(quiet.error) <= 4000
    assert healthy(sandbox)


def test_closing_and_swapping_the_standard_streams_harms_only_the_program(sandbox):
    for program in (
        "import os\nos.closerange(0, 100)",
        "import sys\nsys.stdout.close()",
        "import os\nos.dup2(0, 1); os.write(1, b'x')",
        "import sys\nsys.stdout = None",
        "import os\nos.ftruncate(1, 10**7)",
    ):
        run(sandbox, program, "input")
        assert healthy(sandbox)


def test_its_standard_input_is_its_own(sandbox):
    spoil = "import os\nopen('/proc/self/fd/0', 'r+b').write(b'9 9')\nos.ftruncate(0, 100)\nprint(open(0).read()[:3])"
    task = Task({"role": "whole", "program": spoil}, LIMITS, b"1 2")
    assert [sandbox.run(task)[0].stdout for _ in range(2)] == [b"9 9\n"] * 2
    assert attempt(sandbox, "os.ftruncate(0, 1 << 40)") == "OSError"


def test_there_is_no_terminal_and_no_kernel_log(sandbox):
    assert attempt(sandbox, "os.open('/dev/tty', os.O_RDWR)").endswith("Error")
    assert attempt(sandbox, "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b'x')") == "OSError"
    log = "libc = ctypes.CDLL(None, use_errno=True)\nif libc.klogctl(3, bytes(99), 99) < 0: raise OSError(1, 'refused')"
    assert attempt(sandbox, log) == "PermissionError"


def test_shared_memory_and_devices_are_not_there(sandbox):
    assert attempt(
        sandbox, "from multiprocessing import shared_memory as m; m.SharedMemory(create=True, size=9)"
    ).endswith("Error")
    for path in (
        "/dev/shm",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/fuse",
        "/dev/nvidia0",
        "/sys/fs/cgroup",
        "/proc/1/root/home",
    ):
        assert attempt(sandbox, f"os.listdir({path!r}) if os.path.isdir({path!r}) else open({path!r})").endswith(
            "Error"
        )


def test_the_settings_of_the_kernel_are_out_of_reach(sandbox):
    """A program that root started is root to /proc/sys, whatever rights it has given up."""
    for path in (
        "sys/kernel/core_pattern",
        "sys/vm/overcommit_memory",
        "sysrq-trigger",
        "self/oom_score_adj",
        "self/mem",
    ):
        assert attempt(sandbox, f"os.open('/proc/{path}', os.O_WRONLY)").endswith("Error")
    libc = "libc = ctypes.CDLL(None, use_errno=True)\n"
    again = libc + "if libc.mount(b'proc', b'/proc', b'proc', 32, None) < 0: raise OSError(1, 'refused')"
    assert attempt(sandbox, again) == "PermissionError"


def test_nothing_is_left_for_the_next_program(sandbox):
    spoil = "open('/tmp/x', 'w').write('x'); math.pi = 3; builtins.print = None; os.environ['A'] = 'b'"
    run(sandbox, f"import os, builtins, math\n{spoil}")
    look = "import os, math\nprint(os.listdir('/tmp'), math.pi > 3.1, 'A' in os.environ)"
    assert run(sandbox, look).stdout == b"[] True False\n"


def test_a_sleeper_is_stopped(sandbox):
    began = time.monotonic()
    ended = run(sandbox, "import time\nwhile True: time.sleep(10**6)", limits=Limits(cpu_s=0.2, memory_mb=256))
    assert ended.stopped == "wall" and time.monotonic() - began < 30


def test_ignored_signals_do_not_save_a_program_from_its_time_limit(sandbox):
    ignore = "try: signal.signal(number, signal.SIG_IGN)\n    except Exception: pass"
    program = f"import signal\nfor number in range(1, 65):\n    {ignore}\nwhile True: pass"
    assert run(sandbox, program, limits=Limits(cpu_s=0.3, memory_mb=256)).stopped == "cpu"


def test_the_sandbox_dies_with_its_parent():
    program = (
        "import os, sys\nfrom tpt.sandbox.worker import Sandbox\nfrom tpt.sandbox import Limits, Task\n"
        "sandbox = Sandbox('bubblewrap')\n"
        "sandbox.start([Task({'role': 'whole', 'program': 'while True: pass'}, Limits(60, 100))])\n"
        "print(sandbox._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    pid = int(ran.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
