"""What an append costs and leaves: nothing is read but what it needs, nothing is written that is refused."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scaling.compute import inputs_of
from scaling.errors import InputError, LedgerError
from scaling.registry import Kind, Ledger, blobs, book, index, lookup, nonces, remarks, standing
from scaling.registry.keyfiles import create
from scaling.registry.keys import Action, Statement
from scaling.registry.recipes import state_in
from scaling.registry.signing import SigningKey
from tests.predictions import COMPLETE, REGISTER, ask, forecast, specs


def filled(folder, others=40):
    """A prediction among many entries, and its last one."""
    kept = Ledger(folder)
    kept.append("prediction", {"first": 1})
    told = book.register(kept, ask(), forecast(), **COMPLETE)
    for i in range(others):
        kept.append("amend", {"i": i})
    return kept, told


@pytest.mark.parametrize("long", [True, False])
def test_a_prediction_is_found_and_resolved_without_reading_the_other_entries(tmp_path, monkeypatch, long):
    """Every entry that is read strictly is counted: the others could be 100,000."""
    monkeypatch.setattr(index, "FROM_BYTES", 1 if long else 2**30)
    kept, told = filled(tmp_path)
    read = []
    monkeypatch.setattr(lookup, "read_at", lambda *a, real=lookup.read_at: read.append(real(*a)) or read[-1])
    monkeypatch.setattr(Ledger, "entries", lambda *a: pytest.fail("the whole ledger was read"))
    remarks.amend(kept, told.hash[:8], "a remark")
    assert kept.keyring().periods == {}
    assert book.resolve(kept, "latest", 0.5).kind == Kind.OUTCOME
    assert {e.kind for e in read} <= {Kind.PREDICTION, Kind.AMEND, Kind.OUTCOME}
    assert len({e.hash for e in read}) <= 3, "the prediction, its remark, its outcome"
    monkeypatch.undo()
    assert standing.find(kept, told.hash).remarks and kept.verify().ok


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("embargo", [True, False])
def test_an_earlier_run_of_the_recipe_is_found_among_other_predictions(tmp_path, monkeypatch, long, embargo):
    """By a start or by an outcome alone, of a prediction that was open or sealed; and only the predictions that are
    about it are read."""
    monkeypatch.setattr(index, "FROM_BYTES", 1 if long else 2**30)
    cost = inputs_of(specs()["pretrain"])["C_pre"]
    kept, _ = filled(tmp_path, 5)
    facts = COMPLETE | {"target": {"specs": {"pretrain": specs()["pretrain"].to_json()}}}
    first = book.register(kept, ask(), forecast(at=cost), embargo=embargo, **facts)
    assert state_in(kept, specs()) == "not started"
    if embargo:
        remarks.reveal(kept, first.hash)
    book.resolve(kept, first, 0.5)
    assert state_in(kept, specs()) == "finished" and state_in(kept, specs(), but=first.nonce) == "not started"
    second = book.register(kept, ask(), forecast(at=cost), **facts)
    assert second.body["run_state"] == "finished"
    other = {"pretrain": replace(specs()["pretrain"], steps=11)}
    assert state_in(kept, other) == "not started"
    kept.append("start", {"prediction": first.hash, "recipe_digests": {"pretrain": other["pretrain"].recipe_digest}})
    kept.append("start", {"prediction": second.hash, "recipe_digests": ["no", 1]})
    assert state_in(kept, other) == "finished"
    monkeypatch.setattr(Ledger, "entries", lambda *a: pytest.fail("the whole ledger was read"))
    assert state_in(kept, specs()) == "finished"


def test_what_is_found_is_what_the_whole_ledger_says(tmp_path, monkeypatch):
    """Commits, reveals, starts, withdrawals and remarks, by the index and without it."""
    kept = Ledger(tmp_path / "book")
    told = [book.register(kept, ask(str(i)), forecast(), embargo=i % 2 == 1, **COMPLETE) for i in range(4)]
    kept.append("commit", {"v": 1})  # of another program: no prediction
    remarks.reveal(kept, told[1].hash)
    kept.append("start", {"prediction": told[1].hash})
    kept.append("amend", {"text": f'"prediction":"{told[0].hash}"', "of": {"prediction": told[0].hash}})
    remarks.withdraw(kept, told[0].hash, "wrong")
    remarks.amend(kept, told[3].hash, "later")
    whole = standing.known(kept)
    for limit in (1, 2**30):
        monkeypatch.setattr(index, "FROM_BYTES", limit)
        assert [standing.known_as(kept, one.entry) for one in whole] == whole
        assert standing.entry_of(kept, "latest") == told[3]
        assert [kept.find(e.hash[:8]) for e in kept] == list(kept)


def test_a_ledger_that_cannot_be_written_is_searched_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "FROM_BYTES", 1)
    kept, told = filled(tmp_path / "book", 3)
    opened = os.open

    def read_only(path, flags, *more, **named):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(30, "Read-only file system")
        return opened(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    assert standing.find(kept, told.hash[:8]).entry == told
    with pytest.raises(InputError, match="Read-only file system"):
        kept.append("amend", {})


def test_verify_lists_the_blobs_once_however_many_predictions_name_some(tmp_path, monkeypatch):
    kept = Ledger(tmp_path)
    for i in range(30):
        kept.append("prediction", {"blobs": [kept.put_blob(b"%d" % i, "f64")]})
    listed = []
    monkeypatch.setattr(blobs.os, "listdir", lambda path, real=os.listdir: listed.append(path) or real(path))
    monkeypatch.setattr(Path, "glob", lambda self, *a: listed.append(self) or iter(()))
    assert Ledger(tmp_path).verify().ok
    assert listed.count(tmp_path / "blobs") == 1
    lost = sorted((tmp_path / "blobs").iterdir())
    lost[0].unlink()
    lost[1].write_bytes(b"other")
    assert sorted(str(p.reason) for p in kept.verify().problems) == ["blob bad", "blob missing"]


def test_an_append_does_not_list_the_blobs_it_has_just_stored(tmp_path, monkeypatch):
    kept = Ledger(tmp_path)
    digest = kept.put_blob(b"draws", "f64")
    monkeypatch.setattr(Path, "glob", lambda self, *a: pytest.fail("the folder was listed"))
    kept.append("prediction", {"blobs": [digest]})


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("more", ["", " --embargo"])
def test_a_stranger_s_key_registers_nothing_and_leaves_nothing(type_, tmp_path, more):
    create(tmp_path / "stranger.pem", "")
    before = files_in(tmp_path)
    code, _, err = type_(REGISTER + " --key stranger.pem" + more)
    assert code == 1 and "was never entered" in err
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("kind", "body", "nonce"),
    [
        ("outcome", {"prediction": "0" * 64}, None),
        ("key", {"action": "new"}, None),
        ("amend", {"text": "x" * 2**22}, None),
        ("amend", {}, "NO"),
        ("amend", {}, "outcome-" + "0" * 32),
        ("amend", {"x": object()}, None),
    ],
)
def test_a_first_entry_that_is_refused_makes_no_file(tmp_path, kind, body, nonce):
    with pytest.raises(InputError):
        Ledger(tmp_path / "book").append(kind, body, nonce)
    with pytest.raises(InputError, match="never entered"):
        Ledger(tmp_path / "book", key=SigningKey.generate()).append("amend", {})
    assert not (tmp_path / "book").exists()


def test_a_lost_file_with_heads_is_not_begun_anew(tmp_path):
    kept = Ledger(tmp_path)
    kept.append("amend", {})
    kept.remember()
    (tmp_path / "entries.jsonl").unlink()
    with pytest.raises(LedgerError, match="cut off"):
        kept.append("amend", {})
    assert not (tmp_path / "entries.jsonl").exists()


def test_a_refused_key_pushes_nothing(type_, tmp_path):
    def git(*words):
        return subprocess.run(["git", *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "--quiet", "own")
    git("init", "--quiet", "--bare", "theirs.git")
    git("-C", "own", "config", "user.name", "A")
    git("-C", "own", "config", "user.email", "a@example.org")
    git("-C", "own", "remote", "add", "theirs", str(tmp_path / "theirs.git"))
    assert type_(REGISTER)[0] == 0
    create(tmp_path / "stranger.pem", "")
    before = files_in(tmp_path)
    code, _, err = type_("ledger anchor --git own --push theirs --key stranger.pem --ledger book")
    assert code == 1 and "was never entered" in err
    assert git("-C", "theirs.git", "for-each-ref") == "" == git("-C", "own", "for-each-ref")
    assert files_in(tmp_path) == before
    assert type_("ledger anchor --git own --push theirs --ledger book")[0] == 0
    assert "scaling-heads" in git("-C", "theirs.git", "for-each-ref")


@pytest.mark.parametrize("kind", ["outcome", "start", "withdraw", "reveal", "anchor", "key"])
def test_nobody_takes_the_place_of_an_entry_that_is_to_come(tmp_path, kind):
    """The attack: a remark under the nonce of an outcome, which could then never be entered."""
    kept = Ledger(tmp_path)
    told = book.register(kept, ask(), forecast(), **COMPLETE)
    other = book.register(kept, ask(), forecast(), **COMPLETE)
    kept_for = f"{kind}-{told.hash[:32]}"
    for made, body in (("amend", {}), (kind, {"prediction": other.hash}), ("prediction", {"prediction": told.hash})):
        with pytest.raises(InputError, match="is kept for another entry"):
            kept.append(made, body, nonce=kept_for)
    assert book.resolve(kept, told, 0.5).nonce == f"outcome-{told.hash[:32]}"
    assert remarks.withdraw(kept, other.hash, "why").nonce == f"withdraw-{other.hash[:32]}"


def test_a_key_s_nonce_is_its_own(tmp_path):
    new = SigningKey.generate()
    body = Statement(Action.NEW, new.public).body
    kept = Ledger(tmp_path, key=new)
    assert kept.append("key", body, nonce=nonces.own(Kind.KEY, body)).nonce == f"key-{new.public.hex[:32]}"
    assert kept.append("amend", {}, nonce="start-of-something").nonce == "start-of-something"


def test_two_processes_look_while_others_write(tmp_path):
    """Lookups wait for the lock and leave it: no error, no lost entry."""
    kept, told = filled(tmp_path, 5)
    code = (
        "import sys; from scaling.registry import Ledger, index, remarks, standing; index.FROM_BYTES = 1\n"
        "kept = Ledger(sys.argv[1])\n"
        "for i in range(20): remarks.amend(kept, sys.argv[2], str(i)); standing.find(kept, 'latest')"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), told.hash]) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert len(standing.find(kept, told.hash).amendments) == 40 and kept.verify().ok
