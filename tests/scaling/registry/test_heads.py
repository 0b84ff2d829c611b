"""A head is remembered while other processes write: they need not wait, and it is of what the file then holds."""

import subprocess
import sys

import pytest

from scaling.errors import LedgerError
from scaling.registry import Ledger

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
