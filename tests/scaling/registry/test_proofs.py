"""Proofs that travel: each holds by itself, and no changed one does."""

import copy
import itertools
import json

import pytest

from scaling import records
from scaling.errors import InputError, LedgerError, ScalingError
from scaling.registry import Ledger, exported, proofs, remarks
from scaling.registry import book as books
from scaling.registry.entries import Kind, make_entry
from scaling.registry.keys import Action, Statement
from scaling.registry.merkle import Checkpoint, Tree, leaf_hash
from scaling.registry.signing import SignedHead, SigningKey
from tests.predictions import COMPLETE, ask, forecast


@pytest.fixture
def key():
    return SigningKey.generate()


@pytest.fixture
def book(tmp_path, key):
    book = Ledger(tmp_path / "ledger", key=key)
    book.append("key", Statement(Action.NEW, key.public).body)
    told = book.append("prediction", {"value": 0.5})
    book.append("start", {"prediction": told.hash})
    Ledger(book.folder).append("withdraw", {"prediction": told.hash, "reason": "wrong data"})
    book.append("prediction", {"value": 0.6})
    return book


def test_every_entry_has_a_proof_that_holds_by_itself(book, key):
    for entry in book:
        proven = proofs.check(json.loads(json.dumps(proofs.prove(book, entry.hash))))
        assert (proven.entry, proven.head) == (entry, book.head())
        assert proven.signer == (key.public if entry.sig else None)
        assert proven.head_signer == key.public
    told = list(book)[1]
    proven = proofs.check(proofs.prove(book, told.hash))
    assert [e.kind for e in proven.related] == ["start", "withdraw"]
    assert any("WITHDRAWN in entry 3" in line and "wrong data" in line for line in exported.sentences(proven))


def test_a_head_in_a_proof_is_remembered(book, tmp_path):
    proofs.prove(book, next(iter(book)).hash)
    lines = (book.folder / "entries.jsonl").read_bytes().splitlines(keepends=True)
    (book.folder / "entries.jsonl").write_bytes(b"".join(lines[:-1]))
    assert "cut off" in book.verify().problems[0].message


def test_every_changed_proof_fails(book):
    """Each string of the proof cut, lengthened, emptied, given another digit or another's place; each part left out."""
    proof = proofs.prove(book, list(book)[1].hash)
    proofs.check(proof)
    attempts = []
    for name in proof:
        attempts += [{k: v for k, v in proof.items() if k != name}, {**proof, name: None}, {**proof, name: 7}]
    for i, item in enumerate(proof["entries"]):
        changed = [{"line": item["line"][:-1]}, {"line": item["line"].replace('"v":1}', '"v":2}')}]
        changed += [{"line": item["line"].replace("0.5", "0.7")}] * ("0.5" in item["line"])
        changed += [{"path": item["path"][:-1]}, {"path": [*item["path"], "00" * 32]}, {"path": item["path"][::-1]}]
        changed += [{"path": "x"}, {"path": [7]}, {"path": ["00" * 32] * 65}, {"more": 1}]
        for k, node in enumerate(item["path"]):
            changed += [{"path": [*item["path"][:k], node[:-1] + "0123456789abcdef"[int(node[-1], 16) ^ 1],
                                  *item["path"][k + 1 :]]}]  # fmt: skip
        for change in changed:
            other = copy.deepcopy(proof)
            other["entries"][i].update(change)
            attempts.append(other)
        attempts.append({**proof, "entries": [*proof["entries"][:i], *proof["entries"][i + 1 :]]} if i == 0 else {})
    attempts += [
        {**proof, "entry": "0" * 64},
        {**proof, "entries": proof["entries"][::-1]},
        {**proof, "entries": proof["entries"] * 2},
        {**proof, "checkpoint": proof["checkpoint"].replace("\n5\n", "\n6\n")},
        {**proof, "checkpoint": proof["checkpoint"].split("\n\n")[0]},
        {**proof, "type": "scaling-consistency"},
        [],
        None,
    ]
    for attempt in attempts:
        with pytest.raises(ScalingError):
            proofs.check(attempt)


def test_a_proof_of_another_entry_cannot_be_slipped_in(book):
    entries = list(book)
    proof, other = proofs.prove(book, entries[1].hash), proofs.prove(book, entries[4].hash)
    with pytest.raises(LedgerError, match="has nothing to do with it"):
        proofs.check({**proof, "entries": [*proof["entries"], other["entries"][-1]]})


def test_nothing_is_proven_out_of_a_broken_ledger(book):
    path = book.folder / "entries.jsonl"
    told = list(book)[1]
    path.write_bytes(path.read_bytes().replace(b"0.6", b"0.8"))
    with pytest.raises(LedgerError, match=r"entry 4 \(line 5, byte \d+\)"):
        proofs.prove(book, told.hash)
    with pytest.raises(InputError, match="hash of no entry"):
        proofs.prove(Ledger(other_of(book)), "f" * 64)


def other_of(book):
    folder = book.folder.with_name("other")
    Ledger(folder).append("amend", {})
    return folder


def test_consistency_between_all_heads(book, tmp_path, key):
    heads = []
    for _ in range(6):
        heads.append(SignedHead.sign(book.head(), key if len(heads) % 2 else None))
        book.append("amend", {})
    for old in heads:
        proof = proofs.prove_consistency(book, old)
        assert proofs.check_consistency(proof) == (old.head, book.head())
        for change in ({"path": proof["path"][1:]}, {"path": [*proof["path"], "00" * 32]}, {"old": 3}, {"v": 2}):
            if change != {"path": []} or proof["path"]:
                with pytest.raises(ScalingError):
                    proofs.check_consistency({**proof, **change})
    other = Ledger(other_of(book))
    with pytest.raises(LedgerError, match=r"are two ledgers|the newest were cut off"):
        proofs.prove_consistency(other, heads[0])
    stranger = SignedHead.sign(heads[0].head, SigningKey.generate())
    with pytest.raises(LedgerError, match="no key of this ledger made"):
        proofs.prove_consistency(book, stranger)


def test_a_rewritten_ledger_is_not_consistent_with_an_earlier_head(tmp_path, forge):
    book = Ledger(tmp_path)
    for _ in range(3):
        book.append("amend", {"x": 1})
    held = SignedHead(book.head())
    (first, *rest) = (tmp_path / "entries.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "entries.jsonl").write_bytes(first)
    with pytest.raises(LedgerError, match="has 1 entries, the head held has 3: the newest were cut off"):
        proofs.prove_consistency(book, held)
    (tmp_path / "heads.jsonl").unlink()
    for _ in rest * 2:
        book.append("amend", {"x": 2})
    with pytest.raises(LedgerError, match=r"head not consistent.*rewritten") as caught:
        proofs.prove_consistency(book, held)
    assert caught.value.exit_code == 4


def test_half_a_file_and_nonsense_are_refused_in_one_sentence(book, tmp_path):
    path = tmp_path / "proof.json"
    whole = records.canonical(proofs.prove(book, list(book)[1].hash))
    path.write_bytes(whole)
    assert exported.check_file(path).what == "proof"
    for data in (b"", whole[: len(whole) // 2], b"[]", b"{}", b"\xff", b"<html>", b"%PDF-1.7\n", whole + whole):
        path.write_bytes(data)
        with pytest.raises(InputError):
            exported.check_file(path)
    with pytest.raises(InputError, match="could not be read"):
        exported.check_file(tmp_path / "missing")


def test_one_report_model_belongs_in_a_page(tmp_path):
    path = tmp_path / "r.html"
    script = '<script type="application/json" id="report-model">{"x": "\\u003c/script\\u003e"}</script>'
    for page, says in ((f"<html>{script}", None), (f"<p>{script}{script}", "carries 2"), ("<p>", "carries 0")):
        path.write_text(page)
        if says:
            with pytest.raises(InputError, match=says):
                exported.read(path)
        else:
            assert exported.read(path) == {"x": "</script>"}


def test_keys_of_a_proof_speak_for_themselves(book, key):
    """Whoever drops the revocation, or the key, from a proof gains nothing but an error or a proof of less."""
    book.append("key", Statement(Action.REVOKE, key.public).body)
    told = list(book)[1]
    proof = proofs.prove(Ledger(book.folder), told.hash)
    proven = proofs.check(proof)
    assert proven.signer == key.public and proven.head_signer is None
    for kept in itertools.combinations(proof["entries"], len(proof["entries"]) - 1):
        if proof["entries"][0] not in kept:  # the key itself: the signature is then by nobody
            with pytest.raises(LedgerError, match="lacks the first entry"):
                proofs.check({**proof, "entries": list(kept)})


def predicted(ledger, middle=0.5):
    """A prediction that a reader can make sense of."""
    return books.register(ledger, [ask()], [forecast(middle=middle)], **COMPLETE)


def written(tmp_path, proof):
    path = tmp_path / "proof.json"
    path.write_bytes(records.canonical(proof))
    return exported.check_file(path)


def without(proof, *seqs):
    """What is left when entries are taken out: each that remains still leads to the head."""
    return {**proof, "entries": [e for e in proof["entries"] if json.loads(e["line"])["seq"] not in seqs]}


def test_a_withdrawal_that_was_taken_out_is_seen_with_the_ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    told = predicted(ledger)
    remarks.withdraw(ledger, told.hash, "wrong data")
    proof = proofs.prove(ledger, told.hash)
    cut = written(tmp_path, without(proof, 1))
    assert not any("WITHDRAWN" in line for line in cut.says) and "only the ledger shows" in cut.alone
    with pytest.raises(LedgerError, match=r"leaves out entry 1 \(withdraw\), which stands under its head"):
        exported.against(cut, ledger)
    whole = written(tmp_path, proof)
    assert exported.against(whole, ledger)[-1] == "nothing about it was left out, and nothing was entered since"


def test_what_came_after_a_proof_is_told(tmp_path, key):
    book = Ledger(tmp_path / "ledger", key=key)
    book.append("key", Statement(Action.NEW, key.public).body)
    told = predicted(book)
    checked = written(tmp_path, proofs.prove(book, told.hash))
    book.append("withdraw", {"prediction": told.hash, "reason": "wrong data"})
    predicted(book, 0.6)
    book.append("key", Statement(Action.REVOKE, key.public, reason="stolen").body)
    *_, first, second = exported.against(checked, book)
    assert first.startswith("since then: WITHDRAWN in entry 2, dated ") and first.endswith(": wrong data")
    assert second.startswith(f"since then: revoke key {key.public.id} in entry 4, ") and second.endswith(": stolen")


def test_a_thief_of_a_revoked_key(tmp_path, key):
    """His proof that hides the revocation holds by itself, and says what it cannot show; the ledger shows it."""
    book = Ledger(tmp_path / "ledger", key=key)
    book.append("key", Statement(Action.NEW, key.public).body)
    honest = predicted(book)
    book.append("key", Statement(Action.REVOKE, key.public, reason="stolen").body)
    entries = list(book)
    stolen = make_entry(Kind.PREDICTION, honest.body, "thief", entries[-1].time, entries[-1], key.sign)
    tree = Tree([leaf_hash(e.line) for e in (*entries, stolen)])
    head = Checkpoint(f"scaling-ledger/{entries[0].hash[:16]}", 4, tree.root(0, 4))
    made = {
        "type": proofs.ENTRY,
        "v": 1,
        "entry": stolen.hash,
        "checkpoint": SignedHead.sign(head, key).text,
        "entries": [
            {"line": e.line.decode(), "path": [node.hex() for node in tree.inclusion(e.seq)]}
            for e in (entries[0], stolen)
        ],
    }
    checked = written(tmp_path, made)
    assert "the end of a key" in checked.alone
    with pytest.raises(LedgerError, match="head not consistent"):
        exported.against(checked, book)
    (book.folder / "entries.jsonl").write_bytes(b"".join(e.line + b"\n" for e in (*entries, stolen)))
    with pytest.raises(LedgerError, match=r"bad signature: entry 3 .* which was revoked in entry 2"):
        exported.against(checked, book)
    made["entries"].insert(1, {"line": entries[2].line.decode(), "path": [n.hex() for n in tree.inclusion(2)]})
    with pytest.raises(LedgerError, match="revoked in entry 2"):
        proofs.check(made)
    (book.folder / "entries.jsonl").write_bytes(b"".join(e.line + b"\n" for e in entries))
    heads = book.folder / "heads.jsonl"
    for call in (lambda: proofs.prove(book, honest.hash), lambda: proofs.signed_head(book)):
        with pytest.raises(InputError, match="was revoked in entry 2"):
            call()
    assert not heads.exists()
    proof = proofs.prove(Ledger(book.folder), honest.hash)
    signed = SignedHead.sign(book.head(), key).text
    with pytest.raises(LedgerError, match=r"the head of 3 entries is signed by key .* which was revoked in entry 2"):
        proofs.check({**proof, "checkpoint": signed})


def test_the_ledgers_name_is_that_of_its_first_entry(tmp_path):
    """Of an unsigned proof the origin line could say anything."""
    book = Ledger(tmp_path / "ledger")
    book.append("amend", {})
    told = book.append("prediction", {"value": 0.5})
    proof = proofs.prove(book, told.hash)
    assert [json.loads(e["line"])["seq"] for e in proof["entries"]] == [0, 1]
    assert proofs.check(proof).related == ()
    other = {**proof, "checkpoint": "example.org/log\n" + proof["checkpoint"].partition("\n")[2]}
    with pytest.raises(LedgerError, match=r"head is of example.org/log, which this first entry does not begin"):
        proofs.check(other)
    with pytest.raises(LedgerError, match="lacks the first entry"):
        proofs.check(without(other, 0))
    elsewhere = Checkpoint("example.org/log", 2, book.head().root)
    (problem,) = book.verify([elsewhere]).problems
    assert "is of example.org/log, and this ledger is scaling-ledger/" in problem.message


def test_a_consistency_proof_says_whose_heads_it_speaks_of(tmp_path, key):
    """A made-up log proves itself consistent: the names and roots are printed, and that nobody's signature was seen."""
    book = Ledger(tmp_path / "ledger", key=key)
    book.append("key", Statement(Action.NEW, key.public).body)
    leaves = [leaf_hash(b"%d" % i) for i in range(9)]
    tree = Tree(leaves)
    heads = {size: Checkpoint("scaling-ledger/abc", size, tree.root(0, size)) for size in (0, 5, 9)}
    garbage = SignedHead(heads[5], (("x", b"abcd", b"z" * 64),))

    def made(old):
        path = [node.hex() for node in tree.consistency(old.head.size)]
        return {"type": proofs.CONSISTENCY, "v": 1, "old": old.text, "new": heads[9].text, "path": path}

    checked = written(tmp_path, made(garbage))
    says = " ".join(checked.says)
    assert all(h.origin in says and h.root.hex() in says for h in (heads[5], heads[9]))
    assert "who signed them, is NOT checked" in checked.alone
    with pytest.raises(LedgerError, match="head not consistent"):
        exported.against(checked, book)
    with pytest.raises(InputError, match="of no entries: every ledger continues it"):
        written(tmp_path, made(SignedHead(heads[0])))
    old = proofs.signed_head(book)
    book.append("amend", {})
    proof = proofs.prove_consistency(book, old)
    assert sum("signed by key" in line for line in exported.against(written(tmp_path, proof), book)) == 2
    unknown = {**proof, "old": SignedHead.sign(old.head, SigningKey.generate()).text}
    with pytest.raises(LedgerError, match="no key of this ledger made"):
        exported.against(written(tmp_path, unknown), book)
