"""Claims the lease of a run as often as it is told to, from a process of its own."""

from __future__ import annotations

import sys

from tpt.errors import RunLockedError
from tpt.store.lease import Lease
from tpt.store.objects import open_store

if __name__ == "__main__":
    url, tries, name = sys.argv[1:]
    store = open_store(url, patience_s=5)
    print("ready", flush=True)
    for _ in range(int(tries)):
        sys.stdin.readline()
        try:
            Lease(store, f"copy {name}", expires_s=60).take()
            print("taken", flush=True)
        except RunLockedError:
            print("refused", flush=True)
