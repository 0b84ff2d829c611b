"""A kill storm over the ledger: three concurrent writers, SIGKILL again and again, nothing acknowledged is lost.

    python benchmarks/ledger_storm.py [--kills 1000] [--seed 0] [--folder DIR]

Writers append in pieces of 64 bytes, so that a kill can fall within a line; one of the three signs. After every wave
the ledger may end in a torn tail and in nothing worse; at the end every acknowledged entry is there, and once.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scaling.registry import Ledger, Reason, keyfiles
from scaling.registry.keys import Action, Statement

WRITERS = 3
WRITER = """
import os, sys, time
from scaling.registry import Ledger, index, keyfiles
from pathlib import Path
index.FROM_BYTES = 20_000
whole = os.write
def in_pieces(file, data):  # so that a kill can fall between two pieces of one line
    for i in range(0, len(data), 64):
        whole(file, data[i:i + 64])
        time.sleep(0.0005)
    return len(data)
os.write = in_pieces
folder, name, key = sys.argv[1:]
book = Ledger(folder, key=keyfiles.load(Path(key)) if key else None)
for i in range(100_000):
    entry = book.append("amend", {"writer": name, "i": i}, nonce=f"{name}-{i}")
    whole(1, f"{entry.hash}\\n".encode())
"""


def storm(folder: Path, kills: int, seed: int = 0, wait_s: float = 0.1) -> tuple[int, int]:
    """So many kills; the numbers of entries that are there and that were acknowledged. AssertionError: one is lost."""
    chance, acknowledged, waves = random.Random(seed), list[str](), -(-kills // WRITERS)
    key_path = folder.with_name(folder.name + "-key.pem")
    key = keyfiles.create(key_path)
    enter = Ledger(folder, key=key).append("key", Statement(Action.NEW, key.public).body)
    for wave in range(waves):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(folder), f"w{wave}-{i}", str(key_path) if i == 0 else ""],
                stdout=subprocess.PIPE,
            )
            for i in range(WRITERS)
        ]
        said = [writer.stdout.readline() for writer in writers if writer.stdout]
        for writer in writers:
            time.sleep(chance.uniform(0, wait_s))
            writer.send_signal(signal.SIGKILL)
        said += [writer.communicate()[0] for writer in writers]
        acknowledged += b"".join(said).decode().splitlines()
        if wave % 10 == 0 or wave == waves - 1:
            found = Ledger(folder).verify().problems
            assert {p.reason for p in found} <= {Reason.TORN_TAIL}, found
    last = Ledger(folder).append("amend", {})
    Ledger(folder).verify().raise_first()
    present = [entry.hash for entry in Ledger(folder)]
    assert present[0] == enter.hash and len(set(present)) == len(present) == last.seq + 1
    whole = {line for line in acknowledged if len(line) == 64}
    assert whole <= set(present), f"{len(whole - set(present))} acknowledged entries are lost"
    assert len(set(acknowledged)) == len(acknowledged) >= waves * WRITERS
    most = len(acknowledged) + 2 + waves * WRITERS  # of each dead writer one entry at most was not acknowledged
    assert len(present) <= most, f"{len(present)} entries, {most} at most were written"
    return len(present), len(acknowledged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="ledger-storm-"))) / "ledger"
    begun = time.monotonic()
    present, acknowledged = storm(folder, arguments.kills, arguments.seed)
    torn = len(list(folder.glob("torn-*")))
    print(
        f"{arguments.kills} kills in {time.monotonic() - begun:.0f} s: {present} entries, {acknowledged} acknowledged, "
        f"{torn} torn tails set aside; none lost, none doubled"
    )


if __name__ == "__main__":
    main()
