"""A sealed prediction: nothing of it in the ledger until it is revealed, and then nothing but what was sealed."""

import json

import pytest
from test_book import specs

from scaling import records
from scaling.compute import inputs_of
from scaling.errors import InputError, LedgerError
from scaling.registry import Ledger, Reason, book, remarks, seed_for, standing
from scaling.registry.embargo import commitment, path_of
from scaling.registry.entries import Kind, make_entry
from tests.predictions import COMPLETE, ask, forecast

SECRET_TEXT = "the loss nobody may know"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def sealed(ledger):
    facts = COMPLETE | {"target": {"specs": {k: v.to_json() for k, v in specs().items()}}}
    made = forecast(at=inputs_of(specs()["pretrain"])["C_pre"])
    return book.register(ledger, ask(SECRET_TEXT), made, **facts, embargo=True)


def test_nothing_of_it_stands_in_the_ledger(ledger, sealed):
    files = [p.read_bytes() for p in ledger.folder.rglob("*") if p.is_file()]
    draws = forecast().blob
    assert not any(SECRET_TEXT.encode() in data or draws[:64] in data for data in files)
    assert not (ledger.folder / "blobs").exists()
    assert set(sealed.body) == {"commitment", "until", "v"}
    secret = path_of(ledger.folder, sealed.body["commitment"])
    assert ledger.folder not in secret.parents
    assert secret.stat().st_mode & 0o777 == 0o600 and secret.parent.stat().st_mode & 0o777 == 0o700
    assert (secret.parent / ".gitignore").read_text() == "*\n"
    stored = json.loads(secret.read_bytes())
    assert commitment(stored["salt"], stored["opened"]) == sealed.body["commitment"]
    assert ledger.verify().ok
    assert [s.entry for s in standing.sealed(ledger)] == [sealed] and standing.records(ledger) == []


def test_the_same_prediction_sealed_twice_gives_two_hashes(ledger):
    made = [book.register(ledger, ask(), forecast(), **COMPLETE, embargo=True) for _ in range(2)]
    assert made[0].body["commitment"] != made[1].body["commitment"]


def test_a_sealed_prediction_is_complete_too(ledger):
    with pytest.raises(InputError, match="does not state target"):
        book.register(ledger, ask(), forecast(), embargo=True)
    assert not any(p.is_file() for p in ledger.folder.parent.rglob("*"))


def test_sealed_started_revealed_resolved(ledger, sealed):
    record = standing.find(ledger, "latest")
    assert record.sealed and record.state == "sealed" and record.prediction.title == SECRET_TEXT
    base, _ = book.start(ledger, sealed, record.prediction)
    assert base.seed == seed_for(sealed.hash, "pretrain")
    with pytest.raises(InputError, match=r"sealed\. Hint: first: scaling reveal"):
        book.resolve(ledger, sealed, 0.5)
    with pytest.raises(InputError, match="not revealed before it"):
        ledger.append("outcome", {"prediction": sealed.hash})
    shown = remarks.reveal(ledger, sealed.hash[:12])
    assert remarks.reveal(ledger, "latest") == shown
    book.resolve(ledger, sealed, 0.5)
    (record,) = standing.records(ledger)
    assert (record.entry, record.revealed, record.state) == (sealed, shown, "resolved")
    assert record.prediction.claims[0].forecast(ledger.get_blob(record.prediction.claims[0].draws_blob))
    assert record.remarks == [f"was under embargo from entry 0 to entry {shown.seq}"]
    assert ledger.verify().ok


def test_only_what_was_sealed_can_be_revealed(ledger, sealed):
    body = dict(remarks.reveal(ledger, sealed.hash).body)
    path = ledger.folder / "entries.jsonl"
    first = path.read_bytes().splitlines(keepends=True)[0]
    for change in (
        {"salt": "0" * 64},
        {"salt": "0"},
        {"opened": {**body["opened"], "title": "another"}},
        {"opened": None},
        {"blobs": []},
    ):
        path.write_bytes(first)
        with pytest.raises(InputError, match=r"does not match its commit|reveal is malformed"):
            ledger.append("reveal", {**body, **change})
        assert path.read_bytes() == first
        forged = make_entry(Kind.REVEAL, {**body, **change}, "r", sealed.time, sealed)
        path.write_bytes(first + forged.line + b"\n")
        (problem,) = ledger.verify().problems
        assert (problem.reason, problem.index) == (Reason.BAD_REVEAL, 1)
        with pytest.raises(LedgerError, match="entry 1"):
            standing.records(ledger)


def test_a_secret_that_is_lost_open_or_changed(ledger, sealed):
    path = path_of(ledger.folder, sealed.body["commitment"])
    sound = path.read_bytes()
    path.chmod(0o644)
    with pytest.raises(InputError, match="open to others"):
        remarks.reveal(ledger, sealed.hash)
    path.chmod(0o600)
    stored = json.loads(sound)
    for content in (b"", b"{}", sound[:-9], records.canonical({**stored, "salt": "11" * 32})):
        path.write_bytes(content)
        with pytest.raises(InputError):
            remarks.reveal(ledger, sealed.hash)
    path.unlink()
    with pytest.raises(InputError, match=r"is sealed, and its secret is not here"):
        standing.find(ledger, sealed.hash)
    assert ledger.verify().ok and sum(1 for _ in ledger) == 1


def test_a_full_disk_seals_nothing_and_leaves_no_secret(ledger, monkeypatch):
    def full(*arguments, **options):
        raise InputError("nothing was appended")

    monkeypatch.setattr(Ledger, "append", full)
    with pytest.raises(InputError, match="nothing was appended"):
        book.register(ledger, ask(), forecast(), **COMPLETE, embargo=True)
    assert [p.name for p in ledger.folder.with_name("ledger-secrets").iterdir()] == [".gitignore"]


def test_withdrawal_leaves_a_tombstone(ledger, sealed):
    open_one = book.register(ledger, ask(), forecast(), **COMPLETE)
    for entry in (sealed, open_one):
        stone = remarks.withdraw(ledger, entry.hash, "the data were wrong")
        with pytest.raises(InputError, match=f"withdrawn already .entry {stone.seq}"):
            remarks.withdraw(ledger, entry.hash, "again")
    (hidden,), (record,) = standing.sealed(ledger), standing.records(ledger)
    assert hidden.state == "sealed, withdrawn" and record.state == "withdrawn"
    for one in (hidden, record):
        assert any("WITHDRAWN in entry" in line and "the data were wrong" in line for line in one.remarks)
    book.resolve(ledger, open_one, 0.5)
    (record,) = standing.records(ledger)
    assert record.state == "resolved, withdrawn" and record.scores
    with pytest.raises(InputError, match=r"is resolved .* cannot be withdrawn"):
        remarks.withdraw(ledger, open_one.hash, "too good to be true")
    with pytest.raises(InputError, match="needs a reason"):
        remarks.withdraw(ledger, open_one.hash, " ")
    with pytest.raises(InputError, match="is a withdraw, not a prediction"):
        remarks.withdraw(ledger, stone.hash, "x")
    assert ledger.verify().ok


def test_amendments_stand_beside_what_they_amend(ledger):
    told = book.register(ledger, ask(), forecast(), **COMPLETE)
    outcome = book.resolve(ledger, told, 0.5)
    note = remarks.amend(ledger, outcome.hash[:10], "measured with half the problems")
    assert note.body["amends"] == outcome.hash and note.prediction == told.hash
    remarks.amend(ledger, "latest", "a remark")
    (record,) = standing.records(ledger)
    assert [line.split(": ")[1] for line in record.remarks] == ["measured with half the problems", "a remark"]
    with pytest.raises(InputError, match="needs a text"):
        remarks.amend(ledger, told.hash, "")
    with pytest.raises(InputError, match="no entry with this hash"):
        ledger.append("amend", {"amends": "f" * 64})
    assert ledger.verify().ok


@pytest.mark.parametrize("way", ["x/ledger/..", "x/.", "./x/../x", "link", "x/ledger/../../x"])
def test_the_secret_is_never_inside_the_ledger_however_it_is_named(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x" / "ledger").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "x", target_is_directory=True)
    entry = book.register(Ledger(way), ask(), forecast(), embargo=True, **COMPLETE)
    assert [path.name for path in (tmp_path / "x-secrets").glob("*.json")] == [f"{entry.body['commitment']}.json"]
    assert not [path for path in (tmp_path / "x").rglob("*") if "secret" in str(path.relative_to(tmp_path / "x"))]
    assert remarks.reveal(Ledger(tmp_path / "x"), entry.hash).kind == "reveal"
