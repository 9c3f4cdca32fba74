"""Where numba is missing, what it compiles is not tested."""

from __future__ import annotations

from tpt.system.child_python import is_installed

collect_ignore = (
    []
    if is_installed("numba")
    else ["test_attention_kernel.py", "test_int8.py", "test_prefix.py", "test_without_numba.py"]
)
