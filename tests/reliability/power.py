"""What a disk may hold after the power failed: the calls until then, replayed, and what was not synced lost.

A file's content is there as far as it was fsynced; of what was written after that, any part: nothing, the first so many
bytes, or the whole length with zeros where a page had not been written yet. A folder's names are there as of its last
fsync, and then as after any number of the later changes, in their order; folders know nothing of each other. That is less
than ext4, XFS and Btrfs promise, and what POSIX allows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.reliability.disk import Op

_PAGE = 64
"""Bytes; smaller than any real one, so that small files have several."""


@dataclass(slots=True)
class _File:
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    """As of the last fsync."""

    def sync(self) -> None:
        self.synced = bytes(self.content)

    def after(self, source: random.Random) -> bytes:
        """Return what may be left of it."""
        whole, fate = bytes(self.content), source.random()
        if whole[: len(self.synced)] != self.synced or fate < 0.2:
            return source.choice((whole, self.synced))
        if fate < 0.4:
            return whole
        left = bytearray(whole[: source.randint(len(self.synced), len(whole))])
        if fate < 0.7:
            return bytes(left)
        pages = range(len(self.synced) // _PAGE, len(left) // _PAGE)
        for page in pages:
            if source.random() < 0.4:
                first, last = max(len(self.synced), page * _PAGE), min(len(left), (page + 1) * _PAGE)
                left[first:last] = bytes(last - first)
        return bytes(left)


@dataclass(slots=True)
class _Folder:
    names: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: dict[str, _File | _Folder] = field(default_factory=dict)
    changes: list[dict[str, _File | _Folder | None]] = field(default_factory=list)
    """Since the last fsync, each whole or not at all; None: the name is gone."""

    def change(self, change: dict[str, _File | _Folder | None]) -> None:
        self.changes.append(change)
        _apply(self.names, change)

    def sync(self) -> None:
        self.synced, self.changes = dict(self.names), []

    def after(self, source: random.Random) -> dict[str, _File | _Folder]:
        names = dict(self.synced)
        for change in self.changes[: source.randint(0, len(self.changes))]:
            _apply(names, change)
        return names


def _apply(names: dict[str, _File | _Folder], change: Mapping[str, _File | _Folder | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def after_power_loss(
    before: Mapping[str, bytes | None], calls: Iterable[Op], source: random.Random
) -> dict[str, bytes | None]:
    """Return a tree that may be left of one that was safely on disk, when the power failed after these calls."""
    return dict(_left(_after(before, calls), "", source))


def replayed(before: Mapping[str, bytes | None], calls: Iterable[Op]) -> dict[str, bytes | None]:
    """Return what these calls make of a tree."""
    return dict(_left(_after(before, calls), "", None))


def _after(before: Mapping[str, bytes | None], calls: Iterable[Op]) -> _Folder:
    root = _Folder()
    for name, content in sorted(before.items()):
        node = _Folder() if content is None else _File(bytearray(content), content)
        folder, base = _parent(root, name)
        folder.change({base: node})
        folder.sync()
    for call in calls:
        _replay(root, call)
    return root


def _replay(root: _Folder, call: Op) -> None:
    if call.path == ".":
        if call.kind == "fsync":
            root.sync()
    elif call.kind != "nothing":
        _act(root, call)


def _act(root: _Folder, call: Op) -> None:
    folder, name = _parent(root, call.path)
    node = folder.names.get(name)
    if call.kind in ("unlink", "rmdir"):
        folder.change({name: None})
    elif call.kind == "rename":
        assert node is not None
        other, target = _parent(root, call.target)
        if other is folder:
            folder.change({name: None, target: node})
        else:
            folder.change({name: None})
            other.change({target: node})
    elif call.kind == "mkdir":
        folder.change({name: _Folder()})
    elif call.kind == "create":
        if isinstance(node, _File):
            node.content.clear()
        else:
            folder.change({name: _File()})
    elif call.kind == "fsync":
        assert node is not None
        node.sync()
    else:
        assert isinstance(node, _File), call
        if call.kind == "truncate":
            del node.content[call.at :]
        else:
            node.content[call.at : call.at + len(call.data)] = call.data


def _parent(root: _Folder, path: str) -> tuple[_Folder, str]:
    *folders, name = path.split("/")
    folder = root
    for each in folders:
        inner = folder.names[each]
        assert isinstance(inner, _Folder)
        folder = inner
    return folder, name


def _left(folder: _Folder, path: str, source: random.Random | None) -> Iterator[tuple[str, bytes | None]]:
    """Yield what is left of a folder by chance, or, without a source of it, everything."""
    names = folder.names if source is None else folder.after(source)
    for name, node in names.items():
        if isinstance(node, _Folder):
            yield path + name, None
            yield from _left(node, f"{path}{name}/", source)
        else:
            yield path + name, bytes(node.content) if source is None else node.after(source)
