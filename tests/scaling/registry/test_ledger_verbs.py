"""The ledger's verbs, as a user types them."""

import json

import pytest

from scaling.ledger_verbs import amend, key, ledger, prove, reveal, withdraw
from scaling.registry import Ledger, keyfiles
from tests.predictions import REGISTER

VERBS = {"amend": amend, "key": key, "ledger": ledger, "prove": prove, "reveal": reveal, "withdraw": withdraw}


def test_the_whole_path_of_a_signed_prediction(type_, tmp_path):
    assert type_("key new --name me --ledger book")[0] == 0
    assert (tmp_path / "config/scaling/key.pem").stat().st_mode & 0o777 == 0o600
    assert type_(REGISTER)[0] == 0
    code, head, _ = type_("ledger head --ledger book")
    assert code == 0 and head.split("\n")[1] == "2" and "\n— scaling-ledger/" in head
    (tmp_path / "head.txt").write_text(head)
    assert type_("resolve latest --value 2.06 --ledger book")[0] == 0
    assert type_("amend latest --text half_the_problems --ledger book")[0] == 0
    assert type_("ledger check --consistent-with head.txt -o c.json --ledger book")[0] == 0
    assert type_("prove latest -o p.json --ledger book")[0] == 0
    code, out, err = type_("verify --ledger book")
    assert code == 0 and "4 signed by key" in out and "0 unsigned" in out and "half_the_problems" in out
    for file in ("c.json", "p.json"):
        code, out, _ = type_(f"verify {file}")
        assert code == 0 and out.startswith("good: ")
        assert type_(f"verify {file} --ledger book")[0] == 0
    code, out, _ = type_("key show --ledger book")
    assert code == 0 and "valid" in out and "ssh-ed25519" in out
    assert type_("key revoke --reason done --ledger book")[0] == 0
    report = json.loads(type_("verify --ledger book --json")[1])
    code, _, err = type_("amend latest --text later --ledger book")
    assert code == 0 and f"not signed: key {next(iter(report['signed']))[:16]} was revoked in entry 4" in err
    for line in ("ledger head --ledger book", "prove latest -o q.json --ledger book"):
        code, _, err = type_(line)
        assert code == 0 and "was revoked in entry 4; another: scaling key new" in err
    assert "revoked" in type_("key show --ledger book")[1]
    report = json.loads(type_("verify --ledger book --json")[1])
    assert report["ok"] and sum(report["signed"].values()) == 5 and report["unsigned"] == 1


def test_a_broken_ledger_and_a_false_proof_leave_with_4(type_, tmp_path):
    assert type_(REGISTER)[0] == 0
    (tmp_path / "head.txt").write_text(type_("ledger head --ledger book")[1])
    assert type_("prove latest -o p.json --ledger book")[0] == 0
    proof = json.loads((tmp_path / "p.json").read_text())
    proof["entries"][0]["line"] = proof["entries"][0]["line"].replace("big", "bag")
    (tmp_path / "q.json").write_text(json.dumps(proof))
    assert type_("verify q.json")[0] == 4
    (tmp_path / "half.json").write_bytes((tmp_path / "p.json").read_bytes()[:300])
    assert type_("verify half.json")[0] == 1
    path = tmp_path / "book" / "entries.jsonl"
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"big", b"bag"))
    for line in ("verify --ledger book", "verify p.json --ledger book", "prove latest --ledger book"):
        code, _, err = type_(line)
        assert code == 4 and "entry 0 (line 1, byte 0)" in err, line
    path.write_bytes(b"")
    for line in ("ledger check --consistent-with head.txt --ledger book", "verify p.json --ledger book"):
        code, _, err = type_(line)
        assert code == 4 and "cut off" in err, line
    assert path.read_bytes() == b""


def test_embargo_and_withdrawal(type_, tmp_path):
    code, _, err = type_(REGISTER + " --embargo")
    assert code == 0 and "book-secrets" in err
    assert "big" not in (tmp_path / "book" / "entries.jsonl").read_text()
    code, out, _ = type_("verify --ledger book")
    assert code == 0 and "under embargo until 2030-01-01" in out
    assert type_("resolve latest --value 2.06 --ledger book")[0] == 1
    assert type_("reveal latest --ledger book")[0] == 0
    assert type_("reveal latest --ledger book")[0] == 0
    assert type_("withdraw latest --reason wrong_data --ledger book")[0] == 0
    code, out, _ = type_("verify --ledger book")
    assert code == 0 and "WITHDRAWN in entry 2" in out and "wrong_data" in out
    assert type_("withdraw latest --reason again --ledger book")[0] == 1
    assert "wrong_data" in type_("resolve latest --value 2.06 --ledger book")[2]
    assert [e.kind for e in Ledger(tmp_path / "book")] == ["commit", "reveal", "withdraw", "outcome"]


def test_rotating_losing_and_passphrases(type_, tmp_path, monkeypatch):
    assert type_("key new --key a.pem --ledger book")[0] == 0
    monkeypatch.setenv(keyfiles.PASSPHRASE, "open sesame")
    assert type_("key new --key b.pem --replaces a.pem --reason yearly --ledger book")[0] == 0
    assert b"ENCRYPTED" in (tmp_path / "b.pem").read_bytes()
    assert type_(REGISTER + " --key b.pem")[0] == 0
    monkeypatch.delenv(keyfiles.PASSPHRASE)
    before = (tmp_path / "book/entries.jsonl").read_bytes()
    for line, says in (
        (REGISTER + " --key a.pem", "was replaced by"),
        (REGISTER + " --key b.pem", keyfiles.PASSPHRASE),
        (REGISTER + " --key points.csv", "open to others"),
        (REGISTER + " --key missing.pem", "No such file"),
        ("key new --key c.pem --ledger book", "a new one needs its signature"),
        ("key new --key c.pem --lost 00000000 --ledger book", "names no key"),
        ("key new --key c.pem --replaces a.pem --ledger book", "was replaced by"),
        ("key revoke --reason x --ledger book", "no valid key here"),
    ):
        code, _, err = type_(line)
        assert code == 1 and says in err, (line, err)
    assert (tmp_path / "book/entries.jsonl").read_bytes() == before
    assert not (tmp_path / "c.pem").exists()
    lost = next(iter(Ledger("book").keyring().valid)).id
    assert type_(f"key new --key d.pem --lost {lost} --reason forgot --ledger book")[0] == 0
    code, _, err = type_("verify --ledger book")
    assert code == 0 and f"key {lost} was lost" in err
    code, _, err = type_("amend latest --text unsigned --ledger book")
    assert code == 0 and "not signed" in err and "there is no key in" in err


def test_a_key_file_without_a_ledger_makes_none(type_, tmp_path):
    code, out, err = type_("key new")
    assert code == 0 and "enter it in a ledger" in err and not (tmp_path / "forecast").exists()
    assert type_("key new")[1] == out
    assert type_("key show")[0] == 0


@pytest.mark.parametrize("name", VERBS)
def test_bad_words_get_one_sentence(type_, tmp_path, name):
    lines = {
        "amend": "amend ffffffff --text x",
        "key": "key revoke 00000000 --lost --reason x",
        "ledger": "ledger check --consistent-with points.csv",
        "prove": "prove ffffffff",
        "reveal": "reveal latest",
        "withdraw": "withdraw latest --reason x",
    }
    code, _, err = type_(f"{lines[name]} --ledger book")
    assert code == 1 and "no ledger" in err
    assert not (tmp_path / "book").exists()
    type_(REGISTER)
    before = (tmp_path / "book/entries.jsonl").read_bytes()
    code, _, err = type_(f"{lines[name]} --ledger book".replace("latest", "zzz"))
    assert code == 1 and err.startswith("scaling: ") and err.count("\n") == 1
    assert (tmp_path / "book/entries.jsonl").read_bytes() == before


def test_nothing_leaves_a_ledger_that_was_rewritten(type_, tmp_path):
    """Another prediction, made anew as long as the one whose head was printed."""
    for text in ("first", "second"):
        assert type_(f"{REGISTER} --title {text}")[0] == 0
        assert type_("ledger head --ledger book")[0] == 0
        kept = (tmp_path / "book/entries.jsonl").rename(tmp_path / f"{text}.jsonl").read_bytes()
        heads = tmp_path / "book/heads.jsonl"
        heads.rename(tmp_path / "first-heads") if text == "first" else heads.unlink()
    (tmp_path / "book/entries.jsonl").write_bytes(kept)
    (tmp_path / "first-heads").rename(heads)
    for line in ("export latest --to osf", "prove latest", "ledger head"):
        code, _, err = type_(f"{line} --ledger book")
        assert code == 4 and "the ledger was rewritten" in err, (line, err)
    assert (tmp_path / "book/entries.jsonl").read_bytes() == kept
