"""How quick a long ledger is: entries a second of append, verify, head and prove, and the memory they take.

    python benchmarks/ledger.py [--entries 100000] [--signed] [--folder DIR]

The ledger is filled without a sync of every entry (that is the disk's speed, not ours); appends are then timed as they
are, into the full ledger, in processor time and by the clock. Every entry has a body of about 150 bytes.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scaling.registry import Ledger, proofs
from scaling.registry.entries import Kind, make_entry, utc_now
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey

APPENDS = 200


def fill(folder: Path, count: int, key: SigningKey | None) -> None:
    """The entries in one go: the same bytes that so many appends would have written."""
    book, previous = Ledger(folder, key=key), None
    if key:
        previous = book.append(Kind.KEY, Statement(Action.NEW, key.public).body)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "entries.jsonl", "ab") as out:
        for i in range(count - bool(key)):
            body = {"i": i, "text": "an entry of common length " + "." * 80, "flop": 1.5e18, "value": 0.25 + i / 1e6}
            previous = make_entry(
                Kind.AMEND, body, f"n{i}", utc_now(), previous, key.sign if key and i % 2 == 0 else None
            )
            out.write(previous.line + b"\n")


def timed(what: str, call: Callable[[], object], count: int) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = f"{count / processor:9,.0f} entries/s" if processor else ""
    print(f"{what:38s} {processor:8.3f} s processor {wall:8.3f} s clock {rate}   peak {memory:5.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--signed", action="store_true", help="every second entry is signed")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ledger-"))
    key = SigningKey.generate() if arguments.signed else None
    count = arguments.entries
    timed(f"fill {count:,} entries", lambda: fill(folder, count, key), count)
    book = Ledger(folder, key=key)
    print(f"{(folder / 'entries.jsonl').stat().st_size / 2**20:.1f} MiB, {'half signed' if key else 'unsigned'}")
    timed("first append (makes the index)", lambda: book.append(Kind.AMEND, {"x": 1}, nonce="first"), 1)
    first = next(iter(book)).hash

    def appends() -> None:
        for i in range(APPENDS):
            book.append(Kind.AMEND, {"amends": first, "i": i}, nonce=f"a{i}")

    timed(f"{APPENDS} appends with nonce and reference", appends, APPENDS)
    timed("verify", lambda: book.verify().raise_first(), count)
    report = book.verify()
    timed("remember what was verified", lambda: book.remember(verified=report), 1)
    timed("head", book.head, count)
    timed("prove one entry", lambda: proofs.prove(book, first), count)
    proof = proofs.prove(book, first)
    timed("check its proof", lambda: proofs.check(proof), 1)


if __name__ == "__main__":
    main()
