"""Proofs that travel: each holds by itself, and no changed one does."""

import copy
import itertools
import json

import pytest

from scaling import records
from scaling.errors import InputError, LedgerError, ScalingError
from scaling.registry import Ledger, exported, proofs
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SignedHead, SigningKey


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
            with pytest.raises(LedgerError, match="no key that was entered"):
                proofs.check({**proof, "entries": list(kept)})
