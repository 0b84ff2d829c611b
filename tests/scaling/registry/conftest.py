"""Ledgers to test: a sound one of three entries, and the tools of an attacker who knows the format."""

import json
import shlex

import pytest

from scaling import records
from scaling.__main__ import main
from scaling.fitted import write_forecasts
from scaling.registry import Ledger
from scaling.registry.entries import Kind, make_entry, utc_now
from tests.predictions import forecast


@pytest.fixture
def book(tmp_path):
    """prediction, start, outcome: about a kilobyte."""
    book = Ledger(tmp_path / "ledger")
    told = book.append("prediction", {"compute_flop": 1e18, "value": 0.67}, nonce="p1")
    book.append("start", {"prediction": told.hash}, nonce="s1")
    book.append("outcome", {"prediction": told.hash, "value": 0.71}, nonce="o1")
    return book


@pytest.fixture
def path(book):
    return book.folder / "entries.jsonl"


@pytest.fixture
def forge():
    """A whole chain with correct hashes, as its owner could write it: forge((kind, body), ...) -> bytes."""

    def chain(*contents, nonces=None, times=None):
        entries = []
        for i, (kind, body) in enumerate(contents):
            entries.append(
                make_entry(
                    Kind(kind),
                    body,
                    nonces[i] if nonces else f"n{i}",
                    times[i] if times else utc_now(),
                    entries[-1] if entries else None,
                )
            )
        return b"".join(entry.line + b"\n" for entry in entries)

    return chain


@pytest.fixture
def rehash():
    """Change fields of one line and give it the hash that fits: its owner's edit, chain not followed up."""

    def edit(line, **changes):
        record = {**json.loads(line), **changes}
        content = {name: value for name, value in record.items() if name not in ("hash", "sig")}
        record["hash"] = records.sha256(b"scaling-entry-v1\0" + records.canonical(content))
        return records.canonical(record) + b"\n"

    return edit


@pytest.fixture
def type_(tmp_path, monkeypatch, capsys):
    """type_("verb ..." or its words) -> (exit code, output, errors), in a fresh folder with a forecast in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_forecasts("f.json", [forecast(middle=2.0)])
    (tmp_path / "points.csv").write_text("C,loss\n1e19,3\n")

    def run(line):
        code = main(shlex.split(line) if isinstance(line, str) else line)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run
