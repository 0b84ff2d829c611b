"""A kill storm over the main job: SIGKILL at many moments, the same command again, numbers compared bit for bit.

    python benchmarks/kill_storm.py [--kills 30] [--recipe smoke] [--seed 0] [--folder DIR]

Each round takes a fresh folder and kills `scaling demo` in it (runner and workers, the runner alone, or one worker)
until the job has ended in spite of it. Kills fall after a random delay, or at the k-th fsync of a file of the ledger or
of a report. Ladder trials are compared with an unbroken run in another folder; the target, whose seeds derive from the
prediction's hash, with an unbroken run in a copy taken after registration.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = {"wall_s", "device_s"}  # the only inputs of an observation that may differ between two runs
FILES = {"blobs": 70, "entries.jsonl": 5, "heads.jsonl": 3, ".report.": 3}
AT_FSYNC = """
import os, signal, sys
part, left = sys.argv.pop(1), int(sys.argv.pop(1))
real = os.fsync
def fsync(descriptor):
    global left
    left -= part in os.readlink(f"/proc/self/fd/{descriptor}")
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
from scaling.__main__ import main
sys.exit(main())
"""
PLAIN = "import sys; from scaling.__main__ import main; sys.exit(main())"


@dataclass
class Storm:
    recipe: str
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    said: str = ""

    def round(self, folder: Path, reference: Path, most: int) -> None:
        """One folder from nothing to its end, killed up to `most` times on the way."""
        twin = folder.with_name(folder.name + "-twin")
        for left in range(most, -1, -1):
            if kinds(folder) and not twin.exists():
                shutil.copytree(folder, twin)
            code = self.once(folder, struck=left > 0)
            if code >= 0:
                self.check(code == 0, f"{folder} ended with exit code {code}: {self.said[-500:]}")
                break
        self.check(kinds(folder) == ["prediction", "start", "outcome"], f"{folder}: ledger holds {kinds(folder)}")
        checked = subprocess.run(demo(folder, self.recipe, verb="verify"), capture_output=True, text=True)
        self.check(checked.returncode == 0, f"verify: {checked.stderr}")
        self.compare(folder, reference)
        if twin.exists():
            subprocess.run(demo(twin, self.recipe), capture_output=True, check=True)
            self.compare(folder, twin, all_of=True)

    def once(self, folder: Path, *, struck: bool) -> int:
        """The command, killed or not; its exit code (negative: it was killed)."""
        part = self.rng.choice([*FILES, *[""] * 4]) if struck else ""
        who = "runner" if part else self.rng.choice(["all", "runner", "worker"])
        count = self.rng.randint(1, FILES.get(part, 1))
        process = subprocess.Popen(
            demo(folder, self.recipe, part=part, count=count), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr
        if struck and not part:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.rng.uniform(0.5, 12.0))
            if process.poll() is None:
                self.strike(process, who, folder)
        said = self.said = process.stderr.read().decode()
        code = process.wait()
        self.check("Traceback" not in said, f"{folder}: {said[-2000:]}")
        if part and code < 0:
            self.note(f"{part} fsync", folder, f"runner at call {count}")
        return code

    def strike(self, process: subprocess.Popen[bytes], who: str, folder: Path) -> None:
        workers = children(process.pid)
        victims = {"all": [process.pid, *workers], "runner": [process.pid], "worker": workers[:1]}[who]
        if not victims:
            return
        self.note(phase(folder), folder, who)
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def note(self, where: str, folder: Path, who: str) -> None:
        self.kills[where] += 1
        print(f"kill {self.kills.total():3d}: {folder.name}, {where}, {who}", flush=True)

    def compare(self, folder: Path, other: Path, *, all_of: bool = False) -> None:
        mine, theirs = numbers(folder), numbers(other)
        names = set(mine) | set(theirs) if all_of else set(mine) & set(theirs)
        for name in sorted(names):
            self.check(mine.get(name) == theirs.get(name), f"{folder}: {name} differs from {other}")
        print(f"  {folder.name} against {other.name}: {len(names)} trials compared bit for bit", flush=True)

    def check(self, good: bool, text: str) -> None:
        if not good:
            self.found.append(text)
            print(f"FOUND {text}", flush=True)


def demo(folder: Path, recipe: str, *, verb: str = "demo", part: str = "", count: int = 1) -> list[str]:
    start = [sys.executable, "-c", AT_FSYNC, part, str(count)] if part else [sys.executable, "-c", PLAIN]
    return [*start, verb, "--folder", str(folder), *(["--recipe", recipe] if verb == "demo" else [])]


def kinds(folder: Path) -> list[str]:
    path = folder / "ledger" / "entries.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["kind"] for line in lines]


def phase(folder: Path) -> str:
    """How far the folder is."""
    stage = ("sweep or fit", "registered", "target", "resolved")[len(kinds(folder))]
    return "registering" if stage == "sweep or fit" and (folder / "ledger").exists() else stage


def numbers(folder: Path) -> dict[str, Any]:
    """Every finished trial's observations and the digest of its checkpoint; only seconds are left out."""
    found = {}
    for result in folder.glob("runs/*/result.json"):
        lines = (result.parent / "observations.jsonl").read_bytes().splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            row["inputs"] = {k: v for k, v in row["inputs"].items() if k not in SECONDS}
        found[result.parent.name] = (json.loads(result.read_bytes())["checkpoint"], rows)
    return found


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill `scaling demo` at many moments and compare its numbers.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    base = arguments.folder or Path(tempfile.mkdtemp(prefix="kill-storm-"))
    base.mkdir(parents=True, exist_ok=True)
    begun, storm = time.monotonic(), Storm(arguments.recipe, random.Random(arguments.seed))
    reference = base / "unbroken"
    subprocess.run(demo(reference, arguments.recipe), capture_output=True, check=True)
    rounds = 0
    while (left := arguments.kills - storm.kills.total()) > 0:
        rounds += 1
        storm.round(base / f"round-{rounds}", reference, min(left, 12))
    print(f"\n{storm.kills.total()} kills over {rounds} folders in {time.monotonic() - begun:.0f} s:")
    for where, count in storm.kills.most_common():
        print(f"  {count:3d}  {where}")
    print("every number bit-equal, ledgers sound" if not storm.found else f"{len(storm.found)} faults found")
    return 1 if storm.found else 0


if __name__ == "__main__":
    sys.exit(main())
