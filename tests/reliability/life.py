"""What happens to a run besides being run, each event with what must hold after it; shared by all that invent histories."""

from __future__ import annotations

import fcntl
import json
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.disk import Fault, plant, tree
from tests.reliability.power import after_power_loss
from tests.reliability.world import Setting, World, fresh, undisturbed
from tpt.run.directory import RunDir
from tpt.run.manifest import finished_stages

_LOGS = ("logs/", "cache/", "lock")
"""What says nothing of results, and may change whenever somebody tries something."""


@dataclass(slots=True)
class Life:
    """One run and what became of it so far."""

    setting: Setting
    world: World = field(init=False)
    told: list[str] = field(default_factory=list)
    """The events so far, to be read when something went wrong."""
    backup: dict[str, bytes | None] | None = None

    def __post_init__(self) -> None:
        self.world = fresh(self.setting)

    def run(self, share: float, fault: Fault | None, *, order: int = 0, slots: int = 4, breaks_at: int = 0) -> str:
        """Run the command; the call at this share of an undisturbed run's calls fails. Finished samples stay."""
        wanted, calls = undisturbed(self.setting)
        faults = {1 + int(share * len(calls)): fault} if fault else {}
        before = self._samples()
        ended, _ = self.world.attempt(faults, order=order, breaks_at=breaks_at, engine__slots=slots)
        self._note(f"run {faults} order={order} slots={slots} breaks_at={breaks_at}: {ended[:60] or 'finished'}")
        after = self._samples()
        assert before <= after, ("samples are gone", before - after)
        if not ended:
            self.world.check_finished(wanted)
        else:
            assert fault or breaks_at, ended
            self.world.check_whole()
        return ended

    def lose_power(self, share: float, source: random.Random) -> None:
        """Run until the power fails: what was not synced is lost in part."""
        calls = undisturbed(self.setting)[1]
        before = tree(self.world.path) if self.world.path.exists() else {}
        _, disk = self.world.attempt({1 + int(share * len(calls)): "kill"})
        self._note(f"power failed after {len(disk.log)} calls")
        self._become(after_power_loss(before, disk.log, source))
        self.world.check_whole()

    def tear(self, source: random.Random) -> None:
        """Cut the last line of a file that is being appended to, as a killed process may leave it."""
        under_way = [path for path in self._under_way() if path.stat().st_size > 5]
        if under_way:
            path = source.choice(under_way)
            content = path.read_bytes()
            path.write_bytes(content[: -source.randint(1, min(len(content), 90))])
            self._note(f"torn: {path.name} of {path.parent.name}")

    def forget_verdicts(self, source: random.Random) -> None:
        """Delete the verdicts of a sampling under way, which a message advises."""
        under_way = [path for path in self._under_way() if path.name == "verdicts.jsonl"]
        if under_way:
            path = source.choice(under_way)
            path.unlink()
            self._note(f"forgotten: {path.parent.name}/verdicts.jsonl")

    def edit(self, source: random.Random) -> None:
        """Change a byte of any file: the command says so, or ends with the same bytes all the same; then it is put back."""
        files = [name for name, content in tree(self.world.path).items() if content] if self.world.path.exists() else []
        files = [name for name in files if not name.startswith(_LOGS)]
        if not files:
            return
        path = self.world.path / source.choice(files)
        content = path.read_bytes()
        at = source.randrange(len(content))
        if path in self._under_way() and is_unjudged(path, content, at):
            return
        path.write_bytes(content[:at] + bytes([content[at] ^ source.choice((1, 2, 4, 16, 128))]) + content[at + 1 :])
        ended, _ = self.world.attempt()
        self._note(f"byte {at} of {path.relative_to(self.world.path)} changed: {ended[:90] or 'finished'}")
        if not ended:
            self.world.check_finished(undisturbed(self.setting)[0])
        else:
            path.write_bytes(content)

    def second_writer(self) -> None:
        """Another process holds the lock: the command says so and changes nothing."""
        if not self.world.path.exists():
            return
        before = self._results_so_far()
        with (self.world.path / "lock").open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            ended, _ = self.world.attempt()
        assert ended.startswith("RunLockedError"), ended
        assert self._results_so_far() == before
        self._note("a second writer was refused")

    def other_config(self, seed: int) -> None:
        """Another config is refused where a stage is finished, else it takes the run over; either way ours ends right."""
        if not self.world.path.exists():
            return
        run = RunDir(self.world.path)
        is_begun, before = any(map(finished_stages, run.rounds())), self._results_so_far()
        ended, _ = self.world.attempt({40: "kill"} if not is_begun else None, seed=100 + seed)
        self._note(f"another config, begun={is_begun}: {ended[:50]}")
        if is_begun:
            assert "another config" in ended, ended
            assert self._results_so_far() == before
        self.world.check_whole()

    def move(self, name: str) -> None:
        """Give the folder another name."""
        if self.world.path.exists() and self.world.path.name != name:
            target = self.world.path.with_name(name)
            shutil.rmtree(target, ignore_errors=True)
            self.world.path.rename(target)
            self.world.path = target
            self._note(f"moved to {name}")

    def keep(self) -> None:
        """Make a backup."""
        self.backup = tree(self.world.path) if self.world.path.exists() else {}
        self._note("backed up")

    def restore(self) -> None:
        """Go back to the backup, all of whose times are new."""
        if self.backup is not None:
            self._become(self.backup)
            self._note("restored")
            self.world.check_whole()

    def undo(self, source: random.Random) -> None:
        """Delete a stage's manifest and those after it, which messages advise, to have them done again."""
        rounds = RunDir(self.world.path).rounds()
        done = [(each, stage) for each in rounds for stage in finished_stages(each) if stage in each.stages]
        if not done:
            return
        at = source.randrange(len(done))
        for round_dir, stage in done[at:]:
            round_dir.manifest(stage).unlink()
        self._note(f"undone from {done[at][1]} of {done[at][0].path.name} on")

    def jump(self, seconds: float) -> None:
        """The clock is set."""
        self.world.clock.now += seconds
        self._note(f"clock set by {seconds:.0f} s")

    def end(self) -> None:
        """Run the command as often as it takes without anything in its way: once."""
        assert not self.run(0, None)

    def _note(self, said: str) -> None:
        self.told.append(said)

    def _become(self, files: Mapping[str, bytes | None]) -> None:
        shutil.rmtree(self.world.path, ignore_errors=True)
        plant(self.world.path, files)

    def _under_way(self) -> list[Path]:
        """Files of samplings whose stage is not finished."""
        found = []
        for round_dir in RunDir(self.world.path).rounds():
            folders = {"think": [round_dir.path], "evaluate": [round_dir.evaluate, round_dir.evaluate_greedy]}
            for stage, places in folders.items():
                if not round_dir.manifest(stage).exists():
                    found += [place / name for place in places for name in ("traces.jsonl", "verdicts.jsonl")]
        return [path for path in found if path.exists()]

    def _samples(self) -> set[tuple[str, bytes]]:
        """Every whole trace there is, with its folder, also where another config set that aside.

        A page that a power failure took away leaves none.
        """
        return {
            (re.sub(r"\.other-config-\d+", "", path.parent.relative_to(self.world.path).as_posix()), line)
            for path in self.world.path.glob("round-*/**/*.jsonl")
            if path.name in ("traces.jsonl", "surplus.jsonl")
            for line in path.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n") and b"\0" not in line
        }

    def _results_so_far(self) -> dict[str, bytes | None]:
        return {name: content for name, content in tree(self.world.path).items() if not name.startswith(_LOGS)}


def is_unjudged(path: Path, content: bytes, at: int) -> bool:
    """Return whether a byte is of a trace whose verdict is lost: nothing vouches for its text until it is judged."""
    if path.name != "traces.jsonl":
        return False
    start = content.rfind(b"\n", 0, at) + 1
    line = content[start : content.find(b"\n", at) % (len(content) + 1)]
    verdicts = path.with_name("verdicts.jsonl")
    judged = {key_of(each) for each in verdicts.read_bytes().splitlines()} if verdicts.exists() else set()
    return key_of(line) not in judged


def key_of(line: bytes) -> object:
    """Return a record's problem and sample; a line that is torn has none."""
    try:
        found = json.loads(line)
        return found["problem_id"], found["sample"]
    except (ValueError, KeyError, TypeError):
        return line
