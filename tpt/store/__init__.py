"""Runs on an object store: a local working copy, and a store that is the truth of what is finished."""

from tpt.store.binding import address_of, download_checkpoint, downloaded, refresh, share, working_copy_of
from tpt.store.sync import StoreSync, synced

__all__ = [
    "StoreSync",
    "address_of",
    "download_checkpoint",
    "downloaded",
    "refresh",
    "share",
    "synced",
    "working_copy_of",
]
