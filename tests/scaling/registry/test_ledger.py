"""What a ledger does when nothing is wrong, and how it refuses what would make it wrong for ever."""

import os
import threading

import pytest

from scaling.errors import InputError, LedgerError
from scaling.registry import Checkpoint, Kind, Ledger, Reason
from scaling.registry.journal import MAX_LINE, Journal
from scaling.registry.lookup import Lookup
from scaling.registry.merkle import leaf_hash, root


def test_a_sound_ledger(book):
    told, start, outcome = book.entries()
    assert [e.kind for e in book] == [Kind.PREDICTION, Kind.START, Kind.OUTCOME]
    assert [e.seq for e in book] == [0, 1, 2]
    assert start.prediction == outcome.prediction == told.hash
    assert list(book.entries("start")) == [start]
    report = book.verify()
    assert report.ok
    assert report.entries == 3
    assert report.problems == report.warnings == ()
    assert report.head == book.head() == book.remember()
    report.raise_first()


def test_the_head_is_over_the_stored_lines(book, path):
    lines = path.read_bytes().splitlines()
    head = book.head()
    assert head.root == root([leaf_hash(line) for line in lines])
    assert head.size == 3
    assert head.origin == f"scaling-ledger/{next(book.entries()).hash[:16]}"
    assert Checkpoint.parse(head.text) == head


@pytest.mark.parametrize("ask", [Ledger.head, Ledger.verify, Ledger.remember, list, lambda b: b.find("0" * 8)])
def test_reading_what_is_not_there(tmp_path, ask):
    with pytest.raises(InputError, match=r"no ledger in .*elsewhere.* Hint: check the path"):
        ask(Ledger(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="no ledger"):
        Ledger(tmp_path / "elsewhere", create=False)
    assert list(tmp_path.iterdir()) == []


def test_find(book):
    told = next(book.entries())
    assert book.find(told.hash) == book.find(told.hash[:8]) == told
    other = ("0" if told.hash[0] != "0" else "1") + told.hash[1:]
    for prefix, reason in (
        (told.hash[:7], "at least its first 8"),
        (told.hash.upper(), "no entry hash"),
        ("../../../x", "no entry hash"),
        (other, "is the hash of no entry"),
    ):
        with pytest.raises(InputError, match=reason):
            book.find(prefix)


def test_an_ambiguous_prefix_is_refused(book, monkeypatch):
    told = next(book.entries())
    monkeypatch.setattr(Lookup, "of_prefix", lambda self, prefix: iter([told, told]))
    with pytest.raises(InputError, match=r"means 2 entries .* Hint: give more digits"):
        book.find(told.hash[:8])


def test_a_nonce_makes_a_retry_safe(book, path):
    before = path.read_bytes()
    told = next(book.entries())
    assert book.append("prediction", {"value": 0.67, "compute_flop": 1e18}, nonce="p1") == told
    assert path.read_bytes() == before
    for kind, body in (
        ("prediction", {"compute_flop": 1e18, "value": 0.68}),
        ("commit", dict(told.body)),
        ("prediction", {"compute_flop": 1e18, "value": 0.67, "ok": True}),
    ):
        with pytest.raises(InputError, match=r"nonce p1 already stands in entry 0 with other content"):
            book.append(kind, body, nonce="p1")
    assert path.read_bytes() == before
    book.append("key", {"flag": 1}, nonce="k")
    with pytest.raises(InputError, match="other content"):  # 1 == True in Python, not in JSON
        book.append("key", {"flag": True}, nonce="k")
    book.append("key", {"text": '"nonce":"fresh"'})
    assert book.append("key", {}, nonce="fresh").seq == 5
    for nonce in ("", "UPPER", "a b", "../x", "a\n", "x" * 65):
        with pytest.raises(InputError, match="malformed"):
            book.append("key", {}, nonce=nonce)


def test_what_could_never_be_verified_is_not_written(book, path):
    told, start, _ = book.entries()
    before = path.read_bytes()
    for kind, body, reason in (
        ("outcome", {}, "names no prediction"),
        ("outcome", {"prediction": start.hash}, "no prediction with this hash"),
        ("start", {"prediction": told.hash[:16]}, "no prediction with this hash"),
        ("start", {"prediction": 3}, "refers to"),
        ("withdraw", {"prediction": "f" * 64}, "withdraw refers to"),
        ("bribe", {}, "kinds are key, prediction"),
        ("prediction", {"blobs": ["f" * 64]}, "no sound blob"),
        ("prediction", {"blobs": "f" * 64}, "not a list"),
        ("prediction", {"blobs": ["../../etc/passwd"]}, "not a list"),
        ("key", [], "mapping"),
        ("key", {"x": float("nan")}, "canonical"),
        ("key", {"x": b"bytes"}, "canonical"),
        ("key", {"x": "\ud800"}, "canonical"),
        ("key", {"x": "y" * MAX_LINE}, "put_blob"),
    ):
        with pytest.raises(InputError, match=reason):
            book.append(kind, body)
    assert path.read_bytes() == before
    assert book.verify().ok


@pytest.mark.parametrize("exponent", range(3, 31))
def test_flop_counts_survive(tmp_path, exponent):
    """Canonical JSON writes 1e16 .. 1e20 as digits; naive readers take them for integers that RFC 8785 refuses."""
    values = [float(f"{digit}e{exponent}") for digit in (1, 3.3, 9.999999999999999)]
    book = Ledger(tmp_path)
    book.append("prediction", {"flop": values, "whole": 10**exponent})
    entry = book.append("key", {})
    told = next(book.entries())
    assert told.body["flop"] == values
    assert told.body["whole"] == float(10**exponent)
    assert (entry.seq, book.verify().ok) == (1, True)


def test_blobs(book):
    draws = bytes(range(256)) * 8
    digest = book.put_blob(draws, "f64")
    assert book.put_blob(draws, "f64") == digest
    assert book.get_blob(digest) == draws
    entry = book.append("prediction", {"blobs": [digest]})
    assert book.verify().ok
    stored = book.folder / "blobs" / f"{digest}.f64"
    stored.write_bytes(draws[:-1])
    with pytest.raises(LedgerError, match="does not hold the bytes of its name"):
        book.get_blob(digest)
    (problem,) = book.verify().problems
    assert (problem.reason, problem.index) == (Reason.BLOB_BAD, entry.seq)
    stored.unlink()
    with pytest.raises(LedgerError, match="no blob"):
        book.get_blob(digest)
    (problem,) = book.verify().problems
    assert (problem.reason, problem.index) == (Reason.BLOB_MISSING, entry.seq)
    book.put_blob(draws, "f64")
    assert book.verify().ok
    for suffix in ("", "../x", "F64", "a.b", "a\n"):
        with pytest.raises(InputError, match="suffix"):
            book.put_blob(draws, suffix)
    with pytest.raises(InputError, match="not a SHA-256 digest"):
        book.get_blob("*")


def test_heads_are_remembered_once(book):
    first, again = book.remember(), book.remember()
    book.append("key", {})
    book.remember()
    assert first == again
    assert len((book.folder / "heads.jsonl").read_bytes().splitlines()) == 2
    assert book.verify([first, book.head()]).ok


def test_a_clock_set_back_is_a_warning(book, monkeypatch):
    monkeypatch.setattr("scaling.registry.entries.utc_now", lambda: "1999-12-31T23:59:59.000000Z")
    book.append("key", {})
    report = book.verify()
    assert report.ok
    assert "a clock was set back" in report.warnings[0]


def test_one_entry_from_many_threads_with_one_nonce(tmp_path):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(Ledger(tmp_path).append("key", {}, nonce="once")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
    assert Ledger(tmp_path).verify().entries == 1


def test_a_planted_link_pipe_or_folder_is_refused(tmp_path):
    (tmp_path / "real").write_bytes(b"precious")
    for name, plant in (("link", lambda p: p.symlink_to(tmp_path / "real")), ("pipe", os.mkfifo), ("folder", os.mkdir)):
        folder = tmp_path / name
        folder.mkdir()
        plant(folder / "entries.jsonl")
        for ask in (lambda b: b.append("key", {}), Ledger.verify):
            with pytest.raises(InputError, match=r"entries\.jsonl"):
                ask(Ledger(folder))
    assert (tmp_path / "real").read_bytes() == b"precious"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="is not a folder"):
        Ledger(tmp_path / "file").append("key", {})


def test_a_writer_that_never_finishes_is_named(book, monkeypatch):
    monkeypatch.setattr("scaling.registry.journal.LOCK_PATIENCE_S", 0.0)
    with book._entries.writing(create=False), pytest.raises(InputError, match="locked by another process"):
        Ledger(book.folder).append("key", {})


def test_the_lock_follows_the_path_and_not_the_old_file(book, path, monkeypatch):
    """A restore replaces the file while a writer waits: what it then writes must stand under the name."""
    copy, waited, original = path.read_bytes(), [], Journal._wait_for

    def replaced(self, *arguments):
        original(self, *arguments)
        if not waited:
            waited.append(path.rename(path.with_name("old")))
            path.write_bytes(copy)

    monkeypatch.setattr(Journal, "_wait_for", replaced)
    entry = book.append("key", {})
    assert book.find(entry.hash) == entry
    assert path.with_name("old").read_bytes() == copy
