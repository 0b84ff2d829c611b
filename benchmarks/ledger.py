"""How quick a long ledger is: entries a second of append, verify, head and prove, and the memory they take.

    python benchmarks/ledger.py [--entries 100000] [--signed] [--predictions 2000] [--folder DIR]

The ledger is filled without a sync of every entry (that is the disk's speed, not ours); appends are then timed as they
are, into the full ledger, in processor time and by the clock. Every entry has a body of about 150 bytes, but for the
last ones: whole predictions with their draws (3 kB of body and a file of 10 kB each). The verbs are called as from the
command line, in this process: without the start of Python and the imports.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scaling.__main__ import main as main_verb
from scaling.fitted import write_forecasts
from scaling.records import sha256
from scaling.registry import Ledger, book, proofs
from scaling.registry.entries import Kind, make_entry, utc_now
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from predictions import COMPLETE, REGISTER, ask, forecast

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


def predict(folder: Path, count: int) -> None:
    """So many predictions with draws of their own, likewise."""
    blobs = folder / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    one = book.register(Ledger(folder), ask(), forecast(), **COMPLETE)
    previous, body = one, one.body
    with open(folder / "entries.jsonl", "ab") as out:
        for i in range(count - 1):
            draws = i.to_bytes(8, "big") * 1200
            (blobs / f"{sha256(draws)}.f64").write_bytes(draws)
            made = {**body, "blobs": [sha256(draws)], "title": f"prediction {i}"}
            previous = make_entry(Kind.PREDICTION, made, f"p{i}", utc_now(), previous)
            out.write(previous.line + b"\n")


def verbs(folder: Path) -> None:
    """What a person types into the full ledger. Forecast and points stand beside it."""
    write_forecasts(folder / "f.json", [forecast()])
    register = [*shlex.split(REGISTER)[2:-2], "--ledger", str(folder)]
    id = next(e.hash for e in Ledger(folder).entries("prediction"))
    for words in (
        ["register", str(folder / "f.json"), *register],
        ["amend", id, "--text", "x", "--ledger", str(folder)],
        ["amend", "latest", "--text", "x", "--ledger", str(folder)],
        ["withdraw", id, "--reason", "x", "--ledger", str(folder)],
        ["resolve", "latest", "--value", "0.5", "--ledger", str(folder)],
        ["verify", "--ledger", str(folder)],
    ):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main_verb([words[0], "--help"])  # imports
        timed(f"scaling {' '.join(words[:2]):.20}", lambda words=words: quietly(words), 1)


def quietly(words: list[str]) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main_verb(words)
    if code:
        raise SystemExit(said.getvalue())


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
    parser.add_argument("--predictions", type=int, default=2000, help="after the entries; each with draws of its own")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="ledger-"))
    key = SigningKey.generate() if arguments.signed else None
    count = arguments.entries
    timed(f"fill {count:,} entries", lambda: fill(folder, count, key), count)
    timed(f"fill {arguments.predictions:,} predictions", lambda: predict(folder, arguments.predictions), 1)
    kept = Ledger(folder, key=key)
    count += arguments.predictions
    print(f"{(folder / 'entries.jsonl').stat().st_size / 2**20:.1f} MiB, {'half signed' if key else 'unsigned'}")
    timed("first append (makes the index)", lambda: kept.append(Kind.AMEND, {"x": 1}, nonce="first"), 1)
    first = next(iter(kept)).hash

    def appends() -> None:
        for i in range(APPENDS):
            kept.append(Kind.AMEND, {"amends": first, "i": i}, nonce=f"a{i}")

    timed(f"{APPENDS} appends with nonce and reference", appends, APPENDS)
    timed("verify", lambda: kept.verify().raise_first(), count)
    report = kept.verify()
    timed("remember what was verified", lambda: kept.remember(verified=report), 1)
    timed("head", kept.head, count)
    timed("prove one entry", lambda: proofs.prove(kept, first), count)
    proof = proofs.prove(kept, first)
    timed("check its proof", lambda: proofs.check(proof), 1)
    verbs(folder)


if __name__ == "__main__":
    main()
