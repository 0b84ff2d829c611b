"""Failing calls, one after the other, and writers killed in mid-write: nothing half acknowledged, nothing twice."""

import errno
import os

import pytest

from benchmarks.ledger_storm import storm
from scaling.errors import InputError, LedgerError, ScalingError
from scaling.registry import Ledger, Reason
from tests.faults import REAL, failing


def attempt(book):
    try:
        return book.append("key", {"x": 1}, nonce="mine"), None
    except ScalingError as error:
        return None, error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("half", "for_good"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("state", ["new", "sound", "torn"])
def test_every_call_fails_once_or_from_then_on(tmp_path, monkeypatch, code, half, for_good, state):
    """Fail the k-th call, k = 1, 2, ... until none fails; then the same append is tried again with the same nonce."""
    for k in range(1, 100):
        folder = tmp_path / str(k)
        book = Ledger(folder)
        before = 0 if state == "new" else 2
        for _ in range(before):
            book.append("key", {})
        if state == "torn":
            with open(folder / "entries.jsonl", "ab") as file:
                file.write(b'{"body":')
        with monkeypatch.context() as patch:
            count = failing(patch, REAL, range(k, 10_000 if for_good else k + 1), code, half)
            acknowledged, error = attempt(book)
            calls = count[0]
        assert acknowledged or (type(error) in (InputError, LedgerError) and os.strerror(code) in str(error)), error
        if acknowledged:
            assert book.find(acknowledged.hash) == acknowledged
        report = book.verify() if (folder / "entries.jsonl").exists() else None
        assert report is None or {p.reason for p in report.problems} <= {Reason.TORN_TAIL}
        again = book.append("key", {"x": 1}, nonce="mine")
        assert acknowledged in (None, again)
        assert [e.nonce for e in book].count("mine") == 1
        assert book.verify().ok
        assert book.verify().entries == before + 1
        if state == "torn":
            assert {b'{"body":'} <= {path.read_bytes() for path in folder.glob("torn-*")}
        if calls < k:
            return
    pytest.fail("an append that makes a hundred system calls")


@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_full_disk_leaves_the_file_as_it_was(book, path, monkeypatch, name):
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        failing(patch, [name], [1], errno.ENOSPC, half=True)
        with pytest.raises(InputError, match=r"nothing was appended .* No space left .* Hint: free some space"):
            book.append("key", {})
    assert path.read_bytes() == before


def test_a_short_write_is_a_failure(book, path, monkeypatch):
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: REAL["write"](file, data[:9]))
        with pytest.raises(InputError, match="only 9 of"):
            book.append("key", {})
    assert path.read_bytes() == before


def test_an_entry_of_unknown_fate_is_said_to_be_unknown(book, monkeypatch):
    """fsync may fail although the entry is on disk: the error says so and names the nonce for the retry."""
    with monkeypatch.context() as patch:
        failing(patch, ["fsync", "ftruncate"], range(100), errno.EIO, half=False)
        with pytest.raises(LedgerError, match=r"unknown\. Hint: read the file again, then try again with nonce='n7'"):
            book.append("key", {}, nonce="n7")
    assert book.append("key", {}, nonce="n7").seq == 3
    assert book.verify().entries == 4


def test_a_blob_that_does_not_fit_is_refused(book, monkeypatch):
    with monkeypatch.context() as patch:
        failing(patch, ["fsync"], [1], errno.ENOSPC, half=False)
        with pytest.raises(InputError, match="could not be written: No space"):
            book.put_blob(b"draws", "f64")
    assert list((book.folder / "blobs").iterdir()) == []
    assert book.get_blob(book.put_blob(b"draws", "f64")) == b"draws"


def test_a_storm_of_kills(tmp_path):
    """Three writers, one of whom signs, killed with SIGKILL again and again. `make prove` does it a thousand times."""
    present, acknowledged = storm(tmp_path / "ledger", kills=9)
    assert present >= acknowledged >= 9


def test_nothing_is_acknowledged_before_it_is_durable(tmp_path, monkeypatch):
    """The folder is synced before the first line, the file after each, also where an older line is acknowledged."""
    calls = []

    def note(name):
        def call(file, *rest):
            calls.append((name, os.path.basename(os.readlink(f"/proc/self/fd/{file}"))))
            return REAL[name](file, *rest)

        return call

    book = Ledger(tmp_path / "book")
    with monkeypatch.context() as patch:
        for name in ("write", "fsync"):
            patch.setattr(os, name, note(name))
        for step, expected in (
            (
                lambda: book.append("key", {}, nonce="n"),
                ["fsync " + tmp_path.name, "fsync book", "write entries.jsonl", "fsync entries.jsonl"],
            ),
            (lambda: book.append("key", {}, nonce="n"), ["fsync entries.jsonl"]),
            (book.remember, ["fsync entries.jsonl", "fsync book", "write heads.jsonl", "fsync heads.jsonl"]),
        ):
            calls.clear()
            step()
            assert [" ".join(call) for call in calls] == expected
