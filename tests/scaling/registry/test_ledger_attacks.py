"""Every byte cut, every bit flipped, and the attacks that a chain of hashes is there to show, or cannot show."""

import itertools
import os

import pytest

from scaling.errors import LedgerError
from scaling.registry import Ledger, Reason
from scaling.registry.journal import MAX_LINE

CALLS = [list, Ledger.head, Ledger.remember, lambda book: book.append("key", {})]


def first(book, heads=()):
    return book.verify(heads).problems[0]


def test_every_flipped_bit_is_named(book, path):
    sound = path.read_bytes()
    line_of = [sound[:i].count(b"\n") for i in range(len(sound))]
    starts = [0, *(i + 1 for i, byte in enumerate(sound) if byte == 10)]
    with open(path, "r+b", buffering=0) as file:
        for position, bit in itertools.product(range(len(sound)), range(8)):
            os.pwrite(file.fileno(), bytes([sound[position] ^ 1 << bit]), position)
            problem, index = first(book), line_of[position]
            os.pwrite(file.fileno(), sound[position : position + 1], position)
            assert (problem.index, problem.line, problem.offset) == (index, index + 1, starts[index]), (position, bit)
            assert problem.reason == (Reason.TORN_TAIL if position == len(sound) - 1 else Reason.BAD_ENTRY)
    assert book.verify().ok


def test_a_flip_in_the_last_entry_stops_the_next_append(book, path):
    sound = path.read_bytes()
    start = sound[:-1].rindex(b"\n") + 1
    for position in range(start, len(sound) - 1):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        with pytest.raises(LedgerError, match=r"entry [23] \(line [34], byte \d+\)"):
            book.append("key", {})
    path.write_bytes(sound[:-1] + b"\x0b")  # without its newline it is a tail: set aside, whole and findable
    assert book.append("key", {}).seq == 2
    (torn,) = book.folder.glob("torn-*")
    assert torn.read_bytes() == sound[start:-1] + b"\x0b"


def test_every_cut_is_repaired_and_seen_by_a_remembered_head(book, path):
    sound, head = path.read_bytes(), book.head()
    ends = [i + 1 for i, byte in enumerate(sound) if byte == 10]
    for cut in range(len(sound)):
        path.write_bytes(sound[:cut])
        whole, tail = sum(end <= cut for end in ends), sound[:cut].rpartition(b"\n")[2]
        alone, with_head = book.verify(), book.verify([head])
        assert alone.entries == whole
        assert [p.reason for p in alone.problems] == [Reason.TORN_TAIL] * bool(tail)  # a clean cut shows nothing
        assert with_head.problems[-1].reason == Reason.HEAD_NOT_CONSISTENT
        assert f"only {whole} are here" in with_head.problems[-1].message
        entry = book.append("key", {})
        assert entry.seq == whole + (cut + 1 in ends)  # an entry that lost its newline alone is kept
        assert book.verify().ok
        aside = list(book.folder.glob("torn-*"))
        assert [path.read_bytes() for path in aside] == ([tail] if tail and cut + 1 not in ends else [])
        for file in aside:
            file.unlink()


@pytest.mark.parametrize("tail", [b"\0" * 5000, b'{"body":{},"hash"' + b"\0" * 300, b"\0x", b"{", b"\xff" * 70_000])
def test_a_tail_without_newline_is_set_aside(book, path, tail):
    path.write_bytes(path.read_bytes() + tail)
    assert first(book).reason == Reason.TORN_TAIL
    assert len(list(book)) == book.head().size == book.remember().size == 3
    assert book.append("key", {}).seq == 3
    report = book.verify()
    assert report.ok
    assert f"{len(tail)} bytes of an append that died" in report.warnings[0]
    assert next(book.folder.glob("torn-*")).read_bytes() == tail


@pytest.mark.parametrize(
    "tail",
    [
        b"\n",
        b"garbage\n",
        b"\0" * 512 + b"\n",
        b"{}\n",
        b"[" * 100_000 + b"\n",
        b"x" * (MAX_LINE + 9) + b"\n",
        b"x" * (2 * MAX_LINE + 99),
    ],
)
def test_garbage_that_ends_in_a_newline_is_refused_and_named(book, path, tail):
    end = path.stat().st_size
    path.write_bytes(path.read_bytes() + tail)
    before = path.read_bytes()
    assert (first(book).index, first(book).offset) == (3, end)
    if tail.endswith(b"\n"):
        assert first(book).reason == Reason.BAD_ENTRY
        for call in CALLS[:3]:
            with pytest.raises(LedgerError, match=rf"entry 3 \(line 4, byte {end}\)") as caught:
                call(book)
            assert (caught.value.index, caught.value.line, caught.value.offset) == (3, 4, end)
    with pytest.raises(LedgerError, match=r"entry 3|no line ends"):
        book.append("key", {})
    assert path.read_bytes() == before
    assert not list(book.folder.glob("torn-*"))


def test_edits_reorderings_and_insertions_are_named(book, path, rehash):
    a, b, c = path.read_bytes().splitlines(keepends=True)
    edited = rehash(a, body={"compute_flop": 1e18, "value": 0.71})
    for lines, index, reason in (
        ([a.replace(b"0.67", b"0.71"), b, c], 0, "hash does not match"),
        ([edited, b, c], 1, "prev is not the hash of the entry before"),
        ([b, a, c], 0, "seq is 1 where 0 belongs"),
        ([a, c, b], 1, "seq is 2 where 1 belongs"),
        ([b, c], 0, "seq is 1 where 0"),
        ([a, c], 1, "seq is 2 where 1"),
        ([a, b, b, c], 2, "seq is 1 where 2"),
        ([a, rehash(b, seq=1, nonce="new"), b, c], 2, "seq is 1 where 2"),
        ([a, b, rehash(c, prev="f" * 64)], 2, "prev is not the hash"),
        ([a, b, c.replace(b'"sig":null', b'"sig":""')], 2, "signed"),
    ):
        path.write_bytes(b"".join(lines))
        problem = first(book)
        assert (problem.reason, problem.index) == (Reason.BAD_ENTRY, index), reason
        assert reason in problem.message
        for call in (list, Ledger.head):
            with pytest.raises(LedgerError, match=reason) as caught:
                call(book)
            assert caught.value.index == index
        with pytest.raises(LedgerError) as raised:
            book.verify().raise_first()
        assert (raised.value.index, raised.value.offset) == (index, problem.offset)
        assert raised.value.exit_code == 4


def test_an_outcome_before_its_prediction_is_named(book, path, forge):
    told = next(book.entries())
    for contents, index in (
        ([("outcome", {"value": 1})], 0),
        ([("start", {"prediction": told.hash}), ("prediction", dict(told.body))], 0),
        ([("key", {}), ("outcome", {"prediction": "f" * 64})], 1),
        ([("key", {}), ("amend", {"prediction": None})], 1),
    ):
        path.write_bytes(forge(*contents))
        (problem,) = book.verify().problems
        assert (problem.reason, problem.index) == (Reason.OUTCOME_BEFORE_PREDICTION, index)


def test_an_outcome_moved_before_its_prediction_is_named_twice(book, path):
    a, b, c = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(c + a + b)
    assert {p.reason for p in book.verify().problems if p.index == 0} == {
        Reason.BAD_ENTRY,
        Reason.OUTCOME_BEFORE_PREDICTION,
    }


def test_a_reused_nonce_is_named(book, path, forge):
    path.write_bytes(forge(("key", {}), ("key", {}), nonces=["same", "same"]))
    (problem,) = book.verify().problems
    assert (problem.reason, problem.index) == (Reason.BAD_ENTRY, 1)


def test_the_owner_rewrites_everything_and_only_a_remembered_head_sees_it(book, path, forge):
    held = book.head()
    told, _, outcome = book.entries()
    path.write_bytes(forge(("prediction", {**told.body, "value": 0.71}), times=[told.time]))
    better = book.append("start", {"prediction": next(book.entries()).hash}).prediction
    book.append("outcome", {**outcome.body, "prediction": better})
    assert book.verify().ok  # the chain is perfect: that is why heads are handed out
    (problem,) = book.verify([held]).problems
    assert problem.reason == Reason.HEAD_NOT_CONSISTENT
    assert "was rewritten" in problem.message


def test_heads_in_the_folder_see_a_cut_a_rewrite_and_a_deletion(book, path, forge):
    sound = path.read_bytes()
    book.remember()
    lines = sound.splitlines(keepends=True)
    for content, reason in (
        (lines[0], "only 1 are here"),
        (b"", "only 0 are here"),
        (None, "only 0 are here"),
        (forge(("key", {}), ("key", {}), ("key", {})), "was rewritten"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        (problem,) = book.verify().problems
        assert problem.reason == Reason.HEAD_NOT_CONSISTENT
        assert reason in problem.message
        if "only" in reason:
            with pytest.raises(LedgerError, match="were cut off"):
                book.append("key", {})
    path.write_bytes(sound)
    book.append("key", {})
    book.remember()
    assert book.verify().ok


def test_damaged_heads_are_named_never_skipped(book):
    book.remember()
    file = book.folder / "heads.jsonl"
    sound = file.read_bytes()
    for content, reason in (
        (b"garbage\n", Reason.HEAD_NOT_CONSISTENT),
        (sound[:-1], Reason.TORN_TAIL),
        (sound.replace(b'"size":3', b'"size":4'), Reason.HEAD_NOT_CONSISTENT),
        (sound.replace(b'"size":3', b'"size":-3'), Reason.HEAD_NOT_CONSISTENT),
        (sound.replace(b'"v":1', b'"v":true'), Reason.HEAD_NOT_CONSISTENT),
        (sound.replace(b"{", b"{ "), Reason.HEAD_NOT_CONSISTENT),
        (sound.replace(b'"root":"', b'"root":"A'), Reason.HEAD_NOT_CONSISTENT),
    ):
        file.write_bytes(content)
        assert first(book).reason == reason
    file.write_bytes(b"garbage\n")
    for call in (Ledger.remember, CALLS[-1]):
        with pytest.raises(LedgerError, match=r"byte 0\)? of heads\.jsonl"):
            call(book)
    file.write_bytes(sound + sound[:30])
    book.append("key", {})
    assert book.remember().size == 4
    assert book.verify().ok


def test_the_list_of_problems_is_bounded(book, path):
    path.write_bytes(b"x\n" * 500)
    report = book.verify()
    assert (len(report.problems), report.entries) == (100, 500)


def test_what_is_planted_beside_a_ledger_is_told_and_not_followed(book):
    (book.folder / "torn-1").symlink_to(book.folder / "nowhere")
    (book.folder / "torn-2").mkdir()
    (book.folder / "torn-3").write_bytes(b"{")
    report = book.verify()
    assert report.ok
    assert report.warnings == (
        "torn-1 is no plain file: it was put there",
        "torn-2 is no plain file: it was put there",
        "torn-3 holds 1 bytes of an append that died",
    )
