"""The index of a long ledger changes no answer, whatever happens to it."""

import shutil
import sqlite3

import pytest

from scaling.errors import InputError, LedgerError
from scaling.registry import Ledger, index
from scaling.registry.journal import Writer
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey


@pytest.fixture(autouse=True)
def every_ledger_is_long(monkeypatch):
    monkeypatch.setattr(index, "FROM_BYTES", 1)


@pytest.fixture
def book(tmp_path):
    book = Ledger(tmp_path / "book")
    for i in range(20):
        book.append("amend", {"i": i}, nonce=f"n{i}")
    return book


def answers(book):
    """What an append asks the index for."""
    first, *_, last = list(book)
    assert book.append("amend", {"i": 0}, nonce="n0") == first
    with pytest.raises(InputError, match="other content"):
        book.append("amend", {"another": 1}, nonce=last.nonce)
    book.append("amend", {"amends": last.hash})
    with pytest.raises(InputError, match="no entry with this hash"):
        book.append("amend", {"amends": last.hash[:-1] + ("0" if last.hash[-1] != "0" else "1")})
    assert book.verify().ok


def test_it_is_there_and_answers(book):
    answers(book)
    assert (book.folder / index.NAME).exists()


def test_without_it_an_append_reads_the_whole_file_and_with_it_the_end(book, monkeypatch):
    read = []
    lines = Writer.lines
    monkeypatch.setattr(Writer, "lines", lambda self, start=0: read.append(start) or lines(self, start))
    book.append("amend", {}, nonce="fresh")
    end = (book.folder / "entries.jsonl").stat().st_size
    assert min(read) > end - 2 * 400
    (book.folder / index.NAME).unlink()
    read.clear()
    book.append("amend", {}, nonce="fresher")
    assert min(read) == 0


@pytest.mark.parametrize("spoil", ["gone", "empty", "garbage", "folder", "older", "of another ledger", "other boot"])
def test_whatever_happens_to_it(book, tmp_path, spoil, monkeypatch):
    path = book.folder / index.NAME
    book.append("amend", {})
    older = path.read_bytes()
    book.append("amend", {})
    if spoil == "gone":
        path.unlink()
    elif spoil == "empty":
        path.write_bytes(b"")
    elif spoil == "garbage":
        path.write_bytes(b"\xff" * 5000)
    elif spoil == "folder":
        path.unlink()
        path.mkdir()
    elif spoil == "older":
        path.write_bytes(older)
    elif spoil == "of another ledger":
        other = Ledger(tmp_path / "other")
        for i in range(30):
            other.append("amend", {"other": i})
        path.write_bytes((other.folder / index.NAME).read_bytes())
    else:
        monkeypatch.setattr(index, "_boot", lambda: "another")
    answers(book)


def test_a_restored_ledger_is_not_searched_by_the_index_of_the_lost_one(book):
    path = book.folder / "entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:10]))
    entry = book.append("amend", {"new": True}, nonce="n15")  # stood in the part that was lost
    assert entry.seq == 10
    answers(book)


CHANGES = {
    "nonces left out": "DELETE FROM place WHERE what = 1",
    "hashes left out": "DELETE FROM place WHERE what = 0",
    "one left out": "DELETE FROM place WHERE (what, key, offset) IN (SELECT * FROM place WHERE what = 1 LIMIT 1)",
    "moved": "UPDATE place SET offset = offset + 7 WHERE offset > 1000",
    "another's key": "UPDATE place SET key = key + 1",
    "too many": "INSERT OR IGNORE INTO place SELECT what, key, 0 FROM place",
    "beyond the end": "INSERT OR IGNORE INTO place SELECT what, key, 10000000 FROM place",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_others_write_into_it_is_not_believed(book, change):
    """The attack: without the row of a nonce the same nonce is entered twice, and the ledger broken for ever."""
    base = sqlite3.connect(book.folder / index.NAME)
    with base:
        assert base.execute(CHANGES[change]).rowcount > 0
    base.close()
    entries = list(book)
    for entry in entries:
        assert book.append("amend", entry.body, nonce=entry.nonce) == entry
    assert [e.hash for e in book] == [e.hash for e in entries]
    answers(book)


def test_one_that_is_handed_over_with_its_stamp_is_made_anew(book, tmp_path):
    base = sqlite3.connect(book.folder / index.NAME)
    with base:
        base.execute("DELETE FROM place")
    base.close()
    shutil.copytree(book.folder, tmp_path / "copy", dirs_exist_ok=True)
    answers(Ledger(tmp_path / "copy"))


@pytest.mark.parametrize("stamp", [b"", b"\xff\xfe", None])
def test_without_a_sound_stamp_it_is_made_anew(book, stamp):
    path = book.folder / index.STAMP
    path.unlink()
    if stamp is None:
        path.mkdir()
    else:
        path.write_bytes(stamp)
    answers(book)


def test_keys_and_reveals_are_found_by_it(tmp_path):
    key = SigningKey.generate()
    book = Ledger(tmp_path, key=key)
    book.append("key", Statement(Action.NEW, key.public).body)
    for _ in range(5):
        book.append("amend", {"text": '"kind":"key"'})
    book.append("key", Statement(Action.REVOKE, key.public).body)
    with pytest.raises(InputError, match="was revoked in entry 6"):
        book.append("amend", {})
    assert book.verify().ok


def test_a_torn_tail_that_is_mended_enters_it(book):
    path = book.folder / "entries.jsonl"
    line = book.append("amend", {"late": 1}, nonce="late").line
    path.write_bytes(path.read_bytes()[:-1])
    assert book.append("amend", {"late": 1}, nonce="late").line == line
    with open(path, "ab") as file:
        file.write(b'{"body"')
    answers(book)


def test_garbage_in_the_middle_stops_nothing_but_verify(book):
    path = book.folder / "entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], b"garbage\n", *lines[5:]]))
    (book.folder / index.NAME).unlink()
    with pytest.raises(LedgerError, match="entry 5"):
        list(book)
    assert book.append("amend", {"i": 7}, nonce="n7").seq == 7


def test_heads_are_read_from_the_end(book):
    for _ in range(4):
        book.append("amend", {})
        book.remember()
    heads = (book.folder / "heads.jsonl").read_bytes()
    assert len(heads.splitlines()) == 4
    (book.folder / "heads.jsonl").write_bytes(b"old garbage\n" + heads)
    book.append("amend", {})  # only the newest head is asked; verify names the garbage
    assert [p.message.split(" (")[0] for p in book.verify().problems] == ["head 0"]
