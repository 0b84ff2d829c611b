"""An incomplete prediction is refused: the sentence names the field and how to state it, and nothing is written."""

import json
import re
from dataclasses import replace

import pytest

from scaling.__main__ import main
from scaling.errors import InputError
from scaling.fitted import Subject, write_forecasts
from scaling.labels import NO_CLOCK, UNBOUND
from scaling.provenance import provenance
from scaling.registry import Ledger, book, complete, standing
from scaling.verbs import register
from tests.predictions import COMPLETE, UNTIL, ask, forecast

ASKED = ask()
UNSTATED = Subject("loss", "pretrain", "all", "unstated")


def made(**left):
    """COMPLETE with something left out of its provenance."""
    return {**COMPLETE, "provenance": {**COMPLETE["provenance"], **left}}


@pytest.mark.parametrize(
    ("field", "question", "changes", "facts"),
    [
        ("target", ASKED, {}, COMPLETE | {"target": {}}),
        ("target", ASKED, {}, COMPLETE | {"target": {"run": "  "}}),
        ("run_state", ASKED, {}, COMPLETE | {"run_state": ""}),
        ("run_state", ASKED, {}, COMPLETE | {"run_state": "soon"}),
        ("voids", replace(ASKED, voids=()), {}, COMPLETE),
        ("provenance.data", ASKED, {"sources": {}}, COMPLETE),
        ("provenance.data", ASKED, {"sources": {"points.csv": "?"}}, COMPLETE),
        ("provenance.code", ASKED, {}, made(code={"commit": None})),
        ("provenance.versions", ASKED, {}, made(versions={})),
        ("provenance.lock", ASKED, {}, made(lock=None)),
        ("provenance.seed", ASKED, {}, made(seed=None)),
        ("provenance.replay", ASKED, {}, made(replay="")),
        ("claim pretrain.loss.all: prior", ASKED, {"prior": ""}, COMPLETE),
        ("claim pretrain.loss.all: law", ASKED, {"law": ""}, COMPLETE),
        ("claim pretrain.loss.all: fit_digest", ASKED, {"fit_digest": ""}, COMPLETE),
        ("claim pretrain.loss.all: data_digest", ASKED, {"data_digest": "d"}, COMPLETE),
        ("claim pretrain.loss.all: protocol", ASKED, {"subject": UNSTATED}, COMPLETE),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_the_way_to_state_it(field, question, changes, facts, tmp_path):
    with pytest.raises(InputError, match=re.escape(f"does not state {field}")) as refused:
        book.register(Ledger(tmp_path / "book"), question, replace(forecast(), **changes), **facts)
    assert refused.value.hint == complete.HOW[field.rpartition(": ")[2]]
    assert not (tmp_path / "book").exists()


def test_a_complete_one_carries_everything_that_the_design_lists(tmp_path):
    body = book.register(Ledger(tmp_path), replace(ASKED, threshold=0.45), forecast(), **COMPLETE).body
    assert {"target", "claims", "levels", "resolution_rule", "until", "run_state", "assumptions", "voids"} <= set(body)
    assert {"code", "lock", "versions", "machine", "data", "replay", "seed"} <= set(body["provenance"])
    (claim,) = body["claims"]
    assert {"subject", "quantiles", "draws_digest", "scored_by", "fit_digest", "prior", "factor", "grade"} <= set(claim)
    assert "earned_factor" in claim and claim["threshold"] == 0.45
    assert body["provenance"]["data"] == {"points.csv": "a" * 64}
    assert "100x beyond the data" in " ".join(body["assumptions"])
    assert body["v"] == 3 and book.Prediction.from_body(body).body == body


def test_every_way_that_a_refusal_names_is_an_option_of_the_verb():
    options = {name for parameter in register.params for name in parameter.opts}
    named = {o for how in complete.HOW.values() for o in re.findall(r"--[a-z-]+", how)}
    assert {"--target", "--run", "--run-state", "--void", "--data", "--replay", "--seed", "--protocol"} <= named
    assert named <= options


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Forecasts of a file that says what made them, and of one that does not; neither states a protocol."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("C,loss\n")
    unstated = replace(forecast(), subject=replace(forecast().subject, protocol="unstated"), sources={})
    write_forecasts("made.json", [unstated], provenance(data={"points.csv": "a" * 64}, replay="scaling x", seed=3))
    write_forecasts("old.json", [unstated])
    return tmp_path


COMMAND = ["register", "made.json", "--title", "big", "--until", UNTIL, "--ledger", "book"]
STATED = {
    "voids": ["--void", "another test set"],
    "target": ["--run", "7e10 parameters"],
    "run_state": ["--run-state", "not started"],
    "protocol": ["--protocol", "our test set, greedy"],
}


@pytest.mark.parametrize("field", STATED)
def test_the_verb_refuses_too(field, file, capsys):
    rest = [word for name, words in STATED.items() if name != field for word in words]
    assert main([*COMMAND, *rest]) == 1
    err = capsys.readouterr().err
    assert field in err and STATED[field][0] in err and err.count("\n") == 1
    assert not (file / "book").exists()


def test_the_verb_takes_every_thing_that_a_person_states(file, capsys):
    words = [word for some in STATED.values() for word in some]
    more = ["--assume", "no new data", "--threshold", "0.45"]
    assert main([*COMMAND, *words, *more, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == []
    (record,) = standing.records(Ledger("book"))
    (claim,) = record.prediction.claims
    assert (claim.threshold, claim.subject.protocol) == (0.45, "our test set, greedy")
    assert record.prediction.assumptions[0] == "no new data"
    assert {k: record.prediction.provenance[k] for k in ("replay", "seed")} == {"replay": "scaling x", "seed": 3}

    old = [*COMMAND[:1], "old.json", *COMMAND[2:], *words]
    assert main(old) == 1 and "provenance.data" in capsys.readouterr().err
    assert main([*old, "--data", "points.csv"]) == 1 and "provenance.seed" in capsys.readouterr().err
    assert main([*old, "--data", "points.csv", "--seed", "0", "--replay", "make it"]) == 0
    assert set(standing.records(Ledger("book"))[1].prediction.provenance["data"]) == {"points.csv"}
    assert main([*old, "--data", "gone.csv"]) == 1 and "gone.csv" in capsys.readouterr().err
    assert main([*COMMAND, *words, "--threshold", "pass_rate=0.5"]) == 1 and "whose" in capsys.readouterr().err
    assert main([*COMMAND, *words, "--threshold", "-1"]) == 1 and "--threshold -1" in capsys.readouterr().err
    assert sum(1 for _ in Ledger("book")) == 2


def test_a_prediction_after_the_start_is_entered_and_labelled(file, capsys):
    words = [word for name, some in STATED.items() if name != "run_state" for word in some]
    assert main([*COMMAND, *words, "--run-state", "finished", "--json"]) == 0
    seen = capsys.readouterr()
    assert "already finished" in json.loads(seen.out)["labels"][0] and "already finished" in seen.err
    assert main(["resolve", "latest", "--value", "0.5", "--ledger", "book", "--json"]) == 0
    seen = capsys.readouterr()
    told = json.loads(seen.out)
    assert ["already finished" in t for t in told["labels"]] == [True, False, False]
    assert told["labels"][1:] == [UNBOUND, NO_CLOCK]
    assert told["inside"]["90"] == [1, 1] and "not bound" in seen.err
    assert main(["verify", "--ledger", "book", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["labels"] == told["labels"]
