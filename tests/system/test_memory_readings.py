"""Free memory and peaks: as the system says them, and silent where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tpt.system.memory import available_bytes, group_limits, is_out_of_memory, peak_bytes

CPU = torch.device("cpu")


def test_free_memory_respects_the_control_groups(tmp_path: Path) -> None:
    assert 0 < (available_bytes(CPU) or 0) < 2**50
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    job = root / "slice" / "job"
    job.mkdir(parents=True)
    membership.write_text("0::/slice/job\n")
    assert group_limits(root, membership) == []
    (job / "memory.max").write_text("max\n")
    (job / "memory.current").write_text("5\n")
    assert group_limits(root, membership) == []
    (root / "slice" / "memory.max").write_text("1000\n")
    (root / "slice" / "memory.current").write_text("400\n")
    assert group_limits(root, membership) == [600]
    (root / "memory" / "old").mkdir(parents=True)
    (root / "memory" / "old" / "memory.limit_in_bytes").write_text("300\n")
    (root / "memory" / "old" / "memory.usage_in_bytes").write_text("500\n")
    membership.write_text("4:cpu,cpuacct:/other\n3:memory:/old\n")
    assert group_limits(root, membership) == [0]
    assert group_limits(root, tmp_path / "nothing") == []


def test_a_limit_of_a_group_counts_for_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "membership").write_text("0::/\n")
    monkeypatch.setattr("tpt.system.memory._CGROUPS", tmp_path)
    monkeypatch.setattr("tpt.system.memory._MEMBERSHIP", tmp_path / "membership")
    assert available_bytes(CPU) == 2000


def test_where_the_system_says_nothing_free_memory_is_not_known_and_the_peak_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = peak_bytes(CPU)
    for name in ("_CGROUPS", "_MEMBERSHIP", "_MEMINFO", "_STATUS"):
        monkeypatch.setattr(f"tpt.system.memory.{name}", tmp_path / "nothing")
    assert available_bytes(CPU) is None
    assert peak_bytes(CPU) == pytest.approx(told, rel=0.5)
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\n")
    monkeypatch.setattr("tpt.system.memory._MEMINFO", tmp_path / "meminfo")
    assert available_bytes(CPU) is None


def test_running_out_is_known_by_type_and_by_words() -> None:
    with pytest.raises(RuntimeError) as ran_out:
        torch.empty(2**55)
    assert is_out_of_memory(ran_out.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("not enough memory"))


def test_a_process_that_keeps_what_it_frees_gives_large_blocks_back_when_told_to() -> None:
    code = (
        "import sys, torch; from tpt.system.memory import _STATUS, _field, give_back_large_blocks\n"
        "if sys.argv[1] == 'yes': give_back_large_blocks()\n"
        "before = _field(_STATUS, 'VmRSS'); block = torch.ones(2**25); del block\n"
        "print(_field(_STATUS, 'VmRSS') - before)"
    )
    environment = {**os.environ, "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}

    def kept(told: str) -> int:
        done = subprocess.run([sys.executable, "-c", code, told], env=environment, capture_output=True, check=True)
        return int(done.stdout)

    assert kept("no") > 2**26 > kept("yes")
