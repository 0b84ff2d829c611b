"""A head is remembered while other processes write: they need not wait, and it is of what the file then holds."""

import errno
import os
import subprocess
import sys

import pytest

from scaling.errors import InputError, LedgerError
from scaling.registry import Ledger, proofs
from scaling.registry.entries import make_entry
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey

OTHER = """
import sys
from scaling.registry import Ledger, journal
journal.LOCK_PATIENCE_S = 1.0  # of a writer that the reader keeps waiting nothing is acknowledged
book = Ledger(sys.argv[1])
for i in range(int(sys.argv[2])):
    print(book.append("key", {"i": i}).hash)
if sys.argv[3:]:
    book.remember()
"""


def another(book, count, *words):
    """Another process appends so many entries and is gone again: their hashes."""
    command = [sys.executable, "-c", OTHER, str(book.folder), str(count), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def when_first_seen(call):
    """A visitor who calls once, in the middle of the reading."""
    said = []

    def visit(entry):
        seen.append(entry.seq)
        if entry.seq == 1:
            said.extend(call())

    seen = []
    return visit, seen, said


@pytest.mark.parametrize("words", [[], ["remember"]])
def test_others_append_while_a_head_is_remembered(book, words):
    visit, seen, acknowledged = when_first_seen(lambda: another(book, 3, *words))
    head = book.remember(visit)
    assert len(acknowledged) == 3
    assert seen == list(range(6)) and {e.hash for e in book} >= set(acknowledged)
    assert head == book.head() and head.size == 6
    noted = (book.folder / "heads.jsonl").read_bytes().splitlines()
    assert len(noted) == 1 and head.root.hex().encode() in noted[0]
    assert book.verify([head]).ok


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_file_that_was_replaced_meanwhile_is_not_remembered(book, path, forge, kept):
    """By a rewritten one, by a shorter one, by the same with another end: each as long as it may be."""
    sound = path.read_bytes().splitlines(keepends=True)
    other = forge(*[("key", {"i": i}) for i in range(9)])
    visit, *_ = when_first_seen(lambda: path.write_bytes(b"".join(sound[:kept]) + other) and [])
    with pytest.raises(LedgerError, match=r"was changed while it was read\. Hint: run verify"):
        book.remember(visit)
    assert not (book.folder / "heads.jsonl").exists()


def test_what_arrives_meanwhile_is_checked_too(book, path):
    """A line that does not follow, behind those that were read: its place is told, nothing is remembered."""
    sound = path.read_bytes()
    visit, *_ = when_first_seen(lambda: path.write_bytes(sound + sound.splitlines(keepends=True)[0]) and [])
    with pytest.raises(LedgerError, match=rf"entry 3 \(line 4, byte {len(sound)}\): seq is 0 where 3 belongs"):
        book.remember(visit)
    assert not (book.folder / "heads.jsonl").exists()


def test_a_torn_tail_that_is_set_aside_meanwhile(book, path):
    path.write_bytes(path.read_bytes() + b'{"body":')
    visit, *_ = when_first_seen(lambda: another(book, 1))
    assert book.remember(visit) == book.head()
    assert (book.head().size, book.verify().ok, len(list(book.folder.glob("torn-*")))) == (4, True, 1)


def test_many_writers_and_many_heads(tmp_path):
    """Every head that was remembered is a head that the ledger had, and they stand in order."""
    book = Ledger(tmp_path / "book")
    book.append("key", {})
    command = [sys.executable, "-c", OTHER, str(book.folder), "12", "remember"]
    writers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    heads = [book.remember()]
    while any(writer.poll() is None for writer in writers):
        heads.append(book.remember())
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert book.verify(heads).ok and book.head().size == 37
    noted, *faults = book._heads.read()
    assert faults == [[], []] and [h.size for h in noted] == sorted({h.size for h in noted})


def test_what_was_verified_is_remembered_without_reading_it_again(book, path):
    """With what came since; and not where the file is another by now."""
    report, more = book.verify(), book.append("key", {})
    assert book.remember(verified=report) == book.head() and book.head().size == 4
    report = book.verify()
    path.write_bytes(path.read_bytes().replace(more.hash.encode(), b"0" * 64))
    with pytest.raises(LedgerError, match="was changed"):
        book.remember(verified=report)
    with pytest.raises(LedgerError, match="bad entry"):
        book.remember(verified=book.verify())
    assert len((book.folder / "heads.jsonl").read_bytes().splitlines()) == 1


def test_no_head_is_handed_out_that_contradicts_an_earlier_one(tmp_path):
    """The owner writes everything anew with the real key, as long as it was: whoever reads the ledger is told."""
    key = SigningKey.generate()
    book = Ledger(tmp_path / "book", key=key)
    book.append("key", Statement(Action.NEW, key.public).body)
    for value in (1, 2):
        book.append("amend", {"value": value})
        book.remember()
    before, path = (book.folder / "heads.jsonl").read_bytes(), book.folder / "entries.jsonl"
    last, lines, held = None, [], list(book)
    for entry in held:
        last = make_entry(entry.kind, entry.body | {"name": "me"}, entry.nonce, entry.time, last, key.sign)
        lines.append(last.line + b"\n")
    for count in (2, 3):  # both heads contradicted, or cut as well
        path.write_bytes(b"".join(lines[:count]))
        for call in (list, Ledger.head, Ledger.remember, lambda b: proofs.prove(b, last.hash)):
            with pytest.raises(LedgerError, match=r"head 0 \(line 1, byte 0\) of heads.jsonl says that 2 entries had"):
                call(book)
    path.write_bytes(b"".join([*(e.line + b"\n" for e in held[:2]), *lines[2:]]))
    with pytest.raises(LedgerError, match="prev is not the hash"):
        book.remember()
    last = make_entry(held[2].kind, {"value": 3}, "n", held[2].time, held[1], key.sign)
    path.write_bytes(b"".join(e.line + b"\n" for e in (*held[:2], last)))
    offset = before.index(b"\n") + 1
    with pytest.raises(LedgerError, match=rf"head 1 \(line 2, byte {offset}\) of heads.jsonl says that 3 entries"):
        book.remember()
    assert (book.folder / "heads.jsonl").read_bytes() == before


def test_a_broken_line_among_the_heads_is_named_by_its_byte(book):
    for _ in range(2):
        book.append("key", {})
        book.remember()
    file = book.folder / "heads.jsonl"
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + b"garbage\n" + second)
    where = rf"head 1 \(line 2, byte {len(first)}\) of heads.jsonl is not valid"
    with pytest.raises(LedgerError, match=where):
        book.remember()
    with pytest.raises(LedgerError, match=where):
        book.verify().raise_first()


def test_where_nothing_can_be_written_a_head_is_read_and_not_remembered(book, path, monkeypatch):
    """A read-only file system: every call that would write is refused by it."""
    real, sound = os.open, path.read_bytes()

    def read_only(name, flags, *mode):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(name, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    told = next(iter(book)).hash
    for head in (book.remember(), book.remember(verified=book.verify())):
        assert head == book.head() and not book.remembers(head)
    assert proofs.check(proofs.prove(book, told)).entry.hash == told
    with pytest.raises(InputError, match="Read-only file system"):
        book.append("key", {})
    monkeypatch.undo()
    assert path.read_bytes() == sound
    assert book.remembers(book.remember())
