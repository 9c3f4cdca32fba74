"""Runs on an object store: a local working copy, and a store that is the truth of what is finished."""

from tpt.store.keeper import Keeper, keeping
from tpt.store.place import address_of, bring_checkpoint, place_of, pulled, share
from tpt.store.url import is_url

__all__ = ["Keeper", "address_of", "bring_checkpoint", "is_url", "keeping", "place_of", "pulled", "share"]
